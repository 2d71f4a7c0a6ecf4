"""Patient bootstrap: 95 % intervals and paired differences of measures that pool slices.

Slices of one patient resemble each other, so the patient is resampled, never the slice. A measure
is given as a `PatientStatistic`: a function of how often each patient was drawn. Ratios of sums
become matrix products, AUROC and AP one sort for all replicates.

Whether an interval exists is decided here for all measures alike. Every measure of a class has no
value in a replicate that draws no patient with the class, so that all of them lack it in the same
replicates; where more than 5 % lack it, there is no interval. A share that is 0 or 1 in every
patient has no spread to draw from: its bounds are those of Clopper and Pearson (Biometrika 26, 404,
1934) for as many patients, which also hold for the mean of any measure between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ich_study.errors import StudyError
from ich_study.metrics.classification import RankedScores
from ich_study.metrics.cores import cores, side_by_side
from ich_study.metrics.overlap import RATIOS, Counts
from ich_study.metrics.ratio import ratio

LEVEL = 0.95
"""Of all intervals."""
MAX_DEGENERATE = 0.05
"""Share of replicates without a value above which no interval is given."""
_ELEMENTS_AT_ONCE = 4_000_000
Patients = Sequence[object] | np.ndarray
"""The patient of every item."""


@dataclass(frozen=True)
class Interval:
    """A value with its interval.

    kind: how the bounds were found, `bootstrap` for percentiles of replicates or `exact` for those
    of Clopper and Pearson, or why they are NaN. p: of a difference, two-sided, of none: twice the
    smaller share of replicates on either side of 0, or where the bounds are exact that of the sign
    test over patients; NaN without bounds.
    """

    value: float
    low: float
    high: float
    n_patients: int
    seed: int
    kind: str
    p: float

    def columns(self) -> dict[str, float | int | str]:
        """The columns of the result table that this fills: `value, ci_low, ci_high, interval, n,
        seed`."""
        return {
            "value": self.value,
            "ci_low": self.low,
            "ci_high": self.high,
            "interval": self.kind,
            "n": self.n_patients,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class PatientStatistic:
    """A measure as a function of patients' multiplicities.

    patients: (n,) sorted names. evaluate: multiplicities (replicates, n) -> values (replicates,),
    NaN where the measure has no value. share: it lies between 0 and 1 whatever the patients.
    members: of an average, the measures that it averages.
    """

    patients: np.ndarray
    evaluate: Callable[[np.ndarray], np.ndarray]
    share: bool = False
    members: tuple[PatientStatistic, ...] = ()

    def value(self) -> float:
        """The measure on the sample itself, every patient once."""
        return float(self.evaluate(np.ones((1, len(self.patients))))[0])

    def constant(self) -> tuple[float, int] | None:
        """0 or 1 where that is the value of the sample and of every patient alone, and the number
        of patients who have a value alone; None where patients differ."""
        value = self.value()
        alone = self.evaluate(np.eye(len(self.patients)))
        alone = alone[np.isfinite(alone)]
        if value not in (0, 1) or (alone != value).any():
            return None
        return value, len(alone)


def _patients(patients: Patients, items: int) -> tuple[np.ndarray, np.ndarray]:
    names = np.asarray(patients).astype(str)
    if names.shape != (items,) or items == 0:
        raise StudyError(
            f"{names.shape} patient names for {items} items; expected one patient per item and at"
            " least one item"
        )
    return np.unique(names, return_inverse=True)


def ratio_of_sums(
    patients: Patients,
    numerator: np.ndarray,
    denominator: np.ndarray,
    present: np.ndarray | None = None,
    share: bool = True,
) -> PatientStatistic:
    """sum(numerator) / sum(denominator) over items, each (items,) and finite: sensitivity, PPV,
    micro Dice.

    present: bool (items,), which items hold what is measured; without any of them among the drawn
    patients there is no value, whatever the ratio. share: False for a ratio with no upper end, even
    where none is above 1 here.

    >>> patients, found, present = ["a", "a", "b"], [1, 0, 1], [1, 1, 1]
    >>> statistic = ratio_of_sums(patients, found, present)
    >>> statistic.value()
    0.6666666666666666
    >>> statistic.evaluate(np.array([[2.0, 0.0]]))  # patient a drawn twice, b not at all
    array([0.5])
    """
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    names, index = _patients(patients, len(top))
    held = np.ones(len(top)) if present is None else np.asarray(present, np.float64)
    sums = np.stack([np.bincount(index, part, len(names)) for part in (top, bottom, held)], 1)

    def evaluate(weights: np.ndarray) -> np.ndarray:
        top, bottom, held = (weights @ sums).T
        known = (bottom > 0) & (held > 0)
        return ratio(top, bottom, known)

    return PatientStatistic(names, evaluate, share and bool(((top >= 0) & (top <= bottom)).all()))


def mean_of_items(
    patients: Patients,
    values: np.ndarray,
    present: np.ndarray | None = None,
    share: bool = True,
) -> PatientStatistic:
    """Mean of per-slice or per-scan values; NaN values are left out. present, share: see
    `ratio_of_sums`."""
    values = np.asarray(values, np.float64)
    defined = np.isfinite(values)
    return ratio_of_sums(patients, np.where(defined, values, 0), defined, present, share)


def micro_dice(patients: Patients, counts: Counts) -> PatientStatistic:
    """2 TP / (2 TP + FP + FN) of counts summed over items; over points and boxes this is the point
    F1. No value where no drawn patient has truth."""
    return ratio_of_sums(patients, *RATIOS["dice"](counts), counts.present)


def _ranked(
    patients: Patients, truth: np.ndarray, scores: np.ndarray, measure: str
) -> PatientStatistic:
    names, index = _patients(patients, len(truth))
    curve = getattr(RankedScores(truth, scores), measure)
    most = max(1, _ELEMENTS_AT_ONCE // len(index))

    def evaluate(weights: np.ndarray) -> np.ndarray:
        # each replicate is on its own, so that the cores share them
        chunk = min(most, -(-len(weights) // cores()))
        starts = range(0, len(weights), chunk)
        areas = side_by_side(lambda start: curve(weights[start : start + chunk][:, index]), starts)
        return np.concatenate(list(areas))

    return PatientStatistic(names, evaluate, share=True)


def auroc_of_items(
    patients: Patients,
    truth: np.ndarray,
    scores: np.ndarray,
    strata: np.ndarray | None = None,
) -> PatientStatistic:
    """AUROC over all items of the drawn patients. strata: (items,), whole numbers; only pairs of a
    positive and a negative item of one stratum are compared, and all pairs count alike."""
    if strata is None:
        return _ranked(patients, truth, scores, "auroc")
    names, index = _patients(patients, len(truth))
    truth, scores, strata = np.asarray(truth, bool), np.asarray(scores), np.asarray(strata)
    parts = []
    for stratum in np.unique(strata):
        inside = strata == stratum
        area = _ranked(patients[inside], truth[inside], scores[inside], "auroc")
        drawn = np.searchsorted(names, area.patients)
        # positives and negatives of every patient in the stratum
        kinds = [
            np.bincount(index[inside & kind], minlength=len(names)) for kind in (truth, ~truth)
        ]
        parts.append((area, drawn, *kinds))

    def evaluate(weights: np.ndarray) -> np.ndarray:
        ranked, pairs = np.zeros((2, len(weights)))
        for area, drawn, positive, negative in parts:
            of_stratum = (weights @ positive) * (weights @ negative)
            ranked += np.nan_to_num(area.evaluate(weights[:, drawn])) * of_stratum
            pairs += of_stratum
        return ratio(ranked, pairs)

    return PatientStatistic(names, evaluate, share=True)


def average_precision_of_items(
    patients: Patients, truth: np.ndarray, scores: np.ndarray
) -> PatientStatistic:
    """Average precision over all items of the drawn patients."""
    return _ranked(patients, truth, scores, "average_precision")


def mean_of_statistics(statistics: Sequence[PatientStatistic]) -> PatientStatistic:
    """Plain mean of measures of the same patients, such as the average over classes (LSE-UNet,
    AVG).

    It is the mean of all of them in every replicate: a replicate that lacks one has no value, and
    is left out. Whether the mean has an interval is decided by its rarest member alone.
    """
    if not statistics or any(
        not np.array_equal(s.patients, statistics[0].patients) for s in statistics
    ):
        raise StudyError("measures to average must be given and stand on the same patients")
    return PatientStatistic(
        statistics[0].patients,
        lambda weights: np.mean([s.evaluate(weights) for s in statistics], axis=0),
        all(s.share for s in statistics),
        tuple(statistics),
    )


def range_of_statistics(statistics: Sequence[PatientStatistic]) -> PatientStatistic:
    """The largest less the smallest of measures of the same patients; no value where one has
    none."""
    mean = mean_of_statistics(statistics)
    return replace(
        mean,
        evaluate=lambda weights: np.ptp([each.evaluate(weights) for each in statistics], axis=0),
    )


def difference_of(first: PatientStatistic, second: PatientStatistic) -> PatientStatistic:
    """`first` minus `second` as a measure of its own, so that two differences can be compared on
    the same drawn patients. It lacks its value where either does; StudyError where the two do not
    stand on the same patients."""
    if not np.array_equal(first.patients, second.patients):
        raise StudyError("measures to subtract must stand on the same patients")
    return PatientStatistic(
        first.patients,
        lambda weights: first.evaluate(weights) - second.evaluate(weights),
        members=(first.members or (first,)) + (second.members or (second,)),
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


def clopper_pearson(share: float, n_patients: int) -> tuple[float, float]:
    """Exact bounds of a share that was 0 or 1 in all of n patients (Clopper and Pearson, 1934).

    >>> [round(bound, 2) for bound in clopper_pearson(1.0, 15)]
    [0.78, 1.0]
    """
    end = ((1 - LEVEL) / 2) ** (1 / n_patients)
    return (end, 1.0) if share else (0.0, 1 - end)


def _exact(statistics: Sequence[PatientStatistic]) -> tuple[float, float, int] | str | None:
    """Exact bounds of a measure, or of the first minus the second, and the fewest patients behind
    them; None where percentiles serve, a reason where neither does.

    Each bound leaves out (1 - LEVEL) / 2, so that those of a difference of two hold together.
    """
    constants = [statistic.constant() for statistic in statistics]
    if None in constants:
        return _equal(statistics)
    fewest = min(patients for _, patients in constants)
    if not all(statistic.share for statistic in statistics):
        return "0 or 1 in every patient, and a measure without an upper end has no exact bound"
    if not fewest:
        return "0 or 1 in every replicate, and no patient has a value alone"
    low, high = clopper_pearson(*constants[0])
    for value, patients in constants[1:]:
        second_low, second_high = clopper_pearson(value, patients)
        low, high = low - second_high, high - second_low
    return low, high, fewest


def _equal(statistics: Sequence[PatientStatistic]) -> tuple[float, float, int] | str | None:
    """As `_exact`, of the difference of two measures that patients do not share but that are equal
    in each of them: in no patient seen do the two differ, so in few of all. One measure that is the
    same everywhere and neither 0 nor 1, such as the average of both, has no bound."""
    if len(statistics) == 1:
        return "the same in every replicate, and neither 0 nor 1, which has no exact bound"
    one, other = (each.evaluate(np.eye(len(each.patients))) for each in statistics)
    apart = (one - other)[np.isfinite(one - other)]
    if apart.any():
        return None
    if not len(apart):
        return "the same in every replicate, and no patient has a value alone"
    if not all(statistic.share for statistic in statistics):
        return "equal in every patient, which gives no bound of this measure"
    _, high = clopper_pearson(0.0, len(apart))
    return -high, high, len(apart)


@dataclass(frozen=True)
class Drawn:
    """A measure on patients drawn with replacement: values (replicates,), NaN where it has none.
    lacking: share of replicates without a value; of an average, that of its rarest member."""

    statistic: PatientStatistic
    values: np.ndarray
    lacking: float
    seed: int


def draw(statistic: PatientStatistic, replicates: int, seed: int) -> Drawn:
    """A measure on drawn patients; measures of the same patients and seed are drawn on the same
    ones."""
    weights = resampled_multiplicities(len(statistic.patients), replicates, seed)
    values = statistic.evaluate(weights)
    each = [member.evaluate(weights) for member in statistic.members] or [values]
    return Drawn(statistic, values, float(np.isnan(each).mean(1).max()), seed)


def _interval(drawn: Sequence[Drawn]) -> Interval:
    """Of one measure, or of the first minus the second on the same drawn patients."""
    statistics = [each.statistic for each in drawn]
    n_patients, replicates = len(statistics[0].patients), len(drawn[0].values)
    sample = [statistic.value() for statistic in statistics]
    value = sample[0] - sum(sample[1:])
    usable = drawn[0].values - sum(each.values for each in drawn[1:])
    usable = usable[np.isfinite(usable)]
    lacking = max(each.lacking for each in drawn)

    found = None
    if not np.isfinite(value):
        found = "the measure has no value on the sample"
    elif n_patients < 2:
        found = "one patient has no spread between patients"
    elif lacking > MAX_DEGENERATE or not len(usable):
        missing = round(lacking * replicates)
        found = f"the measure has no value in {missing} of {replicates} replicates"
    elif np.ptp(usable) == 0:
        found = _exact(statistics)
    if isinstance(found, str):
        kind, low, high, p = found, np.nan, np.nan, np.nan
    elif found:
        kind, (low, high, fewest) = "exact", found
        p = 2 * 0.5**fewest if value else 1.0
    else:
        kind, (low, high) = "bootstrap", np.quantile(usable, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        # those at 0 stand on both sides; one is added above and below the line, so p is never 0
        tail = min(int((usable <= 0).sum()), int((usable >= 0).sum()))
        p = 2 * (tail + 1) / (len(usable) + 1)
    p = float(np.minimum(p, 1)) if len(statistics) > 1 else np.nan
    return Interval(value, float(low), float(high), n_patients, drawn[0].seed, kind, p)


def patient_bootstrap(
    statistic: PatientStatistic, replicates: int = 1000, seed: int = 0
) -> Interval:
    """Interval of a measure over patients drawn with replacement: percentiles, or exact bounds.

    The bounds are NaN, with the reason, for one patient, for a measure without value on the sample,
    and where more than 5 % of the replicates have none.

    >>> statistic = ratio_of_sums(["a", "b", "c", "d"], [1, 1, 0, 1], [1, 1, 1, 1])
    >>> interval = patient_bootstrap(statistic, replicates=1000)
    >>> interval.value, interval.low, interval.high, interval.n_patients
    (0.75, 0.25, 1.0, 4)
    """
    return _interval([draw(statistic, replicates, seed)])


def paired_bootstrap(
    first: PatientStatistic,
    second: PatientStatistic,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Interval and two-sided p of `first` - `second`, both measured on the same drawn patients in
    every replicate.

    Raises StudyError where the two do not stand on the same patients.

    >>> patients = ["a", "b", "c", "d"]
    >>> first = ratio_of_sums(patients, [1, 1, 0, 1], [1, 1, 1, 1])
    >>> second = ratio_of_sums(patients, [0, 0, 0, 1], [1, 1, 1, 1])
    >>> paired_bootstrap(first, second).value
    0.5
    """
    return paired(draw(first, replicates, seed), draw(second, replicates, seed))


def paired(first: Drawn, second: Drawn) -> Interval:
    """`paired_bootstrap` of two measures that are drawn already, with one seed."""
    patients, others = first.statistic.patients, second.statistic.patients
    if not np.array_equal(patients, others):
        raise StudyError(
            f"the measures stand on different patients ({len(patients)} and {len(others)}); pair"
            " them first"
        )
    return _interval([first, second])
