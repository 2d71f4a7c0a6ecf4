"""Volumes in mL and their disagreement: RVD (ResNet-LSTM, Section 3; INSTANCE 2022) and limits of
agreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.errors import StudyError


def volume_ml(mask: np.ndarray, spacing_mm: tuple[float | np.ndarray, float, float]) -> float:
    """Volume of a mask in mL.

    mask: bool (slices, rows, columns). spacing_mm: (z, y, x); z may be an array (slices,) where the
        distance of slices varies. An empty mask is 0 mL; unknown (NaN) spacing gives NaN.
        Raises StudyError on a mask that is not boolean and three-dimensional, or spacing <= 0.
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


def relative_volume_difference(
    predicted: np.ndarray, truth: np.ndarray, signed: bool = False
) -> np.ndarray:
    """|Vp - Vg| / Vg; with `signed`, (Vp - Vg) / Vg, positive where too much is predicted.

    predicted, truth: volumes of one unit (mL or voxels), any shape. NaN where the truth is empty:
    the ratio has no value there (ResNet-LSTM's data have hemorrhage in every volume).
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    difference = predicted - truth
    top = difference if signed else np.abs(difference)
    return np.divide(
        top, truth, out=np.full(np.broadcast(top, truth).shape, np.nan), where=truth > 0
    )[()]


@dataclass(frozen=True)
class Agreement:
    """Bland-Altman figures in mL: mean difference (predicted - truth) and the limits around it."""

    bias_ml: float
    lower_ml: float
    upper_ml: float
    n: int


def limits_of_agreement(predicted_ml: np.ndarray, truth_ml: np.ndarray) -> Agreement:
    """Bias +- 1.96 SD (n - 1) of the differences; pairs with NaN are left out; NaN under two
    pairs."""
    difference = np.asarray(predicted_ml, np.float64) - np.asarray(truth_ml, np.float64)
    difference = difference[np.isfinite(difference)]
    if len(difference) < 2:
        return Agreement(float("nan"), float("nan"), float("nan"), len(difference))
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1)
    return Agreement(float(bias), float(bias - spread), float(bias + spread), len(difference))
