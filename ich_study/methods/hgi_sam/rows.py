"""Every row of the result table that notebook 04 writes about maps and masks, and the comparisons
that claims ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.localisation_report import mean_rows, overlap_rows
from ich_study.evaluate.thresholds import Threshold
from ich_study.methods.hgi_sam.report import (
    HGI,
    Segmentation,
    claim_differences,
    segmentation_rows,
    setting_difference,
)
from ich_study.methods.hgi_sam.scores import MapScores, at_threshold, fold_thresholds
from ich_study.methods.hgi_sam.study import WeakMethod, masks_at
from ich_study.metrics.boxes import filled_box_counts
from ich_study.metrics.overlap import Counts, overlap_counts


def mask_rows(
    methods: Sequence[WeakMethod],
    headline: Mapping[str, Segmentation],
    free: Mapping[str, Threshold],
    rivals: Mapping[str, MapScores],
    decided: Mapping[str, np.ndarray],
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of all masks, and paired differences.

    methods: of `weak_methods`. headline: Table 1's methods of one variant, at the thresholds of
    their folds, supervised ones included; it is written as it is. Beside it: the other variant, the
    ablations, trivial rivals tuned alike, thresholds that saw no mask, and `_gated` masks, emptied
    where the classifier says no. decided: bool per slice, by method.
    """
    folds, variant = rows["fold"].to_numpy(), headline[HGI].variant
    others = [
        each.segmentation(each.tuned(folds).counts, "masks-validation")
        for each in methods
        if (each.maps.variant, each.layer, each.brain_mask) != (variant, None, True)
    ]
    plain = {
        each.method: each
        for each in methods
        if (each.maps.variant, each.layer, each.brain_mask) == (variant, None, True)
    }
    trivial = [
        Segmentation(
            name,
            fold_thresholds(scores.counts, folds, "printed", name).counts,
            "masks-validation",
            True,
            variant,
        )
        for name, scores in rivals.items()
    ]
    shown = [gated(headline[name], decided[name]) for name in plain]
    every = [
        *headline.values(),
        *others,
        *mask_free_segmentations(plain, free).values(),
        *trivial,
        *shown,
    ]
    found = segmentation_rows(every, rows, common, replicates, seed)
    found += claim_differences(list(headline.values()), rows, common, replicates, seed)
    return found + ablation_differences(
        [*headline.values(), *others], rows, common, replicates, seed
    )


def ablation_differences(
    segmentations: Sequence[Segmentation],
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """HGI-SAM as printed: three stages minus four, and with minus without the brain mask (paper,
    Section 6)."""
    printed = {
        (each.layer, each.brain_mask): each
        for each in segmentations
        if (each.method, each.variant) == (HGI, "printed")
    }
    layered = sorted((key for key in printed if key[0] is not None), key=lambda key: str(key[0]))
    pairs = [tuple(layered)] if len(layered) == 2 else []
    pairs += (
        [((None, True), (None, False))] if {(None, True), (None, False)} <= set(printed) else []
    )
    found = []
    for first, second in pairs:
        found += setting_difference(printed[first], printed[second], rows, common, replicates, seed)
    return found


def mask_free_segmentations(
    methods: Mapping[str, WeakMethod], thresholds: Mapping[str, Threshold]
) -> dict[str, Segmentation]:
    """Every method at its threshold that saw no mask."""
    return {
        name: each.segmentation(
            at_threshold(each.scores.counts, thresholds[name]), thresholds[name].source
        )
        for name, each in methods.items()
    }


def supervised_segmentations(
    masks: Mapping[str, np.ndarray], truth: np.ndarray, variant: str
) -> dict[str, Segmentation]:
    """Masks by method, counted; the larger of two outputs decides, so no threshold was chosen, and
    no brain mask is used."""
    return {
        name: Segmentation(name, overlap_counts(found, truth), "none", False, variant)
        for name, found in masks.items()
    }


def pointing_rows(
    scores: Mapping[str, MapScores],
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Pointing game and share of the map's mass in the truth, means over slices with truth:
    localisation without a threshold."""
    named = {
        **common,
        "unit": "slice",
        "subset": "positive",
        "threshold_source": "none",
        "brain_mask": True,
    }
    return [
        row
        for method, each in scores.items()
        for metric, values in (("pointing_game", each.pointing), ("mass_inside", each.mass))
        for row in mean_rows(values, rows, metric, {**named, "method": method}, replicates, seed)
    ]


def box_rows(
    methods: Mapping[str, WeakMethod],
    thresholds: Mapping[str, Threshold],
    boxes: np.ndarray,
    brain: np.ndarray,
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Where truth is boxes: `box_dice` and `box_iou` of the unions of filled boxes of truth and
    mask, over slices with a box.

    boxes: union of each slice's boxes, bool (N, S, S). DataError where no slice has one.
    """
    there = np.flatnonzero(boxes.any((1, 2)))
    if not len(there):
        raise DataError(f"none of the {len(rows)} slices has a box; there is nothing to localise")
    found = []
    for name, each in methods.items():
        masks = masks_at(each, np.full(len(rows), thresholds[name].value), there, brain)
        counts = filled_box_counts(masks, boxes[there])
        named = {
            **common,
            "method": name,
            "subset": "positive",
            "threshold_source": thresholds[name].source,
            "brain_mask": True,
        }
        measured = overlap_rows(
            counts, rows.iloc[there], named, ("slice", "pixel"), ("dice", "iou"), replicates, seed
        )
        found += [{**row, "metric": f"box_{row['metric']}"} for row in measured]
    return found


def gated(segmentation: Segmentation, decided: np.ndarray) -> Segmentation:
    """The same masks, emptied on slices that the classifier calls negative: what a reader would be
    shown."""
    counts = segmentation.counts
    kept = Counts(
        np.where(decided, counts.tp, 0),
        np.where(decided, counts.fp, 0),
        np.where(decided, counts.fn, counts.tp + counts.fn),
    )
    named = f"{segmentation.method}_gated"
    return Segmentation(
        named,
        kept,
        segmentation.threshold_source,
        segmentation.brain_mask,
        segmentation.variant,
        segmentation.layer,
    )
