"""Heatmaps against truth without a threshold: pointing game and the share of a map's mass inside
the truth."""

from __future__ import annotations

import cv2
import numpy as np

from ich_study.errors import MapError, StudyError
from ich_study.metrics.ratio import ratio


def _checked(heatmaps: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    heatmaps, truth = np.asarray(heatmaps, np.float64), np.asarray(truth)
    if heatmaps.shape != truth.shape or heatmaps.ndim != 3 or truth.dtype != bool:
        raise StudyError(
            f"heatmaps {heatmaps.shape}, truth {truth.dtype} {truth.shape}: expected one 3-D shape,"
            " truth bool"
        )
    if not np.isfinite(heatmaps).all():
        raise MapError("a heatmap holds NaN or infinity; expected finite values")
    return heatmaps, truth


def _dilated(mask: np.ndarray, radius_px: int) -> np.ndarray:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)


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
    heatmaps, truth = _checked(heatmaps, truth)
    if tolerance_px < 0:
        raise StudyError(f"tolerance_px is {tolerance_px}; expected 0 or more")
    known = truth.any((1, 2))
    wide = (
        np.stack([_dilated(mask, tolerance_px) for mask in truth])
        if tolerance_px and len(truth)
        else truth
    )
    peaks = heatmaps == heatmaps.max((1, 2), keepdims=True) if len(heatmaps) else truth
    hits = (peaks & wide).sum((1, 2)) / np.maximum(peaks.sum((1, 2)), 1)
    return np.where(known, hits, np.nan)


def mass_inside(heatmaps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of each map's sum that lies in the truth, in [0, 1], per slice.

    Shapes as in `pointing_game`; heatmaps must be >= 0 (MapError otherwise). NaN where the truth or
    the map is empty.

    >>> mass_inside([[[3.0, 1.0], [0.0, 0.0]]], np.array([[[True, False], [False, False]]]))
    array([0.75])
    """
    heatmaps, truth = _checked(heatmaps, truth)
    if (heatmaps < 0).any():
        raise MapError(
            "a heatmap is negative; its mass is defined for values >= 0 (clip or min-max it first)"
        )
    total, inside = heatmaps.sum((1, 2)), np.where(truth, heatmaps, 0).sum((1, 2))
    defined = (total > 0) & truth.any((1, 2))
    return ratio(inside, total, defined)
