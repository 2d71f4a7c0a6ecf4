"""CSV tables of slice labels: reading them strictly, and putting their rows into a volume's
order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.datasets.files import read_table
from ich_study.errors import DataError


def read_slice_table(
    path: Path, keys: Sequence[str], flags: Sequence[str], layout: str
) -> tuple[pd.DataFrame, int]:
    """A CSV with `keys` (text and slice number) and `flags` (0/1), and how many rows stood there
    twice.

    Other columns are left out. Raises DataError for a missing file or column, a flag that is not
    0 or 1, a slice number that is no integer, and one slice with two different answers.
    """
    columns = [*keys, *flags]
    frame = read_table(path, columns, f"Expected:\n{layout}")[columns]
    _refuse(path, frame, frame[keys[0]].isna(), f"{keys[0]} is empty")
    for column in flags:
        answers = pd.to_numeric(frame[column], errors="coerce")
        _refuse(path, frame, ~answers.isin([0, 1]), f"{column} is not 0 or 1")
        frame = frame.assign(**{column: answers == 1})
    numbers = pd.to_numeric(frame[keys[-1]], errors="coerce")
    _refuse(path, frame, numbers.isna() | (numbers % 1 != 0), f"{keys[-1]} is not a whole number")
    frame = frame.assign(**{keys[-1]: numbers.astype(int)})
    distinct = frame.drop_duplicates()
    _refuse(
        path,
        distinct,
        distinct.duplicated(list(keys), keep=False),
        "one slice stands there with different answers",
    )
    return distinct.reset_index(drop=True), len(frame) - len(distinct)


def _refuse(path: Path, frame: pd.DataFrame, wrong: pd.Series, reason: str) -> None:
    if wrong.any():
        lines = [int(row) + 2 for row in frame.index[wrong]]
        raise DataError(f"{path}: {reason} in {len(lines)} rows, the first are lines {lines[:5]}")


def rows_by_slice(
    table: pd.DataFrame,
    number: str,
    first: int,
    file_slices: np.ndarray,
    what: str,
    allow_missing: bool,
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of one scan in the order of its volume, and notes on slices without a row.

    number: column of the slice's number, `first` for the file's first slice. file_slices: index in
    the file of every slice of the volume. A slice without a row has missing values where
    `allow_missing`, else DataError; a row without its slice is always a DataError.
    """
    rows = table.set_index(table[number] - first)
    beyond = sorted(set(rows.index) - set(file_slices.tolist()))
    if beyond:
        numbers = [index + first for index in beyond[:5]]
        raise DataError(
            f"{what}: the table has slice numbers {numbers}, the scan {len(file_slices)} slices"
        )
    absent = sorted(set(file_slices.tolist()) - set(rows.index))
    if absent and not allow_missing:
        raise DataError(
            f"{what}: {len(absent)} slices have no row in the table, the first is number"
            f" {absent[0] + first}; allow_missing_labels=True takes them as unknown"
        )
    notes = (
        [f"{len(absent)} slices have no row in the table; their labels are unknown"]
        if absent
        else []
    )
    return rows.reindex(file_slices).reset_index(drop=True), notes
