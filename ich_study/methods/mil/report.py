"""Points against boxes: rows of the result table, free-response curves, paired differences (MIL
detector, Table I).

Two rules count. The code's: a box with a point is a hit, a point in no box is false, so PPV mixes
boxes and points (metrics `point_f1`, `point_ppv`, `point_sensitivity`). One to one: each point and
each box is used once (`..._one_to_one`). `..._gated` leaves out the points of slices that the
classifier calls free of hemorrhage, which the paper does not do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.methods.mil.peaks import Peaks
from ich_study.methods.mil.pipeline import MilPipeline, ScoredMaps
from ich_study.methods.mil.points import (
    point_counts,
    point_counts_one_to_one,
    point_f1,
    point_ppv,
    point_sensitivity,
    points_in_boxes,
)
from ich_study.metrics.classification import decision_metrics
from ich_study.metrics.overlap import Counts, stack_counts
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    mean_of_items,
    patient_bootstrap,
    ratio_of_sums,
)
from ich_study.schema import SUBTYPES

RULES: dict[str, Callable[[np.ndarray, np.ndarray], Counts]] = {
    "": point_counts,
    "_one_to_one": point_counts_one_to_one,
}
MEASURES: dict[
    str, tuple[Callable[[Counts], np.ndarray], Callable[[Counts], tuple[np.ndarray, np.ndarray]]]
] = {
    "point_f1": (point_f1, lambda c: (2 * c.tp, 2 * c.tp + c.fp + c.fn)),
    "point_ppv": (point_ppv, lambda c: (c.tp, c.tp + c.fp)),
    "point_sensitivity": (point_sensitivity, lambda c: (c.tp, c.tp + c.fn)),
}
"""Each as a function of counts, and as numerator and denominator to sum."""


def point_counts_of(
    scored: ScoredMaps, peaks: Sequence[Peaks], rule: str = "", kept: np.ndarray | None = None
) -> Counts:
    """Counts of every slice (N,). rule: key of RULES. kept: bool (N,), slices whose points count;
    the others have none."""
    if len(peaks) != len(scored) or not len(scored):
        raise StudyError(
            f"{len(peaks)} lists of points for {len(scored)} slices; expected one per slice, and at"
            " least one slice"
        )
    none = np.empty((0, 2))
    points = [
        found.points if kept is None or kept[place] else none for place, found in enumerate(peaks)
    ]
    return stack_counts([RULES[rule](each, boxes) for each, boxes in zip(points, scored.boxes)])


def classified_positive(logits: np.ndarray, probability: float = 0.5) -> np.ndarray:
    """Slices that the classifier calls hemorrhage, bool (N,): probability of at least this."""
    return 1 / (1 + np.exp(-logits)) >= probability


def point_statistic(
    counts: Counts, rows: pd.DataFrame, metric: str, unit: str = "slice"
) -> PatientStatistic:
    """A measure of MEASURES over patients. unit: `slice` sums all slices, negatives too, before the
    ratio (Table I); `patient` is the mean of the patients' own ratios, those without one left
    out."""
    value, parts = MEASURES[metric]
    patients = rows["patient_id"].astype(str).to_numpy()
    if unit == "slice":
        return ratio_of_sums(patients, *parts(counts))
    if unit != "patient":
        raise StudyError(f"unit={unit!r}; expected 'slice' or 'patient'")
    return mean_of_items(np.unique(patients), value(counts.by_group(patients)))


def detection_rows(
    scored: ScoredMaps,
    peaks: Sequence[Peaks],
    common: Mapping[str, Any],
    gate: float | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of one detector: every measure, rule and unit, with 95 % intervals over patients.

    gate: probability from which the classifier lets points through; None leaves out the gated rows.
    `false_points_per_scan` counts points in no box.
    """
    gates: dict[str, np.ndarray | None] = {
        "": None,
        **({} if gate is None else {"_gated": classified_positive(scored.logits, gate)}),
    }
    rows = []
    for suffix, kept in gates.items():
        for rule in RULES:
            counts = point_counts_of(scored, peaks, rule, kept)
            for unit in ("slice", "patient"):
                rows += [
                    {
                        **common,
                        "unit": unit,
                        "metric": f"{metric}{rule}{suffix}",
                        **patient_bootstrap(
                            point_statistic(counts, scored.rows, metric, unit), replicates, seed
                        ).columns(),
                    }
                    for metric in MEASURES
                ]
        false = point_counts_of(scored, peaks, "", kept).fp
        scans = scored.rows["scan_id"].astype(str).to_numpy()
        first = np.zeros(len(scans))
        first[np.unique(scans, return_index=True)[1]] = 1
        per_scan = ratio_of_sums(scored.rows["patient_id"].to_numpy(), false, first)
        interval = patient_bootstrap(per_scan, replicates, seed)
        rows.append(
            {
                **common,
                "unit": "scan",
                "metric": f"false_points_per_scan{suffix}",
                **interval.columns(),
            }
        )
    return rows


