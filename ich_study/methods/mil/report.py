"""Points against boxes: rows of the result table and free-response curves (MIL detector, Table I).

Two rules count. The code's: a box with a point is a hit, a point in no box is false, so PPV mixes
boxes and points (metrics `point_f1`, `point_ppv`, `point_sensitivity`). One to one: each point and
each box is used once (`..._one_to_one`). `..._gated` leaves out the points of slices that the
classifier calls free of hemorrhage, which the paper does not do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Row, Rows, statistic_of
from ich_study.evaluate.slice_position import position_predictions, position_rows
from ich_study.evaluate.slice_predictions import decided
from ich_study.methods.mil.network import ReadyNetwork
from ich_study.methods.mil.peaks import Detector, Peaks
from ich_study.methods.mil.pipeline import ScoredMaps, locate
from ich_study.metrics.free_response import scored_boxes
from ich_study.metrics.overlap import RATIOS, Counts, dice
from ich_study.metrics.points import RULES, points_in_boxes, slice_counts
from ich_study.metrics.ratio import ratio
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    mean_of_items,
    ratio_of_sums,
)
from ich_study.schema import SUBTYPES
from ich_study.store import Store

MEASURES = {"point_f1": "dice", "point_ppv": "precision", "point_sensitivity": "sensitivity"}
"""Measures of points, and the measure of pixels that is the same ratio of counts."""


def point_counts_of(
    scored: ScoredMaps, peaks: Sequence[Peaks], rule: str = "", kept: np.ndarray | None = None
) -> Counts:
    """Counts of every slice (N,), by a rule of RULES. kept: bool (N,), slices whose points count;
    the others have none."""
    points = [found.points for found in peaks]
    if kept is not None:
        points = [each if keep else each[:0] for each, keep in zip(points, kept)]
    return slice_counts(points, scored.boxes, rule)


def point_statistic(
    counts: Counts, rows: pd.DataFrame, metric: str, unit: str = "slice"
) -> PatientStatistic:
    """A measure of MEASURES over patients. unit: `slice` sums all slices, negatives too, before the
    ratio (Table I); `patient` is the mean of the patients' own ratios, those without one left
    out. Neither has a value where no drawn patient has a box."""
    if unit == "slice":
        return statistic_of(counts, rows, "pixel", MEASURES[metric])
    patients = rows["patient_id"].to_numpy()
    of_patient = counts.by_group(patients)
    # F1 has no value where there is no box; precision has one, of its false points
    own = dice(of_patient) if metric == "point_f1" else ratio(*RATIOS[MEASURES[metric]](of_patient))
    return mean_of_items(np.unique(patients), own, of_patient.present)


def point_rows(
    scored: ScoredMaps,
    peaks: Sequence[Peaks],
    table: Rows,
    gate: float | None = None,
    **columns: Any,
) -> list[Row]:
    """Rows of one detector: every measure, rule and unit, with 95 % intervals over patients.

    gate: probability from which the classifier lets points through; None leaves out the gated rows.
    `false_points_per_scan` counts points in no box.
    """
    gates: dict[str, np.ndarray | None] = {"": None}
    if gate is not None:
        gates["_gated"] = decided(scored.logits, gate)
    patients, scans = (scored.rows[name].to_numpy() for name in ("patient_id", "scan_id"))
    first_of_scan = ~pd.Series(scans).duplicated().to_numpy()
    rows = []
    for suffix, kept in gates.items():
        for rule in RULES:
            counts = point_counts_of(scored, peaks, rule, kept)
            for unit in ("slice", "patient"):
                for metric in MEASURES:
                    statistic = point_statistic(counts, scored.rows, metric, unit)
                    name = f"{metric}{rule}{suffix}"
                    rows.append(table.statistic(statistic, name, unit=unit, **columns))
        false = point_counts_of(scored, peaks, "", kept).fp
        per_scan = ratio_of_sums(patients, false, first_of_scan, share=False)
        name = f"false_points_per_scan{suffix}"
        rows.append(table.statistic(per_scan, name, unit="scan", **columns))
    return rows


def subtype_rows(
    scored: ScoredMaps, peaks: Sequence[Peaks], table: Rows, **columns: Any
) -> list[Row]:
    """Sensitivity for the boxes of each subtype; NaN for a subtype without boxes, no row where no
    box names a subtype."""
    if not np.isin(np.concatenate(scored.labels), SUBTYPES).any():
        return []
    hits = []
    for found, boxes in zip(peaks, scored.boxes):
        hits.append(points_in_boxes(found.points, boxes).any(0))
    rows = []
    for name in SUBTYPES:
        of_name = [labels == name for labels in scored.labels]
        reached = np.array([(hit & named).sum() for hit, named in zip(hits, of_name)])
        there = np.array([named.sum() for named in of_name])
        statistic = ratio_of_sums(scored.rows["patient_id"].to_numpy(), reached, there)
        named = {**columns, "class_name": name, "unit": "slice"}
        rows.append(table.statistic(statistic, "point_sensitivity", **named))
    return rows


def classifier_rows(
    scored: ScoredMaps, training: pd.DataFrame, table: Rows, **columns: Any
) -> list[Row]:
    """Accuracy at probability 0.5 and AUROC of the slice classifier, on the slices whose label is
    known, and the rival that sees a slice's height alone (`evaluate.slice_position`).

    training: slices that the rival learns from. Raises StudyError where no label is known, or all
    are of one kind.
    """
    labels = scored.rows["any"].astype("boolean")
    known = labels.notna().to_numpy()
    truth, logits = labels[known].to_numpy(bool), scored.logits[known]
    if not known.any() or truth.all() or not truth.any():
        raise StudyError(
            f"{int(truth.sum())} positive slices of {len(truth)} with a known label; a classifier"
            " needs both kinds"
        )
    patients = scored.rows["patient_id"].to_numpy()[known]
    statistics = {
        "accuracy": mean_of_items(patients, truth == decided(logits, 0.5)),
        "auroc": auroc_of_items(patients, truth, logits),
    }
    columns = {**columns, "threshold_source": "none", "unit": "slice"}
    rows = [table.statistic(each, metric, **columns) for metric, each in statistics.items()]
    rival = position_predictions(training, scored.rows, ("any",))
    own = rival.drop(columns="position").assign(logit=scored.logits)
    return rows + position_rows(own, rival, table, columns["method"], columns["variant"])


def free_response(scored: ScoredMaps, peaks: Sequence[Peaks]) -> pd.DataFrame:
    """Free-response curve: `threshold, false_points_per_scan, sensitivity`, a row per distinct
    height, thresholds falling.

    peaks: of a detector with a threshold of -inf. A detector with a higher threshold finds the
    highest of these and no others, so that one run gives the whole curve. The first row is the
    origin. Raises StudyError where no slice has a box.
    """
    points = [np.column_stack([found.points, found.values]) for found in peaks]
    boxes, false = scored_boxes(points, scored.boxes)
    # the height at which each box is reached first, and that of each false point
    reached, missed = np.sort(np.concatenate(boxes)), np.sort(np.concatenate(false))
    if not len(reached):
        raise StudyError(
            f"none of {len(scored)} slices has a box; a free-response curve needs boxes"
        )
    heights = np.unique(np.concatenate([reached[np.isfinite(reached)], missed]))[::-1]
    scans = scored.rows["scan_id"].nunique()
    false_per_scan = (len(missed) - np.searchsorted(missed, heights)) / scans
    sensitivity = (len(reached) - np.searchsorted(reached, heights)) / len(reached)
    return pd.DataFrame(
        {
            "threshold": [np.inf, *heights],
            "false_points_per_scan": [0.0, *false_per_scan],
            "sensitivity": [0.0, *sensitivity],
        }
    )


def time_row(
    ready: ReadyNetwork,
    detector: Detector,
    store: Store,
    index_rows: pd.DataFrame,
    table: Rows,
    slices: int = 8,
    **columns: Any,
) -> Row:
    """Milliseconds per slice from HU to points, on the machine that runs this: mean over patients
    of the first `slices` slices of each one's first scan.

    The first patient is run twice, the first time not counted.
    """
    first = index_rows.drop_duplicates("patient_id")
    volumes = [np.array(store.volume(scan_id)[:slices]) for scan_id in first["scan_id"]]
    fast = ready.folded()
    locate(fast, detector, volumes[0])
    per_slice = []
    for hu in volumes:
        started = time.perf_counter()
        locate(fast, detector, hu)
        per_slice.append((time.perf_counter() - started) / len(hu) * 1000)
    statistic = mean_of_items(first["patient_id"], np.array(per_slice), share=False)
    columns = {**columns, "threshold_source": "none", "unit": "slice"}
    return table.statistic(statistic, "milliseconds", **columns)
