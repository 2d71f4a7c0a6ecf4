"""Scores of the CAM benchmark as result rows with intervals over patients, and paired comparisons.

Names are those of the printed tables: `dice`, `iou`, `box_dice`, `box_iou` under unit `pixel`
(global micro, Table IIa) and `slice` (mean over positive slices, Table IIb), `loose_hit` under
`slice`. Beyond the paper: `box_match_f1` (one-to-one boxes), `pixel_average_precision`,
`pointing_game`, `mass_inside`, and on slices without hemorrhage `healthy_cm2` and
`healthy_brain_share`. Where the truth is filled boxes, which are not the lesion, pixel metrics have
the prefix "box_truth_".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ich_study.evaluate.rows import Row, Rows, paired_differences, statistic_of
from ich_study.evaluate.truth import Truth
from ich_study.methods.cams.scores import MethodScores, pixel_average_precision
from ich_study.metrics.boxes import loose_hit

UNITS = ("pixel", "slice")
"""Tables IIa and IIb."""
REPLICATES_PER_PAIR = 100
CLAIM_METRICS = ("dice", "iou", "box_dice", "box_iou")


BOX_TRUTH = "box_truth_"


def prefix_of(truth: Truth) -> str:
    """What stands before the pixel metrics of this truth."""
    return BOX_TRUTH if truth.kind == "boxes" else ""


def score_rows(scored: Sequence[MethodScores], truth: Truth, rows: Rows) -> list[Row]:
    """All rows of all scores. truth: of the test part."""
    return [row for each in scored for row in _rows_of(each, truth, rows)]


def _rows_of(scored: MethodScores, truth: Truth, rows: Rows) -> list[Row]:
    scores, prefix = scored.scores, prefix_of(truth)
    positive, healthy = scores.positive, truth.healthy
    with_truth, without = truth.rows[positive], truth.rows[healthy]
    named = {**scores.columns(), "brain_mask": False}
    found: list[Row] = []
    for source, marks in scored.marks.items():
        there = {**named, "threshold_source": source, "subset": "positive"}
        pixels, union = marks.choice.counts[positive], marks.union[positive]
        matched = marks.matched[positive]
        found += rows.overlap(pixels, with_truth, UNITS, ("dice", "iou"), prefix, **there)
        found += rows.overlap(union, with_truth, UNITS, ("dice", "iou"), "box_", **there)
        found += rows.overlap(
            pixels, with_truth, ["pixel"], ("sensitivity", "precision"), prefix, **there
        )
        f1 = statistic_of(matched, with_truth, "pixel", "dice")
        found.append(rows.statistic(f1, "box_match_f1", **there, unit="pixel"))
        there["unit"] = "slice"
        found.append(rows.mean(loose_hit(pixels), with_truth, "loose_hit", **there))
        if healthy.any():
            there["subset"] = "all"
            cm2 = marks.cm2[healthy]
            found.append(rows.mean(cm2, without, "healthy_cm2", share=False, **there))
            share = marks.brain_share[healthy]
            found.append(rows.mean(share, without, "healthy_brain_share", **there))
    free = {**named, "threshold_source": "none"}
    for subset, chosen in (("all", np.ones(len(truth), bool)), ("positive", positive)):
        area = pixel_average_precision(scores, truth.size, chosen)
        free |= {"unit": "pixel", "subset": subset}
        found.append(rows.statistic(area, "pixel_average_precision", **free))
    free["unit"] = "slice"
    for metric, values in (("pointing_game", scores.pointing), ("mass_inside", scores.mass)):
        found.append(rows.mean(values[positive], with_truth, metric, **free))
    return found


def compare_all(
    scored: Sequence[MethodScores], metric: str, replicates: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Every pair of methods at one depth, every pair of depths of one method, and each against the
    trivial rivals, all of raw maps at held-out thresholds: differences with interval, p and Holm's
    p over all of them.

    A p of R replicates is never below 2 / (R + 1); None takes 100 per pair, so that the correction
    leaves it below 0.05.
    """
    chosen = [each for each in scored if each.scores.variant == "raw"]
    pairs = []
    for first, second in combinations(chosen, 2):
        one, other = first.scores, second.scores
        rival = not (one.layer and other.layer)
        if rival or one.layer == other.layer or one.name == other.name:
            pairs.append((first.label, second.label))
    statistics = {}
    for each in chosen:
        marks, positive = each.marks["masks-validation"], each.scores.positive
        counts = (marks.union if metric.startswith("box_") else marks.choice.counts)[positive]
        rows, plain = each.scores.rows[positive], metric.removeprefix("box_")
        statistics[each.label] = statistic_of(counts, rows, "pixel", plain)
    table = paired_differences(
        statistics, pairs, replicates or REPLICATES_PER_PAIR * len(pairs), seed
    )
    return table.assign(metric=metric, unit="pixel", threshold_source="masks-validation")
