"""From counts per slice to rows of the result table, with intervals over patients, and to paired
comparisons.

Every study that scores masks goes through here, so that "Dice per pixel" means the same in all
tables: `pixel` sums counts over all slices (global micro), `slice` is the mean over slices with
truth, `scan` the mean over scans with truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.metrics import overlap
from ich_study.metrics.overlap import Counts
from ich_study.metrics.significance import holm
from ich_study.metrics.statistics import (
    PatientStatistic,
    mean_of_items,
    paired_bootstrap,
    patient_bootstrap,
    ratio_of_sums,
    two_sided_p,
)

METRICS: tuple[str, ...] = ("dice", "iou", "sensitivity", "precision")
UNITS: tuple[str, ...] = ("pixel", "slice", "scan")
DIFFERENCE_COLUMNS = (
    "first",
    "second",
    "difference",
    "ci_low",
    "ci_high",
    "p",
    "p_holm",
    "patients",
)
_RATIOS = {
    "dice": lambda c: (2 * c.tp, 2 * c.tp + c.fp + c.fn),
    "iou": lambda c: (c.tp, c.tp + c.fp + c.fn),
    "sensitivity": lambda c: (c.tp, c.tp + c.fn),
    "precision": lambda c: (c.tp, c.tp + c.fp),
}


def statistic_of(counts: Counts, rows: pd.DataFrame, unit: str, metric: str) -> PatientStatistic:
    """One overlap measure as a statistic over patients.

    counts: (slices,). rows: a row per slice with `patient_id` and `scan_id`. unit, metric: of UNITS
    and METRICS. Means leave out slices and scans without truth; under `pixel` every slice counts. A
    patient without slices that count stays among the drawn ones.
    """
    if metric not in METRICS or unit not in UNITS:
        raise StudyError(
            f"metric {metric!r}, unit {unit!r}; expected one of {METRICS} and of {UNITS}"
        )
    if np.shape(counts.tp) != (len(rows),) or not len(rows):
        raise StudyError(
            f"counts of shape {np.shape(counts.tp)} for {len(rows)} slices; expected one item per"
            " slice, and at least one"
        )
    patients = rows["patient_id"].to_numpy()
    if unit == "pixel":
        return ratio_of_sums(patients, *_RATIOS[metric](counts))
    if unit == "scan":
        scans = rows["scan_id"].astype(str).to_numpy()
        first = np.unique(scans, return_index=True)[1]
        counts, patients = counts.by_group(scans), patients[first]
    value = getattr(overlap, metric)(counts)
    return mean_of_items(patients, np.where(counts.tp + counts.fn > 0, value, np.nan))


def overlap_rows(
    counts: Counts,
    rows: pd.DataFrame,
    common: Mapping[str, Any],
    units: Sequence[str] = UNITS,
    metrics: Sequence[str] = METRICS,
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of the result table for one method and class: every unit and metric with its 95 %
    interval.

    `common` holds the columns that name the method; `n` is the number of patients.
    """
    return [
        {
            **common,
            "unit": unit,
            "metric": metric,
            **patient_bootstrap(statistic, replicates, seed).columns(),
        }
        for unit in units
        for metric in metrics
        for statistic in [statistic_of(counts, rows, unit, metric)]
    ]


def mean_rows(
    values: np.ndarray,
    rows: pd.DataFrame,
    metric: str,
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row: the mean of per-slice values, NaN left out, with its interval over patients."""
    statistic = mean_of_items(rows["patient_id"].to_numpy(), values)
    return [
        {**common, "metric": metric, **patient_bootstrap(statistic, replicates, seed).columns()}
    ]


def paired_differences(
    statistics: Mapping[str, PatientStatistic],
    pairs: Sequence[tuple[str, str]],
    replicates: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """`first` minus `second` on the same drawn patients, for every pair, with DIFFERENCE_COLUMNS.

    Interval: 95 %. `p` is two-sided from those replicates, `p_holm` corrected over the pairs.
    Raises StudyError for a name without statistic or statistics of different patients.
    """
    unknown = sorted({name for pair in pairs for name in pair} - set(statistics))
    if unknown:
        raise StudyError(f"no measure of {unknown}; there are {sorted(statistics)}")
    rows = []
    for first, second in pairs:
        both = statistics[first], statistics[second]
        interval = paired_bootstrap(*both, replicates, seed)
        rows.append(
            (
                first,
                second,
                interval.value,
                interval.low,
                interval.high,
                two_sided_p(*both, replicates, seed),
                interval.n_patients,
            )
        )
    table = pd.DataFrame(rows, columns=[name for name in DIFFERENCE_COLUMNS if name != "p_holm"])
    return table.assign(p_holm=holm(table["p"].to_numpy()) if len(table) else [])[
        list(DIFFERENCE_COLUMNS)
    ]


def difference_rows(
    differences: pd.DataFrame, common: Mapping[str, Any], metric: str, seed: int = 0
) -> list[dict[str, Any]]:
    """`paired_differences` as rows of the result table, method `first - second`, metric
    `<metric>_difference`."""
    return [
        {
            **common,
            "method": f"{row.first} - {row.second}",
            "metric": f"{metric}_difference",
            "value": row.difference,
            "ci_low": row.ci_low,
            "ci_high": row.ci_high,
            "n": row.patients,
            "seed": seed,
        }
        for row in differences.itertuples()
    ]
