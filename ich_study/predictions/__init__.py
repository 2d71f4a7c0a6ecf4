"""Scores and heatmaps to decisions: thresholds, masks, boxes, points."""
