"""Mask thresholds of several subtypes chosen together (LSE-UNet, Appendix A), and what choosing
them on the test masks is worth.

`masks-test`: the best of all settings on the very slices that are scored, as in the paper (Tables
3, 4). `masks-validation`: cross-fitted, every patient scored at thresholds chosen on other
patients' masks.
Without any mask: `fixed_thresholds` (Tables 5 to 7 have 125, 75 and 25) and
`predictions.mask_free`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ich_study.errors import ParameterError, StudyError
from ich_study.evaluate.thresholds import Source, Threshold
from ich_study.methods.lse_unet.joint_histogram import JointHistogram
from ich_study.metrics.overlap import Counts, dice, mean_over_units
from ich_study.metrics.statistics import PatientStatistic, mean_of_statistics, micro_dice
from ich_study.schema import SUBTYPES

BACKGROUND = "normal"
"""LSE-UNet's class "Normal" (Table 2): the pixels without hemorrhage."""
Objective = Literal["subtypes", "with_normal"]
_RULES = {
    "subtypes": "joint, best mean Dice over subtypes",
    "with_normal": "joint, best mean Dice with normal",
}


@dataclass(frozen=True)
class JointScores:
    """Every setting with its pixel counts.

    settings: float64 (settings, classes). counts: int64 (settings, 1 + classes), background first.
    """

    classes: tuple[str, ...]
    settings: np.ndarray
    counts: Counts

    def dice(self) -> np.ndarray:
        """Dice over all pixels, float64 (settings, 1 + classes), background first; NaN for a class
        without truth."""
        return dice(self.counts)

    def objective(self, objective: Objective = "subtypes") -> np.ndarray:
        """Mean Dice of every setting, float64 (settings,): over the subtypes with truth,
        `with_normal` over these and the background."""
        if objective not in _RULES:
            raise ParameterError(f"objective {objective!r}; expected one of {sorted(_RULES)}")
        return mean_over_units(self.dice()[:, 1 if objective == "subtypes" else 0 :].T)

    def table(self) -> pd.DataFrame:
        """A row per setting: `threshold_<class>`, `dice_<class>`, `dice_normal`, and both
        objectives."""
        values = {f"threshold_{name}": self.settings[:, i] for i, name in enumerate(self.classes)}
        values |= {
            f"dice_{name}": column
            for name, column in zip((BACKGROUND, *self.classes), self.dice().T)
        }
        return pd.DataFrame(values | {f"objective_{name}": self.objective(name) for name in _RULES})

    def best(self, source: Source, objective: Objective = "subtypes") -> dict[str, Threshold]:
        """The setting with the largest objective, a Threshold per class.

        Of equal settings the last is taken, the one with higher thresholds for the earlier classes:
        a class without truth, which no Dice of its own can judge, then keeps as little mask as the
        others allow. Raises StudyError where no class has truth.
        """
        values = self.objective(objective)
        if not np.isfinite(values).any() or not (self.counts.tp + self.counts.fn)[0, 1:].any():
            raise StudyError(
                f"no slice has truth of any of {self.classes}; mask thresholds cannot be chosen"
            )
        best = len(values) - 1 - int(np.argmax(values[::-1]))
        rule = _RULES[objective]
        return {
            name: Threshold(float(cut), source, rule, float(values[best]))
            for name, cut in zip(self.classes, self.settings[best])
        }


@dataclass(frozen=True)
class CrossFit:
    """Groups scored at thresholds chosen on other patients.

    groups: names, sorted. counts: int64 (groups, 1 + classes), background first. fold: int
    (groups,).
    thresholds: per fold, those its groups were scored at. without_truth: per fold, classes that the
    patients it was chosen on have no truth of.
    """

    groups: tuple[str, ...]
    counts: Counts
    fold: np.ndarray
    thresholds: tuple[dict[str, Threshold], ...]
    without_truth: tuple[tuple[str, ...], ...]


def search(histogram: JointHistogram, groups: Collection[str] | None = None) -> JointScores:
    """Counts of all joint settings over the groups, all by default; exact."""
    return JointScores(histogram.classes, histogram.settings(), histogram.all_settings(groups))


