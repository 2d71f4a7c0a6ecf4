"""Rows of the result table that are about masks, and the differences that claims ask for.

HGI-SAM paper, Table 1 and Section 6. Intervals draw patients; beside the positive slices of Table
1 all slices and whole scans are scored too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.heat import Heat
from ich_study.evaluate.pointing import pointing_differences
from ich_study.evaluate.rows import METRICS, Row, Rows, statistic_of
from ich_study.evaluate.score import Scores, score
from ich_study.evaluate.thresholds import Choice
from ich_study.evaluate.truth import Truth
from ich_study.methods.hgi_sam.detection import decisions
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, HGI, AttentionHeat, ablations
from ich_study.methods.hgi_sam.thresholds import GRID, of_other_folds
from ich_study.metrics.boxes import filled_box_counts
from ich_study.metrics.overlap import Counts, overlap_counts

PER_POSITIVE_SLICE = {"class_name": "any", "unit": "slice", "subset": "positive"}
AnyHeat = TypeVar("AnyHeat", bound=Heat)


@dataclass(frozen=True)
class Segmentation:
    """One method's masks, scored. counts: per slice, (slices,). The rest are columns of the result
    table."""

    method: str
    counts: Counts = field(repr=False)
    threshold_source: str
    brain_mask: bool
    variant: str = "printed"
    layer: str | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the result table that name it."""
        names = ("method", "threshold_source", "brain_mask", "variant", "layer")
        return {name: getattr(self, name) for name in names}


def segmented(scored: Scores | Heat, choice: Choice, brain_mask: bool = True) -> Segmentation:
    """The masks of one method, named by its scores or heat, at its thresholds, named by where those
    came from.

    brain_mask: whether its heat was cut to the brain before it was scored.
    """
    named = (choice.source, brain_mask, scored.variant, scored.layer)
    return Segmentation(scored.name, choice.counts, *named)


def supervised(name: str, masks: np.ndarray, truth: Truth, variant: str) -> Segmentation:
    """Masks of a supervised network, bool (N, S, S); the larger of two outputs decides, so no
    threshold was chosen, and no brain mask is used."""
    return Segmentation(name, overlap_counts(masks, truth.mask()), "none", False, variant)


def gated_by_classifiers(
    segmentations: Mapping[str, Segmentation], predictions: Mapping[str, pd.DataFrame]
) -> list[Segmentation]:
    """The masks of every weakly supervised method, emptied on slices that the classifier which it
    explains calls negative: what a reader would be shown.

    predictions: of `classification.predict`, by classifier.
    """
    found = []
    for method, classifier in CLASSIFIER_OF.items():
        counts, called = segmentations[method].counts, decisions(predictions[classifier])
        tp, fp = counts.tp * called, counts.fp * called
        kept = Counts(tp, fp, counts.tp + counts.fn - tp)
        found.append(replace(segmentations[method], method=f"{method}_gated", counts=kept))
    return found


def positive_slices(index: pd.DataFrame) -> np.ndarray:
    """Which slices are labelled positive, bool; DataError where none is."""
    positive = index["any"].astype("boolean").fillna(False).to_numpy(bool)
    if not positive.any():
        raise DataError(
            f"none of the {len(index)} slices is labelled positive; Table 1 has nothing to score"
        )
    return positive


def segmentation_rows(
    segmentations: Sequence[Segmentation], index: pd.DataFrame, rows: Rows
) -> list[Row]:
    """Result rows of every segmentation: subset `positive` per slice and per pixel, subset `all`
    per pixel and per scan.

    index: rows of the slice index, with the label `any`. Positive are slices labelled so, as in
    Table 1; of them means leave out those whose mask is empty.
    """
    positive = positive_slices(index)
    found = []
    for each in segmentations:
        named = {**each.columns, "class_name": "any"}
        found += rows.overlap(
            each.counts[positive],
            index[positive],
            ("slice", "pixel"),
            METRICS,
            **named,
            subset="positive",
        )
        found += rows.overlap(each.counts, index, ("pixel", "scan"), METRICS, **named, subset="all")
    return found


def mask_rows(
    headline: Mapping[str, Segmentation],
    heats: Mapping[str, Mapping[str, AttentionHeat]],
    scores: Mapping[str, Scores],
    free: Mapping[str, Choice],
    rivals: Mapping[str, Scores],
    predictions: Mapping[str, pd.DataFrame],
    truth: Truth,
    rows: Rows,
) -> list[Row]:
    """Rows of all masks, and paired differences of the ablations.

    headline: Table 1's methods of one variant, at the thresholds of the other folds, supervised
    ones included. Beside it: the other variants and the ablations, from `heats` by variant; `free`,
    thresholds of `scores` that saw no mask; trivial `rivals` tuned alike; and the headline's masks
    gated by the classifiers' `predictions`. truth: its rows name the `fold` of each slice.
    """
    index, variant = truth.rows, headline[HGI].variant
    others = ablations(heats["printed"])
    for reading, methods in heats.items():
        if reading != variant:
            # the norm of a head is a question of HGI-SAM alone
            beside = [methods[HGI]] if reading == "norm_of_head" else methods.values()
            others = [*beside, *others]
    beside = [
        segmented(heat, choice, heat.brain is not None)
        for heat, choice in tuned_alike(others, truth)
    ]
    unmasked = [segmented(scores[name], choice) for name, choice in free.items()]
    trivial = []
    for each in rivals.values():
        found = segmented(each, of_other_folds(each, index["fold"]))
        trivial.append(replace(found, variant=variant))
    shown = gated_by_classifiers(headline, predictions)
    table_1 = list(headline.values())
    table = segmentation_rows([*table_1, *beside, *unmasked, *trivial, *shown], index, rows)
    return table + ablation_differences([*table_1, *beside], index, rows)


