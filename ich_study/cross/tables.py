"""The tables of notebook 08: every method by the same measures, with intervals over patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from ich_study.cross.answers import ANY
from ich_study.cross.measure import Entry
from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.quantification import agreement_rows
from ich_study.evaluate.results import with_interval
from ich_study.evaluate.rows import Rows, jointly_corrected
from ich_study.evaluate.score import Scores, score, score_classes
from ich_study.evaluate.thresholds import Choice, choose
from ich_study.evaluate.truth import Truth, largest_lesions
from ich_study.metrics.calibration import (
    calibration_error_of_items,
    predictive_values,
    reliability,
)
from ich_study.metrics.free_response import FALSE_POINTS, scored_boxes, threshold_at
from ich_study.metrics.overlap import Counts, dice, overlap_counts
from ich_study.metrics.points import slice_counts
from ich_study.metrics.significance import critical_difference, mean_ranks
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    mean_of_items,
    ratio_of_sums,
)
from ich_study.schema import SUBTYPES

HELD_OUT = "masks-validation"
OWN = "_at_own_threshold"
"""End of a measure's name: at the threshold that the method came with."""
SIZES = ("small", "middle", "large")
TRIAGE = ("sensitivity", "specificity", "ppv", "npv", "slice_calibration_error")
MEASURED_OF = ("dataset", "method", "metric")
INTERVAL = ("value", "ci_low", "ci_high", "interval", "n")
COMPARED = frozenset(
    {
        *(("dice", "pixel"), ("box_dice", "pixel"), ("pointing_game", None)),
        *(("point_f1", None), ("auroc", "slice")),
    }
)
"""Measures with their unit by which pairs of methods are compared."""
LEARNED_FROM = "learned from"
STEPS = 96
"""Thresholds that are tried, from all of the brain down to a hundred-thousandth of its pixels."""


@dataclass(frozen=True, repr=False)
class Scored(Entry):
    """What is kept of an entry: numbers per slice, and pictures of some slices. Its heat and marks
    are let go: of all methods on all slices they would not fit in memory.

    scores: counts of the gated heat at the thresholds that are tried; pointing of the whole heat.
    held_out: with the one that masks of other patients chose. own: counts at the method's own
    threshold, (N,), and marked_px the pixels. pointing: of each subtype with truth, (N,).
    marked_points: those of `points` that lie in the method's mask. shown_heat: float32 (n, S, S) of
    the slices that are shown, 0 and 1 at the lowest and highest heat on all; shown_mask: bool.
    """

    marked_points: list[np.ndarray]
    scores: Scores
    held_out: Choice
    own: Counts
    marked_px: np.ndarray
    pointing: Mapping[str, np.ndarray]
    shown_heat: np.ndarray
    shown_mask: np.ndarray

    @property
    def probability(self) -> np.ndarray | None:
        """That a slice holds hemorrhage, (N,), None for a rival."""
        return None if self.logit is None else expit(self.logit)


def threshold_grid(entry: Entry, truth: Truth) -> np.ndarray:
    """Quantiles of an entry's own heat in the brain behind its gate, ascending; no truth is looked
    at."""
    heat = entry.gated.read(slice(None))[:, 0][truth.brain[:]]
    return np.unique(np.quantile(heat.astype(np.float64), 1 - np.geomspace(1, 1e-5, STEPS)))


def folds_of(truth: Truth, count: int, seed: int) -> np.ndarray:
    """A fold for every slice, whole patients together; those with truth are dealt first."""
    patients = truth.rows["patient_id"].astype(str).to_numpy()
    positive = set(patients[truth.positive()])
    names = np.unique(patients)
    names = names[np.random.default_rng(seed).permutation(len(names))]
    ordered = sorted(names, key=lambda name: name not in positive)
    fold = {name: number % count for number, name in enumerate(ordered)}
    return np.array([fold[name] for name in patients])


def shown_slices(truth: Truth, count: int) -> np.ndarray:
    """The slices with the largest lesions of different patients."""
    return largest_lesions(truth, (ANY,), count)["index"].to_numpy()


def score_all(
    entries: Iterable[Entry], truth: Truth, folds: int, seed: int, shown: np.ndarray
) -> dict[str, Scored]:
    """Every entry scored, with a threshold for each fold from the masks of the others, by name.

    shown: slices whose heat is kept for a picture.
    """
    of_slice = folds_of(truth, folds, seed)
    return {entry.name: _scored(entry, truth, of_slice, shown) for entry in entries}


