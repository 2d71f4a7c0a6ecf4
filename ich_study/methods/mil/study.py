"""What notebook 05 does with one network: its detectors, their rows, curves and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ich_study.atomic import write_parquet
from ich_study.evaluate.pointing import pointing_differences
from ich_study.evaluate.results import with_interval
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.score import score
from ich_study.evaluate.truth import read_truth, truth_kind
from ich_study.methods.mil import report
from ich_study.methods.mil.figures import Panel, slices_of_each_outcome
from ich_study.methods.mil.network import ReadyNetwork, published_preprocessing
from ich_study.methods.mil.peak_tuning import Search, tune_centroids, tune_detector
from ich_study.methods.mil.peaks import PUBLISHED, Centroids, Detector, Peaks
from ich_study.methods.mil.pipeline import ScoredMaps, score_slices
from ich_study.metrics.boxes import fill_boxes
from ich_study.metrics.overlap import Counts
from ich_study.metrics.points import points_in_boxes
from ich_study.splits.overlap import assert_disjoint
from ich_study.store import Store

TUNED_ON_BOXES = "masks-validation"
"""`threshold_source` of detectors tuned on boxes of other patients than those that are scored."""

REPLICATES = 2000
"""Of differences between the heads."""


def method_of(head: str) -> str:
    """The name of a head in result tables."""
    return f"mil_{head}"


def columns_of(head: str, variant: str) -> dict[str, Any]:
    """The columns of the result table that name one network."""
    return {"method": method_of(head), "variant": variant, "class_name": "any", "subset": "all"}


def variants_of(detector: Detector, variant: str) -> dict[str, Detector]:
    """The detectors to compare for one network, the main one first, under `variant`.

    h, T and d stay; what changes is one thing at a time: no h-maxima, no threshold, no
    distance beyond the next pixel, the code's order with its blind border, and without it.
    """
    return {
        variant: detector,
        "no_h_maxima": replace(detector, prominence=0.0),
        "no_threshold": replace(detector, threshold=-np.inf),
        "no_distance": replace(detector, distance=1),
        "code_order_blind_border": replace(detector, order="authors", blind_border=True),
        "code_order_full_field": replace(detector, order="authors", blind_border=False),
    }


def published_variants(detector: Detector) -> dict[str, Detector]:
    """The detectors of a published network: as released, and without the blind border."""
    return {
        "published_weights": detector,
        "published_weights_full_field": replace(detector, blind_border=False),
    }


@dataclass(frozen=True)
class Evaluated:
    """One network on one part: its main detector with peaks and counts, rows of the result table
    of all its detectors, and the main one's free-response curve, with where on it the detector
    works (false points per scan, sensitivity)."""

    head: str
    variant: str
    detector: Detector
    scored: ScoredMaps = field(repr=False)
    peaks: list[Peaks] = field(repr=False)
    counts: Counts = field(repr=False)
    rows: list[Row] = field(repr=False)
    curve: pd.DataFrame = field(repr=False)
    operating: tuple[float, float]

    @property
    def name(self) -> str:
        """As figures call it."""
        return f"{method_of(self.head)} ({self.variant})"

    def panels(self, store: Store) -> list[list[Panel]]:
        """Slices chosen by rule (`figures.slices_of_each_outcome`), and below each its map, all on
        one scale; that of attention, which a slice's cells share, is logarithmic."""
        slices, maps = [], []
        chosen = slices_of_each_outcome(self.counts, self.scored.rows)
        likelihoods = [self.scored.read(np.array([index]))[0] for index in chosen]
        limits = (np.min(likelihoods), np.max(likelihoods)) if chosen else None
        for (index, kind), likelihood in zip(chosen.items(), likelihoods):
            row = self.scored.rows.iloc[index]
            drawn = {
                "side": self.scored.side,
                "boxes": self.scored.boxes[index],
                "points": self.peaks[index].points,
            }
            hu = store.slice(str(row["scan_id"]), int(row["slice_index"]))
            slices.append(Panel(f"{kind}, patient {row['patient_id']}", hu, **drawn))
            look = {"window": None, "limits": limits, "logarithmic": self.head == "attention"}
            title = "attention, a share of the slice" if self.head == "attention" else "likelihood"
            maps.append(Panel(title, likelihood, **look, **drawn))
        return [slices, maps]


