"""Model and slices to heatmaps."""
