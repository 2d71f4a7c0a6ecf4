"""Patient bootstrap: 95 % intervals and paired differences of measures that pool slices.

Slices of one patient resemble each other, so the patient is resampled, never the slice. A measure
is
given as a `PatientStatistic`: a function of how often each patient was drawn. Ratios of sums become
matrix products, AUROC and AP one sort for all replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ich_study.errors import StudyError
from ich_study.metrics.classification import RankedScores
from ich_study.metrics.overlap import Counts

MAX_DEGENERATE = 0.05
"""Share of replicates without a value above which no interval is given."""
_ELEMENTS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value with its percentile interval.

    degenerate: replicates in which the measure had no value (no positives drawn); they are left
    out,
        and above 5 % of them `low` and `high` are NaN. reason: why they are NaN, else empty.
    """

    value: float
    low: float
    high: float
    n_patients: int
    replicates: int
    seed: int
    degenerate: int = 0
    reason: str = ""

    def columns(self) -> dict[str, float | int]:
        """The columns of the result table that this fills: `value, ci_low, ci_high, n, seed`."""
        return {
            "value": self.value,
            "ci_low": self.low,
            "ci_high": self.high,
            "n": self.n_patients,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class PatientStatistic:
    """A measure as a function of patients' multiplicities.

    patients: (n,) sorted names. evaluate: multiplicities (replicates, n) -> values (replicates,),
    NaN where the measure has no value.
    """

    patients: np.ndarray
    evaluate: Callable[[np.ndarray], np.ndarray]

    def value(self) -> float:
        """The measure on the sample itself, every patient once."""
        return float(self.evaluate(np.ones((1, len(self.patients))))[0])


def _patients(patients: Sequence[object] | np.ndarray, items: int) -> tuple[np.ndarray, np.ndarray]:
    names = np.asarray(patients).astype(str)
    if names.shape != (items,) or items == 0:
        raise StudyError(
            f"{names.shape} patient names for {items} items; expected one patient per item and at"
            " least one item"
        )
    return np.unique(names, return_inverse=True)


def ratio_of_sums(
    patients: Sequence[object] | np.ndarray, numerator: np.ndarray, denominator: np.ndarray
) -> PatientStatistic:
    """sum(numerator) / sum(denominator) over items, each (items,) and finite: sensitivity, PPV,
    micro Dice.

    >>> patients, found, present = ["a", "a", "b"], [1, 0, 1], [1, 1, 1]
    >>> statistic = ratio_of_sums(patients, found, present)
    >>> statistic.value()
    0.6666666666666666
    >>> statistic.evaluate(np.array([[2.0, 0.0]]))  # patient a drawn twice, b not at all
    array([0.5])
    """
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    names, index = _patients(patients, len(top))
    if top.shape != bottom.shape or not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise StudyError(
            f"numerator {top.shape} and denominator {bottom.shape} must be finite and of one length"
        )
    sums = np.stack([np.bincount(index, part, len(names)) for part in (top, bottom)], 1)

    def evaluate(weights: np.ndarray) -> np.ndarray:
        total = weights @ sums
        return np.divide(
            total[:, 0], total[:, 1], out=np.full(len(total), np.nan), where=total[:, 1] > 0
        )

    return PatientStatistic(names, evaluate)


def mean_of_items(patients: Sequence[object] | np.ndarray, values: np.ndarray) -> PatientStatistic:
    """Mean of per-slice or per-scan values; NaN values are left out."""
    values = np.asarray(values, np.float64)
    defined = np.isfinite(values)
    return ratio_of_sums(patients, np.where(defined, values, 0), defined)


def micro_dice(patients: Sequence[object] | np.ndarray, counts: Counts) -> PatientStatistic:
    """2 TP / (2 TP + FP + FN) of counts summed over items; over points and boxes this is the point
    F1."""
    return ratio_of_sums(patients, 2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def _ranked(
    patients: Sequence[object] | np.ndarray, truth: np.ndarray, scores: np.ndarray, measure: str
) -> PatientStatistic:
    names, index = _patients(patients, len(truth))
    curve = getattr(RankedScores(truth, scores), measure)
    chunk = max(1, _ELEMENTS_AT_ONCE // len(index))

    def evaluate(weights: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                curve(weights[start : start + chunk][:, index])
                for start in range(0, len(weights), chunk)
            ]
        )

    return PatientStatistic(names, evaluate)


def auroc_of_items(
    patients: Sequence[object] | np.ndarray, truth: np.ndarray, scores: np.ndarray
) -> PatientStatistic:
    """AUROC over all items of the drawn patients."""
    return _ranked(patients, truth, scores, "auroc")


def average_precision_of_items(
    patients: Sequence[object] | np.ndarray, truth: np.ndarray, scores: np.ndarray
) -> PatientStatistic:
    """Average precision over all items of the drawn patients."""
    return _ranked(patients, truth, scores, "average_precision")


def mean_of_statistics(statistics: Sequence[PatientStatistic]) -> PatientStatistic:
    """Plain mean of measures of the same patients, such as the average over classes (LSE-UNet,
    AVG)."""
    if not statistics or any(
        not np.array_equal(s.patients, statistics[0].patients) for s in statistics
    ):
        raise StudyError("measures to average must be given and stand on the same patients")
    return PatientStatistic(
        statistics[0].patients,
        lambda weights: np.mean([s.evaluate(weights) for s in statistics], axis=0),
    )


def resampled_multiplicities(n_patients: int, replicates: int, seed: int) -> np.ndarray:
    """How often each patient is drawn in each replicate, float64 (replicates, n_patients), rows sum
    to n_patients."""
    if n_patients < 1 or replicates < 1:
        raise StudyError(
            f"{n_patients} patients, {replicates} replicates; expected at least one of each"
        )
    drawn = np.random.default_rng(seed).integers(0, n_patients, (replicates, n_patients))
    drawn += np.arange(replicates)[:, None] * n_patients
    return (
        np.bincount(drawn.ravel(), minlength=replicates * n_patients)
        .reshape(replicates, n_patients)
        .astype(np.float64)
    )


def _interval(
    value: float, replicates: np.ndarray, n_patients: int, seed: int, level: float
) -> Interval:
    if not 0 < level < 1:
        raise StudyError(f"level is {level}; expected a value between 0 and 1, such as 0.95")
    usable = replicates[np.isfinite(replicates)]
    degenerate = len(replicates) - len(usable)
    reason = ""
    if not np.isfinite(value):
        reason = "the measure has no value on the sample"
    elif n_patients < 2:
        reason = "one patient has no spread between patients"
    elif degenerate > MAX_DEGENERATE * len(replicates):
        reason = f"the measure has no value in {degenerate} of {len(replicates)} replicates"
    low, high = (
        (np.nan, np.nan) if reason else np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    )
    return Interval(
        value, float(low), float(high), n_patients, len(replicates), seed, degenerate, reason
    )


def patient_bootstrap(
    statistic: PatientStatistic, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile interval of a measure over patients drawn with replacement.

    The interval is NaN, with the reason, for one patient, for a measure without value on the
    sample, and where more than 5 % of the replicates have none. Raises StudyError for level outside
    (0, 1).

    >>> statistic = ratio_of_sums(["a", "b", "c", "d"], [1, 1, 0, 1], [1, 1, 1, 1])
    >>> interval = patient_bootstrap(statistic, replicates=1000)
    >>> interval.value, interval.low, interval.high, interval.n_patients
    (0.75, 0.25, 1.0, 4)
    """
    weights = resampled_multiplicities(len(statistic.patients), replicates, seed)
    return _interval(
        statistic.value(), statistic.evaluate(weights), len(statistic.patients), seed, level
    )


def _paired_replicates(
    first: PatientStatistic, second: PatientStatistic, replicates: int, seed: int
) -> np.ndarray:
    if not np.array_equal(first.patients, second.patients):
        raise StudyError(
            f"the measures stand on different patients ({len(first.patients)} and"
            f" {len(second.patients)}); pair them first"
        )
    weights = resampled_multiplicities(len(first.patients), replicates, seed)
    return first.evaluate(weights) - second.evaluate(weights)


def paired_bootstrap(
    first: PatientStatistic,
    second: PatientStatistic,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of `first` - `second`, both measured on the same drawn patients in every replicate.

    Raises StudyError where the two do not stand on the same patients.

    >>> patients = ["a", "b", "c", "d"]
    >>> first = ratio_of_sums(patients, [1, 1, 0, 1], [1, 1, 1, 1])
    >>> second = ratio_of_sums(patients, [0, 0, 0, 1], [1, 1, 1, 1])
    >>> paired_bootstrap(first, second).value
    0.5
    """
    differences = _paired_replicates(first, second, replicates, seed)
    return _interval(first.value() - second.value(), differences, len(first.patients), seed, level)


def two_sided_p(
    first: PatientStatistic, second: PatientStatistic, replicates: int = 1000, seed: int = 0
) -> float:
    """Two-sided p of no difference, from the replicates of `paired_bootstrap` with the same seed.

    Twice the smaller share of replicates on either side of 0, those at 0 on both, with one added
    above and below the line so that p is never 0; at most 1. NaN where `paired_bootstrap` gives no
    interval.
    """
    differences = _paired_replicates(first, second, replicates, seed)
    interval = _interval(
        first.value() - second.value(), differences, len(first.patients), seed, 0.95
    )
    if interval.reason:
        return float("nan")
    usable = differences[np.isfinite(differences)]
    tail = min(int((usable <= 0).sum()), int((usable >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(usable) + 1))