def _scored(entry: Entry, truth: Truth, of_slice: np.ndarray, shown: np.ndarray) -> Scored:
    scores = score(entry.gated, truth, threshold_grid(entry, truth))
    classes = [name for name in SUBTYPES if truth.kind == "masks" and truth.positive(name).any()]
    # what looks into one slice with hemorrhage asks no gate
    by_class = score_classes(entry.heat, truth, (), (ANY, *classes))
    scores = replace(scores, pointing=by_class[ANY].pointing, mass=by_class[ANY].mass)
    marked_points = []
    for points, mask in zip(entry.points, entry.marked):
        places = np.clip(np.rint(points[:, :2]).astype(int), 0, truth.size - 1)
        marked_points.append(points[mask[places[:, 0], places[:, 1]], :2])
    maps = entry.heat.read(slice(None))[:, 0]
    lowest, highest = float(maps.min()), float(maps.max())
    return Scored(
        **vars(replace(entry, heat=None, gated=None, marked=None)),
        marked_points=marked_points,
        scores=scores,
        held_out=choose(scores, HELD_OUT, folds=of_slice),
        own=overlap_counts(entry.marked, truth.mask()),
        marked_px=entry.marked.sum((1, 2)),
        pointing={name: by_class[name].pointing for name in classes},
        shown_heat=(maps[shown] - lowest) / max(highest - lowest, 1e-9),
        shown_mask=entry.marked[shown],
    )


def cost_table(scored: Mapping[str, Scored]) -> pd.DataFrame:
    """Time and memory a scan, NaN for a rival, and from whom it learned; a row a method."""
    rows = [
        (name, each.logit is None, 1000 * each.seconds, each.memory_mib, each.learned_from)
        for name, each in scored.items()
    ]
    columns = ["method", "rival", "milliseconds", "memory_mib", LEARNED_FROM]
    return pd.DataFrame(rows, columns=columns)


def result_rows(scored: Mapping[str, Scored], truth: Truth, rows: Rows) -> list[dict[str, Any]]:
    """Everything that is measured with an interval, a row per number."""
    prefix, boxes = _prefix(truth), truth.boxes()
    found: list[dict[str, Any]] = []
    for name, each in scored.items():
        named = {"method": name, "variant": each.variant, "class_name": ANY}
        for counts, source, end in (
            (each.own, each.threshold_source, OWN),
            (each.held_out.counts, HELD_OUT, ""),
        ):
            columns = {"prefix": prefix, "threshold_source": source, **named}
            more = rows.overlap(counts, truth.rows, **columns)
            found += [{**row, "metric": f"{row['metric']}{end}"} for row in more]
        found += _heat_rows(each, truth, rows, named)
        found += _point_rows(each, truth, boxes, rows, named)
        if truth.kind == "masks":
            found += _volume_rows(each, truth, rows)
    return found


def _prefix(truth: Truth) -> str:
    """Before the name of a measure of overlap."""
    return "" if truth.kind == "masks" else "box_"