def evaluate_network(
    scored: ScoredMaps,
    detectors: Mapping[str, Detector | Centroids],
    table: Rows,
    *,
    head: str,
    gate: float | None = 0.5,
) -> Evaluated:
    """Every detector of `detectors` on one part; the first is the main one and has its h, T and d
    in the rows, subtypes, a curve and pictures. gate: see `report.point_rows`."""
    main, chosen = next(iter(detectors.items()))
    columns = {**columns_of(head, main), "threshold_source": TUNED_ON_BOXES}
    found, rows = {}, []
    for name, detector in tqdm(detectors.items(), "detectors", leave=False):
        found[name] = scored.peaks(detector)
        gated = gate if name == main else None
        named = {**columns, "variant": name}
        rows += report.point_rows(scored, found[name], table, gated, **named)
    rows += report.subtype_rows(scored, found[main], table, **columns)
    patients = scored.rows["patient_id"].nunique()
    settings = {"h_maxima": "prominence", "threshold": "threshold", "distance": "distance"}
    for name, of_detector in settings.items():
        value = getattr(chosen, of_detector)
        rows.append(table.number(value, f"detector_{name}", patients, **columns, unit="slice"))
    counts = report.point_counts_of(scored, found[main])
    total, scans = counts.sum(), scored.rows["scan_id"].nunique()
    everything = scored.peaks(replace(chosen, threshold=-np.inf))
    return Evaluated(
        head,
        main,
        chosen,
        scored,
        found[main],
        counts,
        rows,
        report.free_response(scored, everything),
        (float(total.fp) / scans, float(total.tp) / float(total.tp + total.fn)),
    )


def evaluate_published(
    ready: ReadyNetwork,
    store: Store,
    rows: pd.DataFrame,
    training: pd.DataFrame,
    truth: str,
    table: Rows,
    gate: float,
) -> Evaluated:
    """A published network with its published detectors, and how it calls slices.

    training: slices that the rival of its calls learns from; the network never saw them.
    """
    scored, head = score_slices(ready, store, rows, truth), ready.network.head
    detectors = published_variants(PUBLISHED[head])
    found = evaluate_network(scored, detectors, table, head=head, gate=gate)
    called = report.classifier_rows(scored, training, table, **columns_of(head, found.variant))
    return replace(found, rows=[*found.rows, *called])


def tune_and_test(
    tune: ScoredMaps,
    test: ScoredMaps,
    search: Search,
    table: Rows,
    *,
    head: str,
    variant: str,
    gate: float | None = 0.5,
) -> Evaluated:
    """Tune the detector and its rival without peaks on the boxes of `tune`; score every variant of
    the detector (`variants_of`) and the rival on `test`. Raises SplitError where a patient is in
    both."""
    assert_disjoint(tune.rows, test.rows)
    detectors: dict[str, Detector | Centroids] = {}
    detectors.update(variants_of(tune_detector(tune, search), variant))
    detectors["threshold_centroids"] = tune_centroids(tune)
    return evaluate_network(test, detectors, table, head=head, gate=gate)


def part_name(dataset: str, boxes_dataset: str) -> str:
    """`dataset` of result rows on slices with boxes: told apart from the validation part where both
    are one data set."""
    return boxes_dataset if boxes_dataset != dataset else f"{boxes_dataset}/test"


def better_than_chance(evaluated: Evaluated, store: Store) -> tuple[float, float]:
    """The share of points that lie in a box, and what share of points placed anywhere in the brains
    of the same slices would: the boxes' share of the brain's area, weighted by the points. NaN,
    which is above no minimum, for a detector without points."""
    weights = np.array([len(found.points) for found in evaluated.peaks])
    index = np.flatnonzero(weights)
    if not len(index):
        return math.nan, math.nan
    scored = evaluated.scored
    grid = published_preprocessing(scored.side)
    truth = read_truth(store, scored.rows.iloc[index], grid, kind="none", progress=False)
    hits, areas = 0, []
    for number, brain in zip(index, truth.brain[:]):
        boxes = scored.boxes[number]
        hits += points_in_boxes(evaluated.peaks[number].points, boxes).any(1).sum()
        areas.append((fill_boxes(boxes, brain.shape) & brain).sum() / max(int(brain.sum()), 1))
    return float(hits / weights.sum()), float(np.average(areas, weights=weights[index]))


