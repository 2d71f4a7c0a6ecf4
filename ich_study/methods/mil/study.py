"""What notebook 05 does with one network: its detectors, their rows, curves and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ich_study.atomic import write_parquet
from ich_study.errors import ParameterError
from ich_study.evaluate import classification as evaluation
from ich_study.evaluate.localisation_report import difference_rows, paired_differences
from ich_study.evaluate.scored_slices import read_scored_slices
from ich_study.methods.mil import report
from ich_study.methods.mil.figures import DetectionPanel, shown_slices
from ich_study.methods.mil.network import WINDOWS, published_preprocessing
from ich_study.methods.mil.peak_tuning import Search, best_threshold, tune_detector
from ich_study.methods.mil.peaks import Detector, Peaks, threshold_centroids
from ich_study.methods.mil.pipeline import ScoredMaps
from ich_study.methods.mil.points import point_counts, points_in_boxes
from ich_study.metrics.boxes import fill_boxes
from ich_study.metrics.overlap import Counts, stack_counts
from ich_study.splits.overlap import assert_disjoint
from ich_study.store import Store
from ich_study.training.config import TrainingConfig
from ich_study.training.learner import TrainingRun

STUDY = "05_mil_detector"
TUNED_ON_BOXES = "masks-validation"
"""`threshold_source` of detectors tuned on boxes of other patients than those that are scored."""
CENTROID_THRESHOLDS = 40
TRAINING_PARAMETERS = (
    "size",
    "augmentation",
    "augmentation_options",
    "sampler",
    "learning_rate",
    "weight_decay",
    "schedule",
    "step_epochs",
    "epochs",
    "batch_size",
    "monitor",
    "keep",
    "max_train_batches",
    "seed",
    "precision",
    "device",
    "num_workers",
    "cache_in_memory",
)
"""Parameters of the notebook that are fields of `TrainingConfig`."""


def method_of(head: str) -> str:
    """The name of a head in result tables."""
    return f"mil_{head}"


def assert_all_disjoint(*parts: pd.DataFrame) -> None:
    """Raise SplitError where two parts share a patient."""
    for first, second in combinations(parts, 2):
        assert_disjoint(first, second)


def told(head: str, variant: str, dataset: str) -> dict[str, Any]:
    """The columns of the result table that name one network on one part."""
    return {
        "study": STUDY,
        "dataset": dataset,
        "method": method_of(head),
        "variant": variant,
        "class": "any",
        "subset": "all",
    }


def training_config(**settings: Any) -> TrainingConfig:
    """The training of a MIL network: its input channels, one class, Adam; the rest as `settings`
    say."""
    fixed = {
        "classes": ("any",),
        "windows": WINDOWS,
        "normalisation": "mil",
        "optimizer": "adam",
        "channels_last": True,
    }
    return TrainingConfig(**fixed, **settings)


def variants_of(detector: Detector, variant: str) -> dict[str, Detector]:
    """The detectors to compare for one network, the main one first, under `variant`.

    h, T and d stay; what changes is one thing at a time: no h-maxima, no threshold, the code's
    order with its blind border, and the code's order without it.
    """
    return {
        variant: detector,
        "no_h_maxima": detector.changed(prominence=0.0),
        "no_threshold": detector.changed(threshold=-np.inf),
        "code_order_blind_border": detector.changed(order="authors", blind_border=True),
        "code_order_full_field": detector.changed(order="authors", blind_border=False),
    }


def published_variants(detector: Detector) -> dict[str, Detector]:
    """The detectors of a published network: as released, and without the blind border."""
    return {
        "published_weights": detector,
        "published_weights_full_field": detector.changed(blind_border=False),
    }


@dataclass(frozen=True)
class Evaluated:
    """One network on one part: rows of the result table, the main detector's peaks and counts, its
    free-response curve, where on it the detector works (false points per scan, sensitivity), and
    that detector."""

    head: str
    variant: str
    scored: ScoredMaps = field(repr=False)
    peaks: list[Peaks] = field(repr=False)
    counts: Counts = field(repr=False)
    rows: list[dict[str, Any]] = field(repr=False)
    curve: pd.DataFrame = field(repr=False)
    operating: tuple[float, float]
    detector: Detector

    @property
    def name(self) -> str:
        """As figures call it."""
        return f"{method_of(self.head)} ({self.variant})"

    def panels(self, store: Store, each: int = 2) -> list[DetectionPanel]:
        """Slices chosen by rule (`figures_detection.shown_slices`), with their maps."""
        chosen = shown_slices(self.counts, self.scored.rows, each)
        maps = dict(zip(chosen, self.scored[np.array(list(chosen), int)].likelihoods()))
        panels = []
        for place, words in chosen.items():
            row = self.scored.rows.iloc[place]
            hu = store.slice(str(row["scan_id"]), int(row["slice_index"]))
            title = f"{words}, patient {row['patient_id']}"
            panels.append(
                DetectionPanel(
                    hu,
                    maps[place],
                    self.scored.boxes[place],
                    self.peaks[place],
                    self.scored.side,
                    title,
                )
            )
        return panels


def evaluate_network(
    scored: ScoredMaps,
    detectors: Mapping[str, Detector],
    *,
    head: str,
    dataset: str,
    centroids: float | None = None,
    gate: float | None = 0.5,
    replicates: int = 1000,
    seed: int = 0,
) -> Evaluated:
    """Every detector of `detectors` on one part; the first is the main one and has subtypes, a
    curve and pictures.

    centroids: threshold of the rival without peaks (`tuned_centroids`), scored as variant
    `threshold_centroids`.
    """
    if not detectors:
        raise ParameterError("there is no detector to evaluate")
    main = next(iter(detectors))
    common = {**told(head, main, dataset), "threshold_source": TUNED_ON_BOXES}
    settings: dict[str, Any] = {"replicates": replicates, "seed": seed}
    found = {
        name: scored.peaks(detector)
        for name, detector in tqdm(detectors.items(), "detectors", leave=False)
    }
    if centroids is not None:
        found["threshold_centroids"] = [
            threshold_centroids(likelihood, centroids) for likelihood in scored.likelihoods()
        ]
    rows = [
        row
        for name, peaks in found.items()
        for row in report.detection_rows(
            scored, peaks, {**common, "variant": name}, gate if name == main else None, **settings
        )
    ]
    rows += report.subtype_rows(scored, found[main], {**common, "variant": main}, **settings)
    counts = report.point_counts_of(scored, found[main])
    total, scans = counts.sum(), scored.rows["scan_id"].nunique()
    curve = report.free_response(scored, scored.peaks(detectors[main].changed(threshold=-np.inf)))
    operating = (float(total.fp) / scans, float(total.tp) / float(total.tp + total.fn))
    return Evaluated(
        head, main, scored, found[main], counts, rows, curve, operating, detectors[main]
    )


def tune_and_test(
    tune: ScoredMaps,
    test: ScoredMaps,
    search: Search,
    *,
    head: str,
    variant: str,
    dataset: str,
    gate: float | None = 0.5,
    replicates: int = 1000,
    seed: int = 0,
) -> Evaluated:
    """Tune the detector and its rival without peaks on the boxes of `tune`; score every variant of
    the detector (`variants_of`) on `test`. Raises SplitError where a patient is in both."""
    assert_disjoint(tune.rows, test.rows)
    tuned = tune_detector(tune, search)
    return evaluate_network(
        test,
        variants_of(tuned.detector, variant),
        head=head,
        dataset=dataset,
        centroids=tuned_centroids(tune),
        gate=gate,
        replicates=replicates,
        seed=seed,
    )


def tuned_centroids(scored: ScoredMaps) -> float:
    """The rival's threshold with the largest point F1 on the tuning slices, of a grid over their
    maps' range."""
    maps = list(scored.likelihoods())
    grid = np.quantile(scored.cells.max((1, 2)), np.linspace(0, 0.99, CENTROID_THRESHOLDS))

    def counts(threshold: float) -> Counts:
        return stack_counts(
            [
                point_counts(threshold_centroids(each, threshold).points, boxes)
                for each, boxes in zip(maps, scored.boxes)
            ]
        )

    return best_threshold(counts, np.unique(grid))


