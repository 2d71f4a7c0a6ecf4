"""Paired tests between two methods on the same items, correction for many tests, standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ich_study.errors import StudyError


@dataclass(frozen=True)
class PairedTest:
    """A two-tailed paired test: its statistic, p, the pairs used and left out (NaN), mean of first
    - second."""

    test: str
    statistic: float
    p: float
    n: int
    dropped: int
    mean_difference: float


def _differences(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise StudyError(
            f"{first.shape} and {second.shape} values; a paired test needs two of one length, in"
            " the same order"
        )
    difference = first - second
    known = np.isfinite(difference)
    return difference[known], int((~known).sum())


def _paired(name: str, first: np.ndarray, second: np.ndarray) -> PairedTest:
    difference, dropped = _differences(first, second)
    mean = float(difference.mean()) if len(difference) else float("nan")
    if len(difference) < 2:
        return PairedTest(name, float("nan"), float("nan"), len(difference), dropped, mean)
    if not difference.any():
        return PairedTest(name, 0.0, 1.0, len(difference), dropped, 0.0)
    if name == "wilcoxon":
        result = stats.wilcoxon(difference)
    elif np.ptp(difference) == 0:
        return PairedTest(
            name, float(np.copysign(np.inf, mean)), 0.0, len(difference), dropped, mean
        )
    else:
        result = stats.ttest_1samp(difference, 0)
    return PairedTest(
        name, float(result.statistic), float(result.pvalue), len(difference), dropped, mean
    )


def paired_t_test(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Two-tailed paired t-test (HGI-SAM, 4.4; ResNet-LSTM, 3), pairs with NaN left out.

    Under two pairs p is NaN; all pairs equal gives p = 1; all differences equal and not 0 gives p =
    0.
    """
    return _paired("paired t", first, second)


def wilcoxon_test(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Two-tailed Wilcoxon signed rank test, zero differences left out of the ranks; empty cases as
    in `paired_t_test`."""
    return _paired("wilcoxon", first, second)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm-corrected p values in the given order; NaN stays NaN and does not count as a test."""
    p = np.asarray(p_values, np.float64)
    known = np.isfinite(p)
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise StudyError("p values must lie between 0 and 1")
    corrected = np.full(p.shape, np.nan)
    tested = p[known]
    order = np.argsort(tested, kind="stable")
    stepped = np.maximum.accumulate(tested[order] * np.arange(len(tested), 0, -1))
    # statsmodels gives the same, and collects garbage at every call, which a table of hundreds
    # cannot afford.
    sorted_back = np.empty_like(tested)
    sorted_back[order] = np.minimum(stepped, 1)
    corrected[known] = sorted_back
    return corrected


def standard_error(values: np.ndarray) -> float:
    """SD (n - 1) / sqrt(n) of what is not NaN; NaN under two values. Of slices it is HGI-SAM's "+-
    SE", which takes slices of one patient for independent."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else float("nan")
