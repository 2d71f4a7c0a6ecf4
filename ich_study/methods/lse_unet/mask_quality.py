"""Label maps to rows of the result table: every class of LSE-UNet's Tables 2, 3 and 5 to 7, and
their mean.

Classes are the background ("normal"), the subtypes, and `average`: the mean of the Dice over all
pixels of the classes with truth, background included, as in the paper's AVG (published identities).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.localisation_report import overlap_rows, statistic_of
from ich_study.methods.lse_unet.joint_thresholds import BACKGROUND
from ich_study.metrics.overlap import Counts, label_counts
from ich_study.metrics.statistics import PatientStatistic, mean_of_statistics, patient_bootstrap
from ich_study.schema import SUBTYPES

AVERAGE = "average"


def label_map_counts(
    labels: np.ndarray, truth: np.ndarray, classes: Sequence[str] = SUBTYPES
) -> Counts:
    """Pixel counts of label maps per slice, int64 (slices, 1 + classes), background first.

    labels, truth: integer (slices, rows, columns), 0..classes. Raises StudyError on other codes.
    """
    return label_counts(labels, truth, len(classes) + 1)


def average_statistic(
    counts: Counts,
    rows: pd.DataFrame,
    unit: str,
    metric: str = "dice",
    background: bool = True,
) -> PatientStatistic:
    """Mean over the classes with truth of one measure, as a statistic over patients.

    counts: (slices, 1 + classes), background first. background: whether it counts as a class, as in
    the paper. Raises StudyError where no class has truth.
    """
    known = [
        place for place in np.flatnonzero((counts.tp + counts.fn).sum(0)) if place or background
    ]
    return mean_of_statistics(
        [statistic_of(counts[:, place], rows, unit, metric) for place in known]
    )


def label_map_rows(
    counts: Counts,
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    classes: Sequence[str] = SUBTYPES,
    units: Sequence[str] = ("pixel", "scan"),
    metrics: Sequence[str] = ("dice", "sensitivity", "precision"),
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Result rows of one method's label maps: classes `normal`, the subtypes with truth, and Dice
    of their `average`.

    counts: per slice from `label_map_counts`. rows: a row per slice with `patient_id` and
    `scan_id`.
    common: the other columns. A subtype without truth gives no rows. Raises StudyError where the
    counts are of other classes or slices.
    """
    if np.shape(counts.tp) != (len(rows), len(classes) + 1):
        raise StudyError(
            f"counts of shape {np.shape(counts.tp)} for {len(rows)} slices, expected background and"
            f" {list(classes)}"
        )
    table: list[dict[str, Any]] = []
    truth = (counts.tp + counts.fn).sum(0)
    for place, name in enumerate((BACKGROUND, *classes)):
        if truth[place]:
            table += overlap_rows(
                counts[:, place], rows, {**common, "class": name}, units, metrics, replicates, seed
            )
    for unit in units:
        interval = patient_bootstrap(average_statistic(counts, rows, unit), replicates, seed)
        table.append(
            {**common, "class": AVERAGE, "unit": unit, "metric": "dice", **interval.columns()}
        )
    return table
