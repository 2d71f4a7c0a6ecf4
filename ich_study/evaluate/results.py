"""Result tables of finished runs, gathered, and set beside the papers' printed tables.

What a run measured on a synthetic phantom stands in a column that says so; it is there to show that
the pipeline works, not to be compared with the printed number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ich_study.errors import DataError
from ich_study.schema import LABELS, RESULT_COLUMNS

METRICS_FILE = "metrics.csv"
"""Name of the tidy result table in every run's folder."""

TEXT_COLUMNS: dict[str, str] = {
    "layer": "string",
    "brain_mask": "string",
    "variant": "string",
    "class": "string",
}
"""Columns whose text may look like a number or a truth value: a layer `-1`, a brain mask `true`."""


_BEFORE_INTERVAL = tuple(name for name in RESULT_COLUMNS if name != "interval")


def collect_results(runs: Path) -> pd.DataFrame:
    """The result tables of all runs below a folder, one below the other, in the order of their
    paths.

    Raises DataError where there is none, or one has other columns than the contract.
    """
    files = sorted(runs.rglob(METRICS_FILE))
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


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Result tables one below the other, with the columns of the contract."""
    filled = [table.dropna(axis="columns", how="all") for table in tables]
    return pd.concat(filled, ignore_index=True).reindex(columns=list(RESULT_COLUMNS))


def collect_tables(runs: Path, name: str) -> pd.DataFrame:
    """One kind of table (such as `roc.csv`) of all runs below a folder, with the column `method`
    set to the run's folder name. Raises DataError where there is none."""
    files = sorted(runs.rglob(name))
    if not files:
        raise DataError(f"no {name} below {runs}; run the study first")
    return pd.concat(
        [pd.read_csv(path).assign(method=path.parent.name) for path in files], ignore_index=True
    )


def with_interval(row: pd.Series, digits: int = 3) -> str:
    """A value with its 95 % interval, as `0.913 [0.884, 0.941]`."""
    if pd.isna(row["value"]):
        return "undefined"
    shown = f"{row['value']:.{digits}f}"
    return (
        shown
        if pd.isna(row["ci_low"])
        else f"{shown} [{row['ci_low']:.{digits}f}, {row['ci_high']:.{digits}f}]"
    )


def beside_published(
    printed: pd.DataFrame, results: pd.DataFrame, metric: str, run_label: str
) -> pd.DataFrame:
    """The printed table's cells beside ours, a row per method and class.

    printed: rows of `published.tables`. results: tidy rows, at most one per method and class for
    `metric`. Columns: method, class, `printed`, and `run_label`, which must say what the run's data
    were; a cell one side lacks is empty. Raises DataError where a method and class stand twice.
    """
    ours = results[results["metric"] == metric]
    twice = ours[ours.duplicated(["method", "class"])]
    if len(twice):
        raise DataError(
            f"{metric} stands twice for"
            f" {twice[['method', 'class']].drop_duplicates().to_numpy().tolist()}; select one"
            " variant"
        )
    shown = ours[["method", "class"]].assign(
        **{run_label: ours.apply(with_interval, axis=1) if len(ours) else pd.Series(dtype=str)}
    )
    left = printed.loc[printed["metric"] == metric, ["method", "class", "as_printed"]].rename(
        columns={"as_printed": "printed"}
    )
    return left.merge(shown, on=["method", "class"], how="outer", sort=False).fillna(
        {"printed": "", run_label: ""}
    )


def wide(cells: pd.DataFrame) -> pd.DataFrame:
    """`beside_published` as the paper prints it: a row per method, for each class the printed and
    our column."""
    classes = [name for name in (*LABELS, "average") if name in set(cells["class"])]
    values = [name for name in cells if name not in ("method", "class")]
    table = cells.pivot_table(
        index="method", columns="class", values=values, aggfunc="first", sort=False
    )
    return table.swaplevel(axis=1).reindex(
        columns=[(name, value) for name in classes for value in values]
    )


def collect_predictions(runs: Path) -> dict[str, pd.DataFrame]:
    """Predictions of every run below a folder, by the run's folder name."""
    return {
        path.parent.name: pd.read_parquet(path)
        for path in sorted(runs.rglob("predictions.parquet"))
    }


def result_files(runs: Path) -> dict[str, Path]:
    """The result table of every run below a folder, by the run's folder name."""
    return {path.parent.name: path for path in sorted(runs.rglob(METRICS_FILE))}
