"""Volumes in mL and their disagreement: RVD (ResNet-LSTM, Section 3; INSTANCE 2022)."""

from __future__ import annotations

import numpy as np

from ich_study.errors import StudyError


def volume_ml(mask: np.ndarray, spacing_mm: tuple[float | np.ndarray, float, float]) -> float:
    """Volume of a mask in mL.

    mask: bool (slices, rows, columns). spacing_mm: (z, y, x); z may be an array (slices,) where the
    distance of slices varies. An empty mask is 0 mL; unknown (NaN) spacing gives NaN. Raises
    StudyError on a mask that is not boolean and three-dimensional, or spacing <= 0.

    >>> volume_ml(np.ones((2, 10, 10), bool), (5.0, 0.5, 0.5))
    0.25
    """
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 3:
        raise StudyError(
            f"mask is {mask.dtype} {mask.shape}; expected bool (slices, rows, columns)"
        )
    z, y, x = (np.asarray(side, np.float64) for side in spacing_mm)
    if min(np.min(z), y, x) <= 0:
        raise StudyError(f"spacing is {spacing_mm} mm; expected positive sides (z, y, x)")
    per_slice = mask.sum((1, 2)) * np.broadcast_to(z, (len(mask),))
    return float(per_slice.sum() * y * x / 1000)


def relative_volume_difference(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|Vp - Vg| / Vg.

    predicted, truth: volumes of one unit (mL or voxels), any shape. NaN where the truth is empty:
    the ratio has no value there (ResNet-LSTM's data have hemorrhage in every volume).

    >>> relative_volume_difference([15, 0, 3], [10, 10, 0])
    array([0.5, 1. , nan])
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    difference = np.abs(predicted - truth)
    undefined = np.full(difference.shape, np.nan)
    return np.divide(difference, truth, out=undefined, where=truth > 0)[()]
