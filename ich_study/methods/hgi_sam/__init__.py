"""Swin HGI-SAM: attention maps of a Swin classifier, weighted by head-wise gradients."""