def _heat_rows(
    each: Scored, truth: Truth, rows: Rows, named: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Pointing game by subtype, marks on healthy brains, slices ranked."""
    found = [rows.mean(each.scores.pointing, truth.rows, "pointing_game", **named)]
    for name, pointing in each.pointing.items():
        own = {**named, "class_name": name}
        found.append(rows.mean(pointing, truth.rows, "pointing_game", **own))
    brain = truth.brain[:].sum((1, 2))
    share = each.marked_px / np.maximum(brain, 1)
    wrong = np.where(truth.healthy, share, np.nan)
    source = {"threshold_source": each.threshold_source}
    found.append(rows.mean(wrong, truth.rows, "marked_share_of_healthy_brain", **source, **named))
    known, positive = truth.rows["any"].notna().to_numpy(), _labels(truth)
    if each.logit is not None and 0 < positive[known].sum() < known.sum():
        ranked = auroc_of_items(truth.rows["patient_id"][known], positive[known], each.logit[known])
        found.append(rows.statistic(ranked, "auroc", unit="slice", **named))
    return found


def _point_rows(
    each: Scored,
    truth: Truth,
    boxes: Sequence[np.ndarray],
    rows: Rows,
    named: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """F1 of the points that the method marks, and sensitivity at fixed false points a scan."""
    patients = truth.rows["patient_id"]
    counts = slice_counts(each.marked_points, boxes)
    f1 = ratio_of_sums(patients, 2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)
    source = {"threshold_source": each.threshold_source}
    found = [rows.statistic(f1, "point_f1", **source, **named)]
    hits, false = scored_boxes(each.points, boxes)
    scans = truth.rows["scan_id"].nunique()
    number = np.array([len(found) for found in hits])
    for allowed in FALSE_POINTS:
        cut = threshold_at(false, scans, allowed)
        caught = np.array([((found >= cut) & np.isfinite(found)).sum() for found in hits])
        statistic = ratio_of_sums(patients, caught, number)
        found.append(rows.statistic(statistic, f"sensitivity_at_{allowed:g}_false", **named))
    return found


def _volume_rows(each: Scored, truth: Truth, rows: Rows) -> list[dict[str, Any]]:
    marked = each.marked_px * truth.pixel_ml
    true = truth.mask().sum((1, 2)) * truth.pixel_ml
    slices = truth.rows[["scan_id", "patient_id"]].assign(predicted_ml=marked, truth_ml=true)
    grouped = slices.groupby(["scan_id", "patient_id"], sort=False, as_index=False)
    volumes = grouped.sum(min_count=1).assign(**{"class": ANY})
    columns = {"variant": each.variant, "threshold_source": each.threshold_source}
    return agreement_rows(volumes, rows, ("all",), method=each.name, **columns)


def by_size(scored: Mapping[str, Scored], truth: Truth, rows: Rows) -> pd.DataFrame:
    """Pointing game, and pooled Dice at held-out thresholds, by size of the lesion on the slice:
    thirds of the slices with truth, a row per method, third and measure with its interval and the
    area's range in pixels of the grid."""
    areas = truth.mask().sum((1, 2))
    with_truth = np.flatnonzero(areas)
    thirds = np.array_split(with_truth[np.argsort(areas[with_truth], kind="stable")], 3)
    found = []
    for name, each in scored.items():
        for size, index in zip(SIZES, thirds):
            if len(index):
                own, named = truth.rows.iloc[index], {"method": name, "size": size}
                counted = {
                    "least_px": areas[index].min(),
                    "most_px": areas[index].max(),
                    "slices": len(index),
                }
                pointing = rows.mean(each.scores.pointing[index], own, "pointing_game", **named)
                counts = each.held_out.counts[index]
                kind = (("pixel",), ("dice",), _prefix(truth))
                overlap = rows.overlap(counts, own, *kind, **named)
                found += [{**row, **counted} for row in (pointing, *overlap)]
    columns = [*MEASURED_OF, "size", "least_px", "most_px", "slices", *INTERVAL]
    return pd.DataFrame(found, columns=columns)


def triage(
    scored: Mapping[str, Scored], truth: Truth, prevalence: float, rows: Rows
) -> pd.DataFrame:
    """What a call of a whole scan means: its highest slice probability at 0.5, and calibration of
    the slices; a row per method and measure with its interval. ppv and npv are of a reading room
    where `prevalence` of the scans hold hemorrhage."""
    labels, found = _labels(truth), []
    slices = truth.rows[["scan_id", "patient_id"]].assign(true=labels)
    for name, each in scored.items():
        if each.probability is None:
            continue
        scans = slices.assign(p=each.probability).groupby("scan_id").max()
        patients, right = scans["patient_id"], (scans["p"] >= 0.5) == scans["true"]
        kinds = (scans["true"], ~scans["true"])
        called = [mean_of_items(patients, np.where(kind, right, np.nan)) for kind in kinds]
        values = [_predictive(*called, prevalence, number) for number in (0, 1)]
        error = calibration_error_of_items(truth.rows["patient_id"], labels, each.probability)
        for metric, statistic in zip(TRIAGE, (*called, *values, error)):
            row = rows.statistic(statistic, metric, method=name)
            found.append({**row, "scans": len(scans), "prevalence": prevalence})
    columns = [*MEASURED_OF, "scans", "prevalence", *INTERVAL]
    return pd.DataFrame(found, columns=columns)


def _predictive(
    sensitivity: PatientStatistic, specificity: PatientStatistic, prevalence: float, which: int
) -> PatientStatistic:
    """The positive (0) or negative (1) predictive value as a measure of the drawn patients."""

    def evaluate(weights: np.ndarray) -> np.ndarray:
        both = sensitivity.evaluate(weights), specificity.evaluate(weights)
        return predictive_values(*both, prevalence)[which]

    return PatientStatistic(sensitivity.patients, evaluate, share=True)


def reliability_tables(scored: Mapping[str, Scored], truth: Truth) -> dict[str, pd.DataFrame]:
    """Probability said and share that is positive, of the slices, by method that says any."""
    return {
        name: reliability(_labels(truth), each.probability)
        for name, each in scored.items()
        if each.probability is not None
    }


def _labels(truth: Truth) -> np.ndarray:
    """Which slices are said to hold hemorrhage; of the others it is not known, or they do not."""
    return truth.rows["any"].astype("boolean").fillna(False).to_numpy(bool)


def perfect_dice(truth: Truth, folds: int, seed: int) -> float:
    """Pooled Dice of the truth itself given as heat, through the whole protocol: 1, or it is
    wrong."""
    maps = truth.mask().astype(np.float32)[:, None]
    heat = ArrayHeat("truth", "printed", None, (ANY,), maps)
    scores = score(heat, truth, np.array([0.25, 0.5, 0.75]))
    chosen = choose(scores, HELD_OUT, folds=folds_of(truth, folds, seed))
    return float(dice(chosen.counts.sum()))


def all_pairs(rows: Rows) -> pd.DataFrame:
    """Every pair of methods on the same drawn patients, by each of `COMPARED` and class of which
    `result_rows` made a row: columns `metric` and `class`, those of `paired_differences`, and
    `p_corrected` over the pairs of one measure (`jointly_corrected`)."""
    statistics: dict[tuple[str, str], dict[str, PatientStatistic]] = {}
    for row, statistic in rows.made:
        if (row["metric"], row.get("unit")) in COMPARED and "size" not in row:
            # of a method's two thresholds the held-out one comes last, and stays
            measure = statistics.setdefault((row["metric"], row["class"]), {})
            measure[row["method"]] = statistic
    tables = []
    for (metric, name), found in statistics.items():
        table, _ = rows.differences(found, list(combinations(found, 2)), metric)
        p = jointly_corrected(table, found, rows.replicates, rows.seed)
        tables.append(table.assign(p_corrected=p, **{"metric": metric, "class": name}))
    return pd.concat(tables, ignore_index=True)


def standing(pairs: pd.DataFrame) -> pd.DataFrame:
    """Of `all_pairs`, how many others each method is better than, and worse than, once corrected:
    columns `metric, class, method, better_than, worse_than, compared`."""
    clear = pairs["p_corrected"] < 0.05
    above, below = clear & (pairs["difference"] > 0), clear & (pairs["difference"] < 0)
    sides = [
        pairs.assign(method=pairs["first"], better_than=above, worse_than=below),
        pairs.assign(method=pairs["second"], better_than=below, worse_than=above),
    ]
    counted = pd.concat(sides).groupby(["metric", "class", "method"], sort=False)
    totals = counted[["better_than", "worse_than"]].sum()
    return totals.assign(compared=counted.size()).reset_index()


def ranks(scored: Mapping[str, Scored], truth: Truth) -> tuple[pd.Series, float]:
    """Mean rank of every method over patients with truth, by their pooled Dice at held-out
    thresholds, and the difference of mean ranks that counts (Nemenyi)."""
    patients = truth.rows["patient_id"].astype(str).to_numpy()
    values = {name: dice(each.held_out.counts.by_group(patients)) for name, each in scored.items()}
    table = pd.DataFrame(values).dropna()
    found = pd.Series(mean_ranks(table.to_numpy()), table.columns).sort_values()
    return found, critical_difference(table.shape[1], len(table))


def side_by_side(rows: pd.DataFrame, across: Sequence[str]) -> pd.DataFrame:
    """Rows with an interval as a table to read: data sets and methods down, `across` beside each
    other, each number with its interval."""
    cells = rows.assign(cell=[with_interval(row, 2) for row in rows.to_dict("records")])
    places = {"index": ["dataset", "method"], "columns": list(across)}
    wide = cells.pivot_table(**places, values="cell", aggfunc="first", sort=False)
    return wide.fillna("")


def choosing_table(results: pd.DataFrame, cost: pd.DataFrame) -> pd.DataFrame:
    """One row a method and data set, what a reader chooses by, the best Dice first."""
    whole = results[results["class"] == ANY]
    pooled = whole[whole["unit"] == "pixel"]
    names = pooled["metric"].str.removeprefix("box_")
    picked = {
        "dice, held-out threshold": pooled[names == "dice"],
        "dice, own threshold": pooled[names == f"dice{OWN}"],
        "pointing game": whole[whole["metric"] == "pointing_game"],
        "point F1": whole[whole["metric"] == "point_f1"],
        "slice AUROC": whole[whole["metric"] == "auroc"],
    }
    keys = ["dataset", "method"]
    table = pd.DataFrame({name: part.set_index(keys)["value"] for name, part in picked.items()})
    table = table.join(cost.set_index(keys)[["milliseconds", "memory_mib", LEARNED_FROM]])
    order = table.sort_values("dice, held-out threshold", ascending=False, kind="stable")
    return order.reset_index().sort_values("dataset", kind="stable", ignore_index=True)
