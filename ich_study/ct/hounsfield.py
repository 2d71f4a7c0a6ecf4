"""Stored DICOM pixel values to Hounsfield units (HU).

HU = stored value x RescaleSlope + RescaleIntercept (DICOM PS3.3 C.11.1). Three things that scanners
really do are handled here, once: padding outside the field of view, unsigned 12-bit beside signed
16-bit storage, and the wrapped values of some RSNA 2019 files.
"""

from __future__ import annotations

import math

import numpy as np

from ich_study.errors import DataError

AIR_HU = -1024
"""Lowest HU of every volume. Air is -1000; scanners pad what they did not reconstruct with -1500,
-2000 or -3024, none of which is a density. All of it is set to -1024, the end of the 12-bit
range."""
_MAX_HU = int(np.iinfo(np.int16).max)
_WRAP_SHIFT, _WRAP_RANGE = 1000, 4096
_FAST_INTERCEPT = 31_000  # below it, -1024 HU and 32767 HU leave an interval in either 16-bit type


def to_hounsfield(
    stored: np.ndarray,
    slope: float,
    intercept: float,
    padding: int | None = None,
    padding_limit: int | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Stored values (integers, any shape) to int16 HU in [-1024, 32767], into `out` where given.

    `padding` and `padding_limit` are PixelPaddingValue and PixelPaddingRangeLimit in either sign (a
    signed image may state -2000 as 63536); such pixels become -1024, as does everything below it.
    Fractional HU are rounded to the nearest integer, halves to even.
    Raises DataError for a rescale that is not finite, or a slope of 0.
    """
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise DataError(
            f"RescaleSlope {slope} and RescaleIntercept {intercept} give no Hounsfield units"
        )
    whole = slope == 1 and float(intercept).is_integer() and abs(intercept) < _FAST_INTERCEPT
    fast = whole and stored.dtype in (np.int16, np.uint16)
    hu = np.empty(stored.shape, np.int16) if out is None else out
    if fast:
        _shift(stored, int(intercept), hu)
    else:
        _scale(stored, slope, intercept, hu)
    if padding is not None:
        # both ends in the sign of the pixels: 63536 is -2000 in int16
        ends = np.array([padding, padding if padding_limit is None else padding_limit])
        low, high = sorted(ends.astype(stored.dtype).tolist())
        if max(low * slope, high * slope) + intercept > AIR_HU:
            hu[(stored >= low) & (stored <= high)] = AIR_HU
    return hu


def above_range(stored: np.ndarray, slope: float, intercept: float, hu: np.ndarray) -> int:
    """Number of pixels that `to_hounsfield` cut off at 32767 HU; they may be 32767 exactly.

    hu: what it made of `stored`. Free where no stored value of this type reaches so far.
    """
    limits = np.iinfo(stored.dtype)
    if max(limits.min * slope, limits.max * slope) + intercept <= _MAX_HU:
        return 0
    return int(np.count_nonzero(hu == _MAX_HU))


def unwrap_rsna(stored: np.ndarray, intercept: float) -> tuple[np.ndarray, float]:
    """Stored values and intercept after repair of the RSNA 2019 wrap defect.

    Some unsigned files with an intercept near 0 hold signed 12-bit HU whose negative values wrapped
    round to 4096 + HU. Unsigned data with an intercept above -100 get +1000, -4096 where that
    reaches 4096, and the intercept -1000; anything else is returned as it is.
    """
    if stored.dtype.kind != "u" or intercept <= -100:
        return stored, intercept
    shifted = stored.astype(np.int32) + _WRAP_SHIFT
    shifted[shifted >= _WRAP_RANGE] -= _WRAP_RANGE
    return shifted, -float(_WRAP_SHIFT)


def _shift(stored: np.ndarray, intercept: int, out: np.ndarray) -> None:
    """The usual case, slope 1: clipped in the stored range, so that no wider copy is made."""
    limits = np.iinfo(stored.dtype)
    low, high = max(AIR_HU - intercept, limits.min), min(_MAX_HU - intercept, limits.max)
    np.clip(stored, stored.dtype.type(low), stored.dtype.type(high), out=out.view(stored.dtype))
    shifted = out.view(np.uint16)
    shifted += np.uint16(intercept % 2**16)


def _scale(stored: np.ndarray, slope: float, intercept: float, out: np.ndarray) -> None:
    out[...] = np.clip(np.rint(stored * np.float64(slope) + intercept), AIR_HU, _MAX_HU)
