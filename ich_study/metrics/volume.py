"""Volumes in mL and their disagreement: RVD (ResNet-LSTM, Section 3; INSTANCE 2022)."""

from __future__ import annotations

import numpy as np

from ich_study.errors import StudyError
from ich_study.metrics.ratio import ratio


def positive_ml(pixel_ml: np.ndarray) -> np.ndarray:
    """Volumes of pixels as float64; StudyError where one is not positive. NaN is unknown."""
    pixel_ml = np.asarray(pixel_ml, np.float64)
    if (pixel_ml <= 0).any():
        raise StudyError(f"a pixel of {np.nanmin(pixel_ml)} mL; expected positive volumes")
    return pixel_ml


def volume_ml(mask: np.ndarray, pixel_ml: np.ndarray) -> float:
    """Volume of a mask in mL: the sum of its pixels, each of what it measures in its slice.

    mask: bool (slices, rows, columns). pixel_ml: (slices,), `ct.planes.PixelGrid.pixel_ml`. An
    empty mask is 0 mL; an unknown (NaN) pixel gives NaN. Raises StudyError on other shapes, or a
    pixel <= 0 mL.

    >>> volume_ml(np.ones((2, 10, 10), bool), np.array([5.0, 2.5]) * 0.5 * 0.5 / 1000)
    0.1875
    """
    if pixel_ml.shape != mask.shape[:1]:
        raise StudyError(f"mask {mask.shape}, pixel volumes {pixel_ml.shape}; expected (slices,)")
    return float(mask.sum((1, 2)) @ positive_ml(pixel_ml))


def relative_volume_difference(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|Vp - Vg| / Vg.

    predicted, truth: volumes of one unit (mL or voxels), any shape. NaN where the truth is empty:
    the ratio has no value there (ResNet-LSTM's data have hemorrhage in every volume).

    >>> relative_volume_difference([15, 0, 3], [10, 10, 0])
    array([0.5, 1. , nan])
    """
    return ratio(np.abs(np.subtract(predicted, truth)), truth)
