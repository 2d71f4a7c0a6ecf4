"""One division for all measures: without a denominator there is no value."""

from __future__ import annotations

import numpy as np


def ratio(top: np.ndarray, bottom: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Top over bottom, float64, NaN where not `known` (by default: where bottom is not above 0).

    >>> ratio(np.array([1, 2]), np.array([4, 0])).tolist()
    [0.25, nan]
    """
    known = np.asarray(bottom) > 0 if known is None else known
    return np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=known)[()]
