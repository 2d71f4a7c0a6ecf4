"""Volumes of hemorrhage in mL from label maps, against truth: per scan and subtype, with
Bland-Altman's figures.

"Quantization" in LSE-UNet's title: its purpose is the volume per subtype in a report, which the
paper never scores. Agreement is judged by bias and limits of agreement (Bland and Altman 1986),
with intervals over patients, because scans of one patient resemble each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Row, Rows
from ich_study.metrics.overlap import Counts
from ich_study.metrics.statistics import PatientStatistic
from ich_study.metrics.volume import positive_ml
from ich_study.schema import SUBTYPES

ALL_SUBTYPES = "any"
VOLUME_COLUMNS = ("scan_id", "patient_id", "class", "predicted_ml", "truth_ml")
AGREEMENT_METRICS = (
    "volume_bias_ml",
    "volume_lower_limit_ml",
    "volume_upper_limit_ml",
    "volume_mean_absolute_ml",
)
"""Bland-Altman's figures and the mean absolute difference, of differences predicted - truth."""


def volume_table(
    counts: Counts, rows: pd.DataFrame, pixel_ml: np.ndarray, classes: Sequence[str] = SUBTYPES
) -> pd.DataFrame:
    """Predicted and true volume of every scan and class: `scan_id, patient_id, class, predicted_ml,
    truth_ml`.

    counts: pixels per slice, (slices, 1 + classes), background first; or per slices of one depth.
    rows: a row for each with `scan_id` and `patient_id`, holding all of a scan. pixel_ml:
    (slices,), mL that a pixel of the counted grid stands for; NaN (unknown spacing) gives NaN
    volumes. Class `any` is the sum over subtypes, where it is not itself what was counted. Raises
    StudyError where a pixel's volume is not positive.
    """
    pixel_ml = positive_ml(pixel_ml)
    keys, parts = rows[["scan_id", "patient_id"]].astype(str).reset_index(drop=True), []
    for place, name in enumerate(classes, start=1):
        predicted = (counts.tp + counts.fp)[:, place] * pixel_ml
        truth = (counts.tp + counts.fn)[:, place] * pixel_ml
        parts.append(keys.assign(**{"class": name, "predicted_ml": predicted, "truth_ml": truth}))
    table = pd.concat(parts, ignore_index=True)
    if ALL_SUBTYPES not in classes:
        table = pd.concat([table, table.assign(**{"class": ALL_SUBTYPES})])
    order = pd.Categorical(table["class"], list(dict.fromkeys([*classes, ALL_SUBTYPES])))
    # An unknown slice makes the scan's volume unknown, not smaller.
    sums = (
        table.groupby([order, "class", "scan_id", "patient_id"], observed=True)
        .agg(lambda part: part.sum(skipna=False))
        .reset_index()
    )
    return sums[list(VOLUME_COLUMNS)]


def scans_of(volumes: pd.DataFrame, class_name: str, subset: str) -> pd.DataFrame:
    """The scans of one class with known volumes; subset `positive` are those with the class in
    truth, `all` every one."""
    part = volumes[
        (volumes["class"] == class_name) & volumes[["predicted_ml", "truth_ml"]].notna().all(axis=1)
    ]
    return part if subset == "all" else part[part["truth_ml"] > 0]


def agreement_statistic(volumes: pd.DataFrame, metric: str) -> PatientStatistic:
    """One of AGREEMENT_METRICS as a statistic over patients, of the scans in `volumes`.

    The spread is the standard deviation of the differences with n - 1; no value under two scans.
    Raises StudyError for no scans.
    """
    if volumes.empty:
        raise StudyError(f"{metric} needs at least one scan")
    difference = (volumes["predicted_ml"] - volumes["truth_ml"]).to_numpy(np.float64)
    names, member = np.unique(volumes["patient_id"].astype(str), return_inverse=True)
    centre = difference.mean()
    parts = (
        np.ones_like(difference),
        difference - centre,
        (difference - centre) ** 2,
        np.abs(difference),
    )
    moments = np.stack([np.bincount(member, part, len(names)) for part in parts], 1)

    def evaluate(weights: np.ndarray) -> np.ndarray:
        scans, total, squares, absolute = (weights @ moments).T
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.where(scans > 1, (squares - total**2 / scans) / (scans - 1), np.nan)
            mean, spread = centre + total / scans, 1.96 * np.sqrt(np.maximum(variance, 0))
            figures = mean, mean - spread, mean + spread, absolute / scans
        return figures[AGREEMENT_METRICS.index(metric)]

    return PatientStatistic(names, evaluate)


def agreement_rows(
    volumes: pd.DataFrame, rows: Rows, subsets: Sequence[str] = ("all", "positive"), **columns: Any
) -> list[Row]:
    """Result rows of `volume_table`: AGREEMENT_METRICS per class and subset, unit `scan`, with 95 %
    intervals over patients.

    `all` counts scans where both volumes are 0, which narrows the limits; `positive` has only scans
    with the class in truth. A class without scans in a subset gives no rows.
    """
    found = []
    for name in dict.fromkeys(volumes["class"]):
        for subset in subsets:
            part = scans_of(volumes, name, subset)
            named = {**columns, "class_name": name, "unit": "scan", "subset": subset}
            for metric in AGREEMENT_METRICS if len(part) else ():
                found.append(rows.statistic(agreement_statistic(part, metric), metric, **named))
    return found
