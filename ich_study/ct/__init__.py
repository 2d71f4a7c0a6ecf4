"""Hounsfield units, windows, slice stacks, brain mask, skull removal."""
