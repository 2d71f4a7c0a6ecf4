"""Numbers of the finished `smoke` study that any machine must find again, and how nearly.

Networks trained on another processor differ in their last bits, after some epochs in whole slices,
so no sum of a table holds everywhere. What holds is committed as rounded numbers:

* headline rows of the result tables, of at least PATIENTS patients, within LEARNED. Of the
  headlines that figures/phantom/seeds.csv repeats from three seeds none moved by more than 0.213,
  and another processor is taken to change less than another seed. A difference of at least CLEAR
  keeps its sign, too, and no share falls below 0.
* the same rows of what no network decides, the trivial rivals and `slice_position`, within FIXED:
  of some 80 slices four may change sides at a rounding.
* sums of the tables of 00_data by data set, within one or SUMMED of them: a phantom's voxels may
  round to the next HU, and with them a lesion lose a slice. With AVX2 in place of AVX-512 the HU
  did, and no sum moved in its four digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from ich_study.evaluate import slice_position
from ich_study.evaluate.rivals import RIVALS
from ich_study.schema import RESULT_COLUMNS

LEARNED, FIXED, CLEAR, SUMMED = 0.25, 0.05, 0.15, 0.05
PATIENTS = 5
UNTAUGHT = frozenset({*RIVALS, slice_position.METHOD})
CHOSEN_DEPTH = "pointing_at_chosen_depth"
"""Its row names the layer that was chosen, which a processor may decide."""
METRICS = frozenset(
    {
        *("auroc", "pointing_game", CHOSEN_DEPTH, "point_f1", "f1_top5", "dice"),
        *("auroc_difference", "pointing_game_difference", f"{CHOSEN_DEPTH}_difference"),
    }
)
NAMED = ("dataset", "method", "variant", "class", "unit", "subset", "threshold_source", "metric")
DATA = "00_data/"
SOURCES = frozenset({"none", "labels", "masks-validation"})
"""Of a headline's threshold: those that saw no mask they are scored by."""
Headlines = dict[str, float]
"""Rounded numbers of a table, by what they are."""


def headlines_of(name: str, table: pd.DataFrame) -> Headlines:
    """Of one table; none where it has none.

    name: its path in the folder of runs. table: cells as text, as `compare_runs.read_table` has it.
    """
    if tuple(table.columns) == RESULT_COLUMNS:
        return _result_rows(table)
    if name.startswith(DATA) and name.count("/") == 1 and "dataset" in table:
        return _sums(table)
    return {}


def _result_rows(table: pd.DataFrame) -> Headlines:
    wanted = (
        table["metric"].isin(METRICS)
        & table["class"].isin(["any", "pooled_subtypes"])
        & ((table["layer"] == "") | table["metric"].str.startswith(CHOSEN_DEPTH))
        & table["threshold_source"].isin(SOURCES | {""})
        & ~table["dataset"].str.contains("/fold_")
        & ((table["metric"] != "dice") | (table["unit"] == "pixel"))
    )
    found = {}
    for row in table[wanted].drop_duplicates(list(NAMED)).to_dict("records"):
        value = float(row["value"] or "nan")
        many = untaught(row["method"]) or int(row["n"] or 0) >= PATIENTS
        if many and math.isfinite(value):
            found[" | ".join(str(row[column]) for column in NAMED)] = round(value, 3)
    return found


def _sums(table: pd.DataFrame) -> Headlines:
    """Of every number's column by data set, and how many rows there are."""
    numbers = table.drop(columns=[name for name in table if name.endswith("_id")])
    numbers = numbers.apply(pd.to_numeric, errors="coerce").dropna(axis=1, how="all")
    sums = numbers.assign(rows=1).groupby(table["dataset"]).sum()
    return {
        f"{dataset} | {column}": float(f"{value:.4g}")
        for dataset, row in sums.to_dict("index").items()
        for column, value in row.items()
    }


def untaught(method: str) -> bool:
    """Whether no network decides it: a rival, or the difference of two."""
    return UNTAUGHT.issuperset(method.split(" - "))


def moved_headlines(
    name: str, committed: Mapping[str, float], found: Mapping[str, float]
) -> list[str]:
    """A line for each committed number of a table that is lost, too far away or of another sign."""
    lines = []
    for what, value in committed.items():
        now = found.get(what, math.nan)
        keeps_sign = "_difference" not in what or abs(value) >= CLEAR
        near = abs(now - value) <= allowed(name, what, value)
        if not near or (keeps_sign and now * value < 0):
            lines.append(f"headline moved: {name}: {what}: {value:g}, now {now:g}")
    return lines


def allowed(name: str, what: str, value: float) -> float:
    """How far another machine's number may lie from the committed one."""
    if name.startswith(DATA):
        return max(1.0, SUMMED * abs(value))
    return FIXED if untaught(what.split(" | ")[NAMED.index("method")]) else LEARNED
