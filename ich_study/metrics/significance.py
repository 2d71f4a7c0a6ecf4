"""Paired tests between two methods on the same items, correction for many tests, standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PairedTest:
    """A two-tailed paired test: its statistic, p, the pairs used, mean of first - second."""

    statistic: float
    p: float
    n: int
    mean_difference: float


def paired_t_test(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Two-tailed paired t-test (HGI-SAM, 4.4; ResNet-LSTM, 3), pairs with NaN left out.

    Under two pairs p is NaN; all pairs equal gives p = 1; all differences equal and not 0 gives
    p = 0.

    >>> found = paired_t_test([3, 4, 6], [1, 3, 3])
    >>> round(found.statistic, 3), round(found.p, 3), found.mean_difference
    (3.464, 0.074, 2.0)
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    difference = difference[np.isfinite(difference)]
    count = len(difference)
    mean = float(difference.mean()) if count else float("nan")
    if count < 2:
        statistic, p = float("nan"), float("nan")
    elif not difference.any():
        statistic, p = 0.0, 1.0
    elif np.ptp(difference) == 0:
        statistic, p = float(np.copysign(np.inf, mean)), 0.0
    else:
        from scipy import stats  # slow to import

        result = stats.ttest_1samp(difference, 0)
        statistic, p = float(result.statistic), float(result.pvalue)
    return PairedTest(statistic, p, count, mean)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm-corrected p values in the given order; NaN stays NaN and does not count as a test.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, np.float64)
    # statsmodels gives the same, and collects garbage at every call, which a table of hundreds
    # cannot afford.
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]  # NaN stand last
    stepped = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    corrected = np.full(p.shape, np.nan)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def step_down(differences: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Corrected p of every difference, from one joint bootstrap of all of them (Romano and Wolf
    2005, studentised step-down).

    differences: (k,). drawn: (replicates, k), all differences on the same drawn patients; NaN in a
    replicate is no evidence. Under the null a replicate's difference strays from the sample's by
    chance alone; the largest such t of all differences that are still in the race is what a t has
    to beat. Unlike `holm`, p does not grow with the number of differences that say the same, and is
    at least 1 / (replicates + 1). NaN where a difference has no value or no spread.

    >>> drawn = np.random.default_rng(0).normal([0.5, 0.5, 0.0], 0.1, (999, 3))
    >>> step_down([0.5, 0.5, 0.0], drawn)
    array([0.001, 0.001, 1.   ])
    """
    differences, drawn = np.asarray(differences, np.float64), np.asarray(drawn, np.float64)
    corrected = np.full(differences.shape, np.nan)
    # not the deviation, which of equal numbers is not always 0
    differ = np.fmax.reduce(drawn) > np.fmin.reduce(drawn)
    tested = np.flatnonzero(differ & np.isfinite(differences))
    spread = np.nanstd(drawn[:, tested], axis=0, ddof=1)
    t = np.abs(differences[tested]) / spread
    by_chance = np.abs(drawn[:, tested] - differences[tested]) / spread
    order = np.argsort(t, kind="stable")  # the largest leaves the race first
    largest = np.fmax.accumulate(by_chance[:, order], axis=1)
    p = (1 + (largest >= t[order]).sum(0)) / (1 + len(drawn))
    corrected[tested[order]] = np.maximum.accumulate(p[::-1])[::-1]
    return corrected


def standard_error(values: np.ndarray) -> float:
    """SD (n - 1) / sqrt(n) of what is not NaN; NaN under two values. Of slices it is HGI-SAM's "+-
    SE", which takes slices of one patient for independent.

    >>> standard_error([1.0, 2.0, 3.0, np.nan])
    0.5773502691896258
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else float("nan")


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Mean rank of every method over blocks, 1 is best; ties share their mean rank.

    values: (blocks, methods), higher is better, no NaN.

    >>> mean_ranks([[0.9, 0.5, 0.5], [0.8, 0.9, 0.1]])
    array([1.5 , 1.75, 2.75])
    """
    from scipy import stats

    return stats.rankdata(-np.asarray(values, np.float64), axis=1).mean(0)


def critical_difference(methods: int, blocks: int) -> float:
    """Mean ranks that differ by less do not differ at 0.05 (Nemenyi; Demsar 2006, 3.2.2).

    q of the studentised range over sqrt(2), times sqrt(k (k + 1) / (6 N)).

    >>> round(critical_difference(5, 30), 3)
    1.114
    """
    from scipy import stats

    quantile = stats.studentized_range.ppf(0.95, methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * blocks)))