def validation_logits(run: TrainingRun, store: Store, rows: pd.DataFrame) -> np.ndarray:
    """The classifier's logits on slices without boxes, (N,)."""
    predictions = evaluation.predict(
        run.model, run.preprocessing, ("any",), store, rows, run.device
    )
    return predictions["logit"].to_numpy(np.float64)


def part_name(dataset: str, boxes_dataset: str) -> str:
    """`dataset` of result rows on slices with boxes: told apart from the validation part where both
    are one data set."""
    return boxes_dataset if boxes_dataset != dataset else f"{boxes_dataset}/test"


def first_scans(store: Store, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """HU of each patient's first scan among `rows`."""
    first = rows.drop_duplicates("patient_id")
    return {str(row.patient_id): store.volume(row.scan_id) for row in first.itertuples()}


def better_than_chance(evaluated: Evaluated, store: Store) -> tuple[float, float]:
    """The share of points that lie in a box, and what share of points placed anywhere in the brains
    of the same
    slices would: the boxes' share of the brain's area, weighted by the points. NaN, which is above
    no minimum, for a detector without points."""
    places = np.array(
        [place for place, found in enumerate(evaluated.peaks) if len(found.points)], int
    )
    if not len(places):
        return float("nan"), float("nan")
    chosen = evaluated.scored[places]
    grid = published_preprocessing(chosen.side)
    brains = read_scored_slices(
        store, chosen.rows, grid, masks=False, boxes=False, progress=False
    ).brain
    hits, areas, weights = [], [], []
    for place, brain, boxes in zip(places, brains, chosen.boxes):
        points = evaluated.peaks[place].points
        hits.append(points_in_boxes(points, boxes).any(1).sum())
        areas.append((fill_boxes(boxes, brain.shape) & brain).sum() / max(int(brain.sum()), 1))
        weights.append(len(points))
    return float(np.sum(hits) / np.sum(weights)), float(np.average(areas, weights=weights))


def head_differences(
    evaluated: Sequence[Evaluated], dataset: str, replicates: int = 2000, seed: int = 0
) -> list[dict[str, Any]]:
    """Pooling minus attention on the same drawn patients, for every measure, as rows
    `<metric>_difference`; none without both."""
    by_head = {each.head: each for each in evaluated}
    if set(by_head) != {"max_pooling", "attention"}:
        return []
    pair = (method_of("max_pooling"), method_of("attention"))
    common = {
        "study": STUDY,
        "dataset": dataset,
        "variant": evaluated[0].variant,
        "class": "any",
        "unit": "slice",
        "subset": "all",
        "threshold_source": TUNED_ON_BOXES,
    }
    rows: list[dict[str, Any]] = []
    for metric in report.MEASURES:
        statistics = {
            method_of(head): report.point_statistic(each.counts, each.scored.rows, metric)
            for head, each in by_head.items()
        }
        rows += difference_rows(
            paired_differences(statistics, [pair], replicates, seed), common, metric, seed
        )
    return rows


def table_1(results: pd.DataFrame) -> pd.DataFrame:
    """PPV, sensitivity and point F1 in percent with their intervals, a row per method and variant,
    as the paper's Table I."""
    columns = {"point_ppv": "PPV [%]", "point_sensitivity": "SE [%]", "point_f1": "point F1 [%]"}
    rows = results[
        results["metric"].isin(columns) & (results["unit"] == "slice") & (results["class"] == "any")
    ]
    rows = rows[~rows["method"].str.contains(" - ")]
    cells = [
        f"{100 * row.value:.1f} [{100 * row.ci_low:.1f}, {100 * row.ci_high:.1f}]"
        for row in rows.itertuples()
    ]
    wide = rows.assign(cell=cells, column=rows["metric"].map(columns)).pivot(
        index=["dataset", "method", "variant"], columns="column", values="cell"
    )
    return wide[list(columns.values())].reset_index().rename_axis(columns=None)


def write_points(path: Path, evaluated: Sequence[Evaluated]) -> pd.DataFrame:
    """Every point of every main detector, on the network's grid: a row per point, as Parquet at
    `path`, and as a table."""
    rows = [
        {
            "dataset": row.dataset,
            "patient_id": row.patient_id,
            "scan_id": row.scan_id,
            "slice_index": int(row.slice_index),
            "method": method_of(each.head),
            "variant": each.variant,
            "row": int(point[0]),
            "column": int(point[1]),
            "height": float(value),
        }
        for each in evaluated
        for row, found in zip(each.scored.rows.itertuples(), each.peaks)
        for point, value in zip(found.points, found.values)
    ]
    names = [
        "dataset",
        "patient_id",
        "scan_id",
        "slice_index",
        "method",
        "variant",
        "row",
        "column",
        "height",
    ]
    points = pd.DataFrame(rows, columns=names)
    write_parquet(path, points)
    return points
