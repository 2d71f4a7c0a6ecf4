"""Result tables of finished runs, gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ich_study.errors import DataError
from ich_study.schema import RESULT_COLUMNS

METRICS_FILE = "metrics.csv"
"""Name of the tidy result table in every run's folder."""

TEXT_COLUMNS: dict[str, str] = {
    "layer": "string",
    "brain_mask": "string",
    "variant": "string",
    "class": "string",
}
"""Columns whose text may look like a number or a truth value: a layer `-1`, a brain mask `true`."""


SEED_ROWS_FILE = "seed_rows.csv"
"""Name of the rows of further seeds that claims and tables read, beside `seeds.csv`."""
VARIANTS = "variants"
"""Folder of runs that change a scale's own: `params/<scale>/variants`."""
_BEFORE_INTERVAL = tuple(name for name in RESULT_COLUMNS if name != "interval")


def collect_results(runs: Path) -> pd.DataFrame:
    """The result tables of all runs below a folder, one below the other, in the order of their
    paths.

    Raises DataError where there is none, or one has other columns than the contract.
    """
    files = _found(runs, METRICS_FILE)
    if not files:
        raise DataError(
            f"no {METRICS_FILE} below {runs}; run the study first (snakemake, or ich_study.run for"
            " one notebook)"
        )
    tables = [pd.read_csv(path, dtype=TEXT_COLUMNS) for path in files]
    for path, table in zip(files, tables):
        # tables written before `interval` do not say how their bounds were found
        if tuple(table.columns) not in (RESULT_COLUMNS, _BEFORE_INTERVAL):
            raise DataError(
                f"{path} has columns {list(table.columns)}; expected {list(RESULT_COLUMNS)}"
            )
    return joined(tables)


def read_seeds(path: Path) -> pd.DataFrame:
    """The result rows of a table of `tools.seeds`, and of SEED_ROWS_FILE where it lies beside it;
    DataError where one has other columns."""
    files = [place for place in (path.with_name(SEED_ROWS_FILE), path) if place.is_file()]
    tables = [pd.read_csv(place, dtype=TEXT_COLUMNS) for place in files or [path]]
    for place, table in zip(files, tables):
        if not {*RESULT_COLUMNS} <= {*table.columns}:
            raise DataError(
                f"{place} has columns {list(table.columns)}; expected {list(RESULT_COLUMNS)} among"
                " them; run tools.seeds again, with --table-only where its runs are there"
            )
    return joined(tables)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Result tables one below the other, with the columns of the contract."""
    filled = [table.dropna(axis="columns", how="all") for table in tables]
    return pd.concat(filled, ignore_index=True).reindex(columns=list(RESULT_COLUMNS))


def collect_tables(runs: Path, name: str) -> pd.DataFrame:
    """One kind of table (such as `roc.csv`) of all runs below a folder, with the column `method`
    set to the run's folder name. Raises DataError where there is none."""
    files = _found(runs, name)
    if not files:
        raise DataError(f"no {name} below {runs}; run the study first")
    return pd.concat(
        [pd.read_csv(path).assign(method=path.parent.name) for path in files], ignore_index=True
    )


def with_interval(row: Mapping[str, Any] | pd.Series, digits: int = 3) -> str:
    """A value with its 95 % interval, as `0.913 [0.884, 0.941]`."""
    if pd.isna(row["value"]):
        return "undefined"
    shown = f"{row['value']:.{digits}f}"
    return (
        shown
        if pd.isna(row["ci_low"])
        else f"{shown} [{row['ci_low']:.{digits}f}, {row['ci_high']:.{digits}f}]"
    )


def collect_predictions(runs: Path, name: str = "predictions.parquet") -> dict[str, pd.DataFrame]:
    """Predictions of every run below a folder, or another table of theirs, by the run's folder
    name."""
    return {path.parent.name: pd.read_parquet(path) for path in _found(runs, name)}


def result_files(runs: Path) -> dict[str, Path]:
    """The result table of every run below a folder, by the run's folder name."""
    return {path.parent.name: path for path in _found(runs, METRICS_FILE)}


def _found(runs: Path, name: str) -> list[Path]:
    """Files of this name below a folder, sorted; a scale's variants are no part of the scale."""
    found = sorted(runs.rglob(name))
    return [path for path in found if VARIANTS not in path.relative_to(runs).parts]