def tuned_alike(heats: Iterable[AnyHeat], truth: Truth) -> list[tuple[AnyHeat, Choice]]:
    """Each heat with the thresholds of the other folds, as Table 1's own methods.

    truth: its rows name the `fold` of each slice.
    """
    folds = truth.rows["fold"]
    return [(heat, of_other_folds(score(heat, truth, GRID), folds)) for heat in heats]


def ablation_differences(
    segmentations: Sequence[Segmentation], index: pd.DataFrame, rows: Rows
) -> list[Row]:
    """HGI-SAM as printed: three stages minus four, with minus without the brain mask (paper,
    Section 6), and its norm per window and head minus the norm per head (Eq. 2); named by the
    first's columns."""
    printed = {
        (each.layer, each.brain_mask): each
        for each in segmentations
        if (each.method, each.variant) == (HGI, "printed")
    }
    own, every = sorted((layer, brain) for layer, brain in printed if layer is not None)
    pairs = [(printed[own], printed[every]), (printed[None, True], printed[None, False])]
    for each in segmentations:
        if (each.method, each.variant) == (HGI, "norm_of_head"):
            pairs.append((printed[None, True], replace(each, method=f"{HGI} norm_of_head")))
    positive, found = positive_slices(index), []
    for first, second in pairs:
        one, two = (
            statistic_of(each.counts[positive], index[positive], "slice", "dice")
            for each in (first, second)
        )
        named = {**first.columns, "method": f"{first.method} - {second.method}"}
        found.append(rows.difference(one, two, "dice_difference", **named, **PER_POSITIVE_SLICE))
    return found


def pointing_rows(scores: Sequence[Scores], rows: Rows, variant: str) -> list[Row]:
    """Pointing game and share of the heat's mass in the truth, means over slices with truth:
    localisation without a threshold."""
    found = []
    for each in scores:
        named = {**PER_POSITIVE_SLICE, "threshold_source": "none", "brain_mask": True}
        named |= {"method": each.name, "variant": variant}
        for metric, values in (("pointing_game", each.pointing), ("mass_inside", each.mass)):
            found.append(rows.mean(values, each.rows, metric, **named))
    return found


def pointing_table(
    scores: Mapping[str, Scores],
    rivals: Mapping[str, Scores],
    heats: Mapping[str, Mapping[str, AttentionHeat]],
    truth: Truth,
    rows: Rows,
    variant: str,
) -> list[Row]:
    """`pointing_rows` of the methods in `variant`, of the rivals, and of HGI-SAM with one norm per
    head; and how much better than a random map HGI-SAM points."""
    found = pointing_rows([*scores.values(), *rivals.values()], rows, variant)
    if variant != "norm_of_head":
        found += pointing_rows([score(heats["norm_of_head"][HGI], truth)], rows, "norm_of_head")
    compared = [scores[HGI], rivals["random_map"]]
    return found + pointing_differences(compared, [(HGI, "random_map")], rows, variant=variant)


def box_rows(
    heats: Mapping[str, Mapping[str, AttentionHeat]],
    variant: str,
    choices: Sequence[Mapping[str, Choice]],
    rivals: Iterable[Heat],
    truth: Truth,
    rows: Rows,
) -> list[Row]:
    """Where truth is boxes: `box_dice`, `box_iou` and `box_precision` of the unions of filled boxes
    of truth and mask, over slices with a box. DataError where no slice has one.

    heats: by variant. The methods of `variant` at each of `choices`, by method; then the ablations
    and the trivial `rivals`, at the thresholds that are best against the boxes of the other folds.
    """
    boxes = truth.mask()
    there = np.flatnonzero(boxes.any((1, 2)))
    if not len(there):
        raise DataError(f"none of the {len(truth)} slices has a box; there is nothing to localise")
    own = [(heats[variant][name], choice) for by in choices for name, choice in by.items()]
    own += tuned_alike(ablations(heats["printed"]), truth)
    masked = [(heat, choice, heat.brain is not None) for heat, choice in own]
    for rival, choice in tuned_alike(rivals, truth):
        masked.append((replace(rival, variant=variant), choice, True))
    found, shown = [], truth.rows.iloc[there]
    for heat, choice, in_brain in masked:
        marked = heat.read(there)[:, 0] >= choice.of_slice[there][:, None, None]
        counts = filled_box_counts(marked, boxes[there])
        columns = segmented(heat, choice, in_brain).columns
        columns |= {"class_name": "any", "subset": "positive"}
        metrics = ("dice", "iou", "precision")
        found += rows.overlap(counts, shown, ("slice", "pixel"), metrics, "box_", **columns)
    return found