def head_differences(evaluated: Sequence[Evaluated], table: Rows) -> list[Row]:
    """Pooling minus attention on the same drawn patients, for every measure, as rows
    `<metric>_difference`; none without both."""
    by_head = {each.head: each for each in evaluated}
    if set(by_head) != {"max_pooling", "attention"}:
        return []
    pair = (method_of("max_pooling"), method_of("attention"))
    columns = {
        "variant": evaluated[0].variant,
        "class_name": "any",
        "subset": "all",
        "unit": "slice",
        "threshold_source": TUNED_ON_BOXES,
    }
    rows: list[Row] = []
    for metric in report.MEASURES:
        statistics = {
            method_of(head): report.point_statistic(each.counts, each.scored.rows, metric)
            for head, each in by_head.items()
        }
        rows += table.differences(statistics, [pair], metric, REPLICATES, **columns)[1]
    return rows


def pointing_rows(evaluated: Sequence[Evaluated], store: Store, table: Rows) -> list[Row]:
    """Pointing game of every map and of the trivial rivals, and each map minus a random one.

    The truth is the masks of the slices, or their boxes; the grain of the random map is a sixteenth
    of the slice. None for no network.
    """
    if not evaluated:
        return []
    first = evaluated[0]
    grid, kind = published_preprocessing(first.scored.side), truth_kind(first.scored.rows)
    truth = read_truth(store, first.scored.rows, grid, kind, progress=False)
    heats = [each.scored.heat(method_of(each.head), first.variant) for each in evaluated]
    heats += rivals(truth, smoothness_px=truth.size / 16, seed=table.seed)
    scores = [score(heat, truth) for heat in heats]
    columns = {"variant": first.variant, "class_name": "any", "threshold_source": "none"}
    columns |= {"unit": "slice", "subset": "positive"}
    found = []
    for each in scores:
        named = {"method": each.name, **columns}
        found.append(table.mean(each.pointing, each.rows, "pointing_game", **named))
    pairs = [(method_of(each.head), "random_map") for each in evaluated]
    return found + pointing_differences(scores, pairs, table, variant=first.variant)


def table_1(results: pd.DataFrame) -> pd.DataFrame:
    """PPV, sensitivity and point F1 in percent with their intervals, a row per method and variant,
    as the paper's Table I."""
    columns = {"point_ppv": "PPV [%]", "point_sensitivity": "SE [%]", "point_f1": "point F1 [%]"}
    chosen = results["metric"].isin(columns) & (results["unit"] == "slice")
    chosen &= (results["class"] == "any") & ~results["method"].str.contains(" - ")
    cells = results[chosen].replace({"metric": columns})
    percent = 100 * cells[["value", "ci_low", "ci_high"]]
    cells = cells.assign(cell=percent.apply(with_interval, axis=1, digits=1))
    wide = cells.pivot(index=["dataset", "method", "variant"], columns="metric", values="cell")
    return wide[list(columns.values())].reset_index().rename_axis(columns=None)


def write_points(path: Path, evaluated: Sequence[Evaluated]) -> pd.DataFrame:
    """Every point of every main detector, on the network's grid: a row per point, as Parquet at
    `path`, and as a table."""
    tables = []
    for each in evaluated:
        found = [len(peaks.points) for peaks in each.peaks]
        where = each.scored.rows[["dataset", "patient_id", "scan_id", "slice_index"]]
        points = np.concatenate([peaks.points for peaks in each.peaks])
        tables.append(
            where.loc[where.index.repeat(found)].assign(
                method=method_of(each.head),
                variant=each.variant,
                row=points[:, 0],
                column=points[:, 1],
                height=np.concatenate([peaks.values for peaks in each.peaks]).astype(np.float64),
            )
        )
    points = pd.concat(tables, ignore_index=True)
    write_parquet(path, points)
    return points