def fixed_thresholds(value: float, classes: Sequence[str] = SUBTYPES) -> dict[str, Threshold]:
    """One number for all classes, chosen on nothing (Tables 5 to 7: 125, 75, 25)."""
    return {name: Threshold(float(value), "none", "fixed") for name in classes}


def setting_of(
    thresholds: Mapping[str, Threshold], classes: Sequence[str] = SUBTYPES
) -> list[float]:
    """Threshold values in the order of the classes."""
    return [thresholds[name].value for name in classes]


def patient_folds(truth: np.ndarray, patients: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Fold of every group, int (groups,): whole patients, each subtype spread over the folds.

    truth: pixels (groups, classes) of true subtype. patients: (groups,). Patients are dealt out in
    a random order within the rarest subtype that they have. Raises ParameterError for fewer
    patients than folds or under two folds.
    """
    names, member = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    if folds < 2 or len(names) < folds or len(member) != len(truth):
        raise ParameterError(
            f"{folds} folds of {len(names)} patients in {len(truth)} groups; expected 2 <= folds <="
            " patients"
        )
    has = np.zeros((len(names), truth.shape[1]), bool)
    np.logical_or.at(has, member, np.asarray(truth) > 0)
    frequency = np.where(has, has.sum(0), len(names) + 1)
    stratum = np.where(has.any(1), frequency.argmin(1), truth.shape[1])
    order = np.lexsort((np.random.default_rng(seed).permutation(len(names)), stratum))
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % folds
    return fold[member]


def cross_fitted(
    histogram: JointHistogram,
    patient_of: Mapping[str, str],
    folds: int = 2,
    seed: int = 0,
    objective: Objective = "subtypes",
) -> CrossFit:
    """Every group scored at the thresholds that are best on the other folds' patients
    (`masks-validation`).

    patient_of: patient of each group of the histogram. Raises StudyError for a group without
    patient or where the other folds have no truth at all, ParameterError for fewer patients than
    folds.
    """
    groups = histogram.groups
    unknown = [group for group in groups if group not in patient_of]
    if unknown:
        raise StudyError(
            f"no patient given for {unknown[:5]} ({len(unknown)} of {len(groups)} groups)"
        )
    somewhere = histogram.at([histogram.grid[0]] * len(histogram.classes))
    truth = (somewhere.tp + somewhere.fn)[:, 1:]
    fold = patient_folds(truth, [patient_of[group] for group in groups], folds, seed)
    total = Counts(*(np.zeros_like(part) for part in (somewhere.tp, somewhere.fp, somewhere.fn)))
    chosen, missing = [], []
    for number in range(folds):
        held = [group for group, own in zip(groups, fold) if own == number]
        fitting = [group for group, own in zip(groups, fold) if own != number]
        chosen.append(search(histogram, fitting).best("masks-validation", objective))
        missing.append(
            tuple(
                name
                for name, any_truth in zip(histogram.classes, truth[fold != number].any(0))
                if not any_truth
            )
        )
        counts = histogram.at(setting_of(chosen[-1], histogram.classes), held)
        for whole, part in zip((total.tp, total.fp, total.fn), (counts.tp, counts.fp, counts.fn)):
            whole[fold == number] = part
    return CrossFit(groups, total, fold, tuple(chosen), tuple(missing))


def mean_dice_statistic(
    counts: Counts, patients: Sequence[str], objective: Objective = "with_normal"
) -> PatientStatistic:
    """The mean over classes of Dice over all pixels, as a statistic over patients: AVG of Tables 2,
    3, 5 to 7.

    counts: (items, 1 + classes), background first; items are slices or groups. patients: (items,).
    Classes without truth are left out. For intervals, and for the difference between two protocols.
    Raises ParameterError for an unknown objective, StudyError where no class has truth.
    """
    if objective not in _RULES:
        raise ParameterError(f"objective {objective!r}; expected one of {sorted(_RULES)}")
    known = np.flatnonzero((counts.tp + counts.fn).sum(0))
    used = [place for place in known if place > 0 or objective == "with_normal"]
    return mean_of_statistics([micro_dice(patients, counts[:, place]) for place in used])
