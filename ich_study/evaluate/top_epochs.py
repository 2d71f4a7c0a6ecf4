"""F1 of a run's five best epochs, "F1 (Top-5)" of the CAM benchmark's Table I, with its patients.

It scores the part on which the epochs were compared, as the paper's reading implies
(printed_and_authors, 001.3). Intervals draw patients and take the choice of the epochs as given.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ich_study.evaluate.rows import OF_SLICES, Row, Rows
from ich_study.metrics.classification import best_epochs
from ich_study.metrics.statistics import (
    PatientStatistic,
    mean_of_statistics,
    paired_bootstrap,
    ratio_of_sums,
)

TOP_EPOCHS_FILE = "top_epochs.parquet"
COUNTS = ("tp", "fp", "fn")


def top_epochs(
    history: pd.DataFrame, decided: np.ndarray, rows: pd.DataFrame, name: str
) -> pd.DataFrame:
    """Counts of slices by patient in each of the five best epochs: `epoch, patient_id, tp, fp, fn`.

    history: its `f1`. decided: bool (epochs, slices), which slices were called in validation. rows:
    of the index, in the same order, of which the first were validated. Slices whose label `name` is
    unknown do not count.
    """
    seen = rows.iloc[: decided.shape[1]]
    labels = seen[name].to_numpy(np.float64, na_value=np.nan)
    known = ~np.isnan(labels)
    patients, truth = seen["patient_id"].to_numpy()[known], labels[known] == 1
    tables = []
    for epoch in best_epochs(history["f1"].to_numpy()):
        called = decided[epoch][known]
        counts = {"tp": called & truth, "fp": called & ~truth, "fn": ~called & truth}
        of_slices = pd.DataFrame({"epoch": int(epoch), "patient_id": patients, **counts})
        tables.append(of_slices.groupby(["epoch", "patient_id"], as_index=False).sum())
    if not tables:
        return pd.DataFrame(columns=["epoch", "patient_id", *COUNTS])
    return pd.concat(tables, ignore_index=True)


def top_epochs_statistic(table: pd.DataFrame) -> PatientStatistic:
    """The mean of the F1 of the epochs of `top_epochs`, over patients."""
    members = []
    for _, epoch in table.groupby("epoch"):
        tp, fp, fn = (epoch[name].to_numpy() for name in COUNTS)
        members.append(ratio_of_sums(epoch["patient_id"], 2 * tp, 2 * tp + fp + fn, tp + fn > 0))
    return mean_of_statistics(members)


def top_epochs_rows(
    history: pd.DataFrame,
    table: pd.DataFrame,
    rows: Rows,
    method: str,
    name: str,
    variant: str = "printed",
) -> list[Row]:
    """`f1_top5` with its interval, and `f1_top5_sd`, the deviation of the epochs, whose `n` is
    their number. table: of `top_epochs`, of class `name`."""
    named = {**OF_SLICES, "method": method, "variant": variant, "class_name": name}
    f1 = history["f1"].to_numpy(np.float64)
    best = f1[best_epochs(f1)]
    deviation = float(best.std(ddof=1)) if len(best) > 1 else float("nan")
    mean = (
        rows.statistic(top_epochs_statistic(table), "f1_top5", **named)
        if len(best)
        else rows.number(float("nan"), "f1_top5", 0, **named)
    )
    return [mean, rows.number(deviation, "f1_top5_sd", len(best), **named)]


def gain_rows(
    results: pd.DataFrame,
    reference: str,
    epochs: Mapping[str, pd.DataFrame],
    replicates: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every method's `f1_top5` minus that of the method `reference` of the same study, data set,
    class and seed, as rows `f1_top5_gain`.

    epochs: `top_epochs` of runs, by method. The interval draws the same patients for both; it is
    missing where one of the two is not there, or they validated on different patients.
    """
    own = results[results["metric"] == "f1_top5"]
    keys = ["study", "dataset", "class", "seed"]
    base = own[own["method"] == reference].drop_duplicates(keys).set_index(keys)["value"]
    others = own[own["method"] != reference]
    against = base.reindex(pd.MultiIndex.from_frame(others[keys])).to_numpy()
    gains = others.assign(metric="f1_top5_gain", value=others["value"] - against)
    gains = gains.dropna(subset=["value"]).reset_index(drop=True)
    columns = ["ci_low", "ci_high", "interval"]
    gains[columns] = None
    for index, method in gains["method"].items():
        pair = paired_statistics(epochs, method, reference)
        if pair is not None:
            found = paired_bootstrap(*pair, replicates, seed)
            gains.loc[index, columns] = found.low, found.high, found.kind
    return gains.astype({"ci_low": "float64", "ci_high": "float64"})


def paired_statistics(
    epochs: Mapping[str, pd.DataFrame], first: str, second: str
) -> tuple[PatientStatistic, PatientStatistic] | None:
    """Both methods' measures, or None where they do not stand on the same patients."""
    if not {first, second} <= set(epochs):
        return None
    pair = top_epochs_statistic(epochs[first]), top_epochs_statistic(epochs[second])
    return pair if np.array_equal(pair[0].patients, pair[1].patients) else None
