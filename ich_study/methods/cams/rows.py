"""Scores of the CAM benchmark as tidy result rows, with patient-bootstrap intervals, and paired
comparisons.

Names are those of the printed tables: `dice`, `iou`, `box_dice`, `box_iou` under unit `pixel`
(global micro, Table IIa) and `slice` (mean over positive slices, Table IIb), `loose_hit` under
`slice`. Beyond
the paper: `box_match_f1` (one-to-one boxes), `pixel_average_precision`, `pointing_game`,
`mass_inside`, and on slices without hemorrhage `healthy_cm2` and `healthy_brain_share`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.localisation_report import (
    difference_rows,
    mean_rows,
    overlap_rows,
    paired_differences,
    statistic_of,
)
from ich_study.methods.cams.scores import SOURCES, SeriesScore
from ich_study.methods.cams.truth_masks import TruthMasks
from ich_study.metrics.statistics import PatientStatistic, patient_bootstrap

UNITS = ("pixel", "slice")
"""Tables IIa and IIb."""
REPLICATES_PER_PAIR = 100
CLAIM_METRICS = ("dice", "iou", "box_dice", "box_iou")


def score_rows(
    scores: Sequence[SeriesScore],
    test: TruthMasks,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
    prefix: str = "",
) -> list[dict[str, Any]]:
    """All rows of all series. common: study, dataset, class. prefix: put before the pixel metrics
    where the truth is filled boxes, which are not the lesion ("box_truth_")."""
    return [
        row for score in scores for row in _rows_of(score, test, common, replicates, seed, prefix)
    ]


def _rows_of(
    score: SeriesScore,
    test: TruthMasks,
    common: Mapping[str, Any],
    replicates: int,
    seed: int,
    prefix: str,
) -> list[dict[str, Any]]:
    named = {
        **common,
        "method": score.method,
        "layer": score.layer or None,
        "variant": score.variant,
        "brain_mask": False,
    }
    positive, healthy = test.positive, test.healthy
    with_truth, without = test.rows[positive], test.rows[healthy]
    draws = {"replicates": replicates, "seed": seed}
    rows: list[dict[str, Any]] = []
    for source in score.thresholds:
        there = {**named, "threshold_source": source, "subset": "positive"}
        for counts, before in ((score.pixel[source], prefix), (score.box_union[source], "box_")):
            rows += _renamed(
                overlap_rows(counts[positive], with_truth, there, UNITS, ("dice", "iou"), **draws),
                before,
            )
        rates = overlap_rows(
            score.pixel[source][positive],
            with_truth,
            there,
            ("pixel",),
            ("sensitivity", "precision"),
            **draws,
        )
        rows += _renamed(rates, prefix)
        matched = overlap_rows(
            score.box_match[source][positive], with_truth, there, ("pixel",), ("dice",), **draws
        )
        rows += [{**row, "metric": "box_match_f1"} for row in matched]
        rows += mean_rows(
            score.hits(source)[positive],
            with_truth,
            "loose_hit",
            {**there, "unit": "slice"},
            **draws,
        )
        for metric, values in (
            ("healthy_cm2", score.predicted_cm2),
            ("healthy_brain_share", score.brain_share),
        ):
            if healthy.any():
                rows += mean_rows(
                    values[source][healthy],
                    without,
                    metric,
                    {**there, "unit": "slice", "subset": "all"},
                    **draws,
                )
    free = {**named, "threshold_source": "none"}
    for subset, statistic in (("all", score.area), ("positive", score.area_positive)):
        area = patient_bootstrap(statistic, replicates, seed).columns()
        rows.append(
            {**free, "unit": "pixel", "subset": subset, "metric": "pixel_average_precision", **area}
        )
    for metric, values in (("pointing_game", score.pointing), ("mass_inside", score.mass)):
        rows += mean_rows(
            values[positive],
            with_truth,
            metric,
            {**free, "unit": "slice", "subset": "positive"},
            **draws,
        )
    return rows


def _renamed(rows: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    return [{**row, "metric": f"{prefix}{row['metric']}"} for row in rows]


def statistics_of(
    scores: Sequence[SeriesScore], test: TruthMasks, metric: str, unit: str, source: str
) -> dict[str, PatientStatistic]:
    """One table metric of every series on the positive slices, by "method [layer]"; scores must be
    of one variant."""
    positive = test.positive
    rows, found = test.rows[positive], {}
    for score in scores:
        counts = (score.box_union if metric.startswith("box_") else score.pixel)[source][positive]
        found[score.label] = statistic_of(counts, rows, unit, metric.removeprefix("box_"))
    if len(found) < len(scores):
        raise DataError(
            "a method and layer stand twice among the scores to compare; choose one variant"
        )
    return found


def compare_all(
    scores: Sequence[SeriesScore],
    test: TruthMasks,
    metric: str,
    unit: str = "pixel",
    source: str = "masks-validation",
    replicates: int | None = None,
    seed: int = 0,
    variant: str = "raw",
) -> pd.DataFrame:
    """Every pair of methods at one depth, every pair of depths of one method, and each against the
    trivial
    rivals, in one variant: differences with interval, p and Holm's p over all of them.

    A p of R replicates is never below 2 / (R + 1); None takes 100 per pair, so that the correction
    leaves it below 0.05.
    """
    scores = [score for score in scores if score.variant == variant]
    pairs = [
        (first.label, second.label)
        for first, second in combinations(scores, 2)
        if first.layer == second.layer
        or first.method == second.method
        or not second.layer
        or not first.layer
    ]
    draws = REPLICATES_PER_PAIR * len(pairs) if replicates is None else replicates
    table = paired_differences(
        statistics_of(scores, test, metric, unit, source), pairs, draws, seed
    )
    return table.assign(metric=metric, unit=unit, threshold_source=source)


def claim_rows(
    scores: Sequence[SeriesScore],
    test: TruthMasks,
    common: Mapping[str, Any],
    references: Sequence[str],
    layer: str = "-3",
    replicates: int = 1000,
    seed: int = 0,
    prefix: str = "",
) -> list[dict[str, Any]]:
    """Paired differences of `references` from every other method at the depth `layer`, as result
    rows, which decide the claims about the best method there more sharply than two separate
    intervals."""
    statistics: dict[str, PatientStatistic] = {}
    groups: dict[str, tuple[str, dict[str, Any]]] = {}
    pairs: list[tuple[str, str]] = []
    for variant in sorted({score.variant for score in scores}):
        members = [score for score in scores if (score.variant, score.layer) == (variant, layer)]
        names = [score.method for score in members]
        for source, metric, unit in product(SOURCES, CLAIM_METRICS, UNITS):
            found = statistics_of(members, test, metric, unit, source) if members else {}
            group = f"{variant} {source} {metric} {unit}"
            shown = metric if metric.startswith("box_") else f"{prefix}{metric}"
            groups[group] = shown, {"variant": variant, "threshold_source": source, "unit": unit}
            statistics |= {f"{group}:{score.method}": found[score.label] for score in members}
            pairs += [
                (f"{group}:{a}", f"{group}:{b}")
                for a in references
                if a in names
                for b in names
                if b != a
            ]
    shared = {**common, "layer": layer, "subset": "positive", "brain_mask": False}
    differences = paired_differences(statistics, pairs, replicates, seed)
    group_of, first = (
        differences["first"].str.split(":", expand=True).T.to_numpy()
        if len(differences)
        else ([], [])
    )
    bare = differences.assign(first=first, second=differences["second"].str.split(":").str[-1])
    rows: list[dict[str, Any]] = []
    for group, part in bare.groupby(np.asarray(group_of), sort=False):
        metric, named = groups[group]
        rows += difference_rows(part, {**shared, **named}, metric, seed)
    return rows


def threshold_table(scores: Sequence[SeriesScore]) -> pd.DataFrame:
    """Every threshold: `method, layer, variant, threshold_source, threshold, objective` (the Dice
    it reached where it was chosen)."""
    return pd.DataFrame(
        [
            {
                "method": score.method,
                "layer": score.layer,
                "variant": score.variant,
                "threshold_source": source,
                "threshold": chosen.value,
                "objective": chosen.objective,
            }
            for score in scores
            for source, chosen in score.thresholds.items()
        ]
    )


def best_of(
    results: pd.DataFrame,
    metric: str,
    unit: str = "pixel",
    source: str = "masks-validation",
    variant: str = "raw",
) -> pd.Series:
    """The row with the largest value of one metric among methods with a layer; DataError where
    there is none."""
    chosen = results[
        (results["metric"] == metric)
        & (results["unit"] == unit)
        & (results["threshold_source"] == source)
        & (results["variant"] == variant)
        & results["layer"].notna()
        & results["value"].notna()
    ]
    if chosen.empty:
        raise DataError(
            f"no result of {metric} per {unit} with threshold from {source}, variant {variant}"
        )
    return chosen.loc[chosen["value"].idxmax()]
