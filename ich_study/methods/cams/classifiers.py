"""The classification side of the CAM benchmark, from finished runs of 01_backbones: Table I,
Figures 2 and 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study import paths
from ich_study.errors import DataError
from ich_study.evaluate.results import METRICS_FILE
from ich_study.evaluate.thresholds import FIXED_THRESHOLDS
from ich_study.manifest import check_run
from ich_study.metrics.classification import f1_of_all_called, prevalence

TABLE_COLUMNS = (
    "method",
    "f1_top5",
    "f1_top5_sd",
    "difference",
    "average_precision",
    "ap_low",
    "ap_high",
    *(f"f1@{t:g}" for t in FIXED_THRESHOLDS),
)


def read_runs(folders: Sequence[str | Path], name: str) -> pd.DataFrame:
    """One table (`metrics.csv`, `pr.csv`) of several runs with the column `run`; DataError names
    runs without it."""
    folders = [paths.resolve(folder) for folder in folders]
    for folder in folders:
        check_run(folder)
    missing = [str(folder) for folder in folders if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"no {name} in {', '.join(missing)}; run 01_backbones for these arms first, or leave"
            " them out of classifier_runs"
        )
    return pd.concat(
        [pd.read_csv(folder / name).assign(run=folder.name) for folder in folders],
        ignore_index=True,
    )


def table_one(
    folders: Sequence[str | Path], part: str, baseline: str | None, class_name: str = "any"
) -> pd.DataFrame:
    """Table I with what it lacks, a row per run, TABLE_COLUMNS.

    `f1_top5` is the mean of the five best epochs on the part that compared the epochs, as printed;
    `difference` is against `baseline`; average precision and F1 are of `part`, held-out patients.
    """
    metrics = read_runs(folders, METRICS_FILE)
    metrics = metrics[metrics["class"] == class_name].set_index("metric")
    rows = []
    for run, own in metrics.groupby("run", sort=False):
        held_out = own[own["dataset"] == part]
        if "average_precision" not in held_out.index:
            raise DataError(
                f"run {run} has no average precision of {class_name!r} on {part}; it scored"
                f" {sorted(set(own['dataset']))}"
            )
        precision = held_out.loc["average_precision", ["value", "ci_low", "ci_high"]]
        f1 = [held_out.loc[f"f1@{threshold:g}", "value"] for threshold in FIXED_THRESHOLDS]
        top = own.loc[["f1_top5", "f1_top5_sd"], "value"]
        rows.append((run, *top, np.nan, *precision, *f1))
    table = pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
    reference = table.loc[table["method"] == baseline, "f1_top5"]
    if len(reference):
        table["difference"] = table["f1_top5"] - reference.item()
    return table


def figure_three_curves(folders: Sequence[str | Path], part: str, class_name: str) -> pd.DataFrame:
    """Precision-recall curves of the runs on `part`: `run, sensitivity, precision, threshold`
    (Figure 3 marks 0.3 to 0.7)."""
    curves = read_runs(folders, "pr.csv")
    chosen = curves[(curves["dataset"] == part) & (curves["class"] == class_name)]
    if chosen.empty:
        raise DataError(
            f"no precision-recall curve of {class_name!r} on {part}; there are"
            f" {sorted(set(curves['dataset']))}"
        )
    return chosen[["run", "sensitivity", "precision", "threshold"]].reset_index(drop=True)


def all_called(folders: Sequence[str | Path], part: str, class_name: str) -> float | None:
    """F1 of calling every slice of the validation patients of the data set of `part`, on whom
    `f1_top5` is measured; None where the runs have no curve of them."""
    curves = read_runs(folders, "pr.csv")
    own = curves["dataset"] == f"{part.partition('/')[0]}/validation"
    own &= curves["class"] == class_name
    return f1_of_all_called(prevalence(curves[own])) if own.any() else None
