"""Mask thresholds of several subtypes chosen together (LSE-UNet, Appendix A), and what choosing
them on the test masks is worth.

`masks-test`: the best of all settings on the very slices that are scored, as in the paper (Tables
3, 4). `masks-validation`: cross-fitted, every patient scored at thresholds chosen on other
patients' masks. Without any mask: fixed ones (Tables 5 to 7 have 125, 75 and 25) and
`evaluate.mask_free`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ich_study.errors import ParameterError, StudyError
from ich_study.evaluate.thresholds import Source, Threshold
from ich_study.methods.lse_unet.joint_histogram import JointHistogram
from ich_study.metrics.overlap import Counts, dice, mean_over_units

BACKGROUND = "normal"
"""LSE-UNet's class "Normal" (Table 2): the pixels without hemorrhage."""
FOLDS = 2
"""Of the patients, for thresholds that were chosen on others."""


def best_setting(
    histogram: JointHistogram, source: Source, groups: Collection[str] | None = None
) -> dict[str, Threshold]:
    """The setting with the largest mean Dice over the subtypes with truth, a Threshold per class.

    groups: whose masks choose, all by default. Of equal settings the last is taken, the one with
    higher thresholds for the earlier classes: a class without truth, which no Dice of its own can
    judge, then keeps as little mask as the others allow. Raises StudyError where no class has
    truth.
    """
    values = mean_over_units(dice(histogram.all_settings(groups))[:, 1:].T)
    if not histogram.truth(groups)[:, 1:].any():
        raise StudyError(
            f"no slice has truth of any of {histogram.classes}; mask thresholds cannot be chosen"
        )
    best = len(values) - 1 - int(np.argmax(values[::-1]))
    rule, cuts = "joint, best mean Dice over subtypes", histogram.settings()[best]
    return {
        name: Threshold(float(cut), source, rule, float(values[best]))
        for name, cut in zip(histogram.classes, cuts)
    }


def setting_of(thresholds: Mapping[str, Threshold], classes: Sequence[str]) -> list[float]:
    """Threshold values in the order of the classes."""
    return [thresholds[name].value for name in classes]


def patient_folds(truth: np.ndarray, patients: Sequence[str], seed: int) -> np.ndarray:
    """Fold of every group, int (groups,): whole patients, each subtype spread over the FOLDS.

    truth: pixels (groups, classes) of true subtype. patients: (groups,). Patients are dealt out in
    a random order within the rarest subtype that they have. Raises ParameterError for fewer
    patients than folds.
    """
    names, member = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    if len(names) < FOLDS:
        raise ParameterError(
            f"{FOLDS} folds of {len(names)} patients in {len(truth)} groups; expected 2 <= folds <="
            " patients"
        )
    has = np.zeros((len(names), truth.shape[1]), bool)
    np.logical_or.at(has, member, np.asarray(truth) > 0)
    frequency = np.where(has, has.sum(0), len(names) + 1)
    stratum = np.where(has.any(1), frequency.argmin(1), truth.shape[1])
    order = np.lexsort((np.random.default_rng(seed).permutation(len(names)), stratum))
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % FOLDS
    return fold[member]


@dataclass(frozen=True)
class CrossFit:
    """Thresholds for every group that were chosen on other patients.

    fold: of each group, int (groups,), groups sorted by name. thresholds: per fold, those that its
    groups are scored at, chosen on the other folds.
    """

    fold: np.ndarray
    thresholds: tuple[dict[str, Threshold], ...]

    def counts(self, histogram: JointHistogram) -> Counts:
        """Pixel counts of every group at its fold's thresholds, int64 (groups, 1 + classes).

        histogram: of the same groups; its classes may be present by another rule than where the
        thresholds were chosen.
        """
        settings = [setting_of(each, histogram.classes) for each in self.thresholds]
        parts = [histogram.at(setting) for setting in settings]
        own = self.fold, np.arange(len(self.fold))
        names = ("tp", "fp", "fn")
        return Counts(*(np.stack([getattr(each, name) for each in parts])[own] for name in names))


def cross_fitted(histogram: JointHistogram, patients: Sequence[str], seed: int) -> CrossFit:
    """For every fold of the patients the thresholds that are best on the others
    (`masks-validation`).

    patients: of each group of the histogram. Raises StudyError where the other folds have no truth
    at all, ParameterError for fewer patients than folds.
    """
    fold = patient_folds(histogram.truth()[:, 1:], patients, seed)
    chosen = []
    for number in range(FOLDS):
        others = [group for group, own in zip(histogram.groups, fold) if own != number]
        chosen.append(best_setting(histogram, "masks-validation", others))
    return CrossFit(fold, tuple(chosen))