def subtype_rows(
    scored: ScoredMaps,
    peaks: Sequence[Peaks],
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Sensitivity for the boxes of each subtype; NaN for a subtype without boxes, no row where no
    box names a subtype."""
    hits = [
        points_in_boxes(found.points, boxes).any(0) for found, boxes in zip(peaks, scored.boxes)
    ]
    if not any(np.isin(labels, SUBTYPES).any() for labels in scored.labels):
        return []
    rows = []
    for name in SUBTYPES:
        found = np.array(
            [int((hit & (labels == name)).sum()) for hit, labels in zip(hits, scored.labels)]
        )
        there = np.array([int((labels == name).sum()) for labels in scored.labels])
        interval = patient_bootstrap(
            ratio_of_sums(scored.rows["patient_id"].to_numpy(), found, there), replicates, seed
        )
        rows.append(
            {
                **common,
                "class": name,
                "unit": "slice",
                "metric": "point_sensitivity",
                **interval.columns(),
            }
        )
    return rows


def classifier_rows(
    index_rows: pd.DataFrame,
    logits: np.ndarray,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Accuracy at probability 0.5 and AUROC of the slice classifier, on the rows whose label is
    known.

    logits: (N,), one per row. Raises StudyError where no label is known, or all are of one kind.
    """
    labels = index_rows["any"].astype("boolean")
    known = labels.notna().to_numpy()
    truth, logits = labels[known].to_numpy(bool), np.asarray(logits)[known]
    if not known.any() or truth.all() or not truth.any():
        raise StudyError(
            f"{int(truth.sum())} positive slices of {len(truth)} with a known label; a classifier"
            " needs both kinds"
        )
    patients = index_rows["patient_id"].to_numpy()[known]
    called = classified_positive(logits)
    decided = decision_metrics(truth, called)
    statistics = {
        "accuracy": ratio_of_sums(patients, truth == called, np.ones(len(truth))),
        "auroc": auroc_of_items(patients, truth, logits),
    }
    told = {**common, "threshold_source": "none", "unit": "slice"}
    rows = [
        {**told, "metric": metric, **patient_bootstrap(statistic, replicates, seed).columns()}
        for metric, statistic in statistics.items()
    ]
    if not np.isclose(decided["accuracy"], rows[0]["value"]):
        raise StudyError("accuracy by patients differs from accuracy by slices")
    return rows


def free_response(scored: ScoredMaps, peaks: Sequence[Peaks]) -> pd.DataFrame:
    """Free-response curve: `threshold, false_points_per_scan, sensitivity`, a row per distinct
    height, thresholds falling.

    peaks: of a detector with a threshold of -inf. A detector with a higher threshold finds the
    highest of these and no others, so that one run gives the whole curve. The first row is the
    origin. Raises StudyError where no slice has a box.
    """
    boxes, false = [], []
    for found, truth in zip(peaks, scored.boxes):
        inside = points_in_boxes(found.points, truth)
        heights = np.where(inside, np.asarray(found.values, np.float64)[:, None], -np.inf)
        boxes.append(heights.max(0, initial=-np.inf))
        false.append(np.asarray(found.values, np.float64)[~inside.any(1)])
    reached, missed = np.sort(np.concatenate(boxes)), np.sort(np.concatenate(false))
    if not len(reached):
        raise StudyError(
            f"none of {len(scored)} slices has a box; a free-response curve needs boxes"
        )
    heights = np.unique(np.concatenate([reached[np.isfinite(reached)], missed]))[::-1]
    scans = scored.rows["scan_id"].nunique()
    curve = pd.DataFrame(
        {
            "threshold": heights,
            "false_points_per_scan": (len(missed) - np.searchsorted(missed, heights)) / scans,
            "sensitivity": (len(reached) - np.searchsorted(reached, heights)) / len(reached),
        }
    )
    origin = pd.DataFrame(
        {"threshold": [np.inf], "false_points_per_scan": [0.0], "sensitivity": [0.0]}
    )
    return pd.concat([origin, curve], ignore_index=True)


def time_rows(
    pipeline: MilPipeline,
    volumes: Mapping[str, np.ndarray],
    common: Mapping[str, Any],
    slices: int = 8,
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Milliseconds per slice from HU to points, on the machine that runs this: mean over patients
    of `slices` slices each.

    volumes: patient -> int16 HU (slices, rows, columns). The first patient is run twice, the first
    time not counted.
    """
    per_slice = []
    for place, hu in enumerate([next(iter(volumes.values())), *volumes.values()]):
        part = np.array(hu[:slices])
        started = time.perf_counter()
        pipeline(part)
        per_slice += [(time.perf_counter() - started) / len(part) * 1000] if place else []
    interval = patient_bootstrap(
        mean_of_items(list(volumes), np.array(per_slice)), replicates, seed
    )
    return [
        {
            **common,
            "threshold_source": "none",
            "unit": "slice",
            "metric": "milliseconds",
            **interval.columns(),
        }
    ]
