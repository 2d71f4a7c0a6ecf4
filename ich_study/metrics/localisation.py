"""Heatmaps against truth without a threshold: pointing game and the share of a map's mass inside
the truth."""

from __future__ import annotations

import cv2
import numpy as np

from ich_study.errors import MapError, StudyError
from ich_study.metrics.ratio import ratio


def pointing_game(heatmaps: np.ndarray, truth: np.ndarray, tolerance_px: int = 0) -> np.ndarray:
    """Does the map's maximum lie in the truth, per slice; the mean is the pointing game's accuracy.

    heatmaps: (slices, rows, columns), finite. truth: bool, same shape (masks, or boxes filled by
    `boxes.fill_boxes`), widened by a disc of `tolerance_px`. Where several pixels share the maximum
    the value is the share of them that hit, so that a flat map scores by chance. NaN without truth.

    >>> truth = np.array([[[True, False], [False, False]]])
    >>> pointing_game([[[0.9, 0.1], [0.0, 0.2]]], truth)
    array([1.])
    >>> pointing_game([[[0.5, 0.5], [0.5, 0.5]]], truth)  # a flat map hits by chance
    array([0.25])
    """
    heatmaps = np.asarray(heatmaps, np.float64)
    if not np.isfinite(heatmaps).all():
        raise MapError("a heatmap holds NaN or infinity; expected finite values")
    if tolerance_px < 0:
        raise StudyError(f"tolerance_px is {tolerance_px}; expected 0 or more")
    wide = truth.astype(np.uint8)
    if tolerance_px:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * tolerance_px + 1,) * 2)
        for mask in wide:
            mask[:] = cv2.dilate(mask, disc)
    peaks = heatmaps == heatmaps.max((1, 2), keepdims=True)
    return ratio((peaks & (wide > 0)).sum((1, 2)), peaks.sum((1, 2)), truth.any((1, 2)))


def mass_inside(heatmaps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of each map's sum that lies in the truth, in [0, 1], per slice.

    Shapes as in `pointing_game`, heatmaps >= 0 (MapError otherwise). NaN where the truth or the map
    is empty.

    >>> mass_inside(np.array([[[3.0, 1.0], [0, 0]]]), np.array([[[True, False], [False, False]]]))
    array([0.75])
    """
    heatmaps = heatmaps.astype(np.float64)
    if (heatmaps < 0).any():
        raise MapError("a heatmap is negative; its mass is defined for values >= 0: clip it first")
    total, inside = heatmaps.sum((1, 2)), np.where(truth, heatmaps, 0).sum((1, 2))
    defined = (total > 0) & truth.any((1, 2))
    return ratio(inside, total, defined)
