"""Measures of the five papers under their right names, and the statistics on them."""
