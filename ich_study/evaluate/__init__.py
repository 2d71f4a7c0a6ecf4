"""What all methods share once they have a heatmap: truth, scores, thresholds, rows, differences,
trivial rivals."""
