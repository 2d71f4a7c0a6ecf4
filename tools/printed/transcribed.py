"""Whether a printed table is transcribed as the package needs it: each cell complete, unique, of a
known level, and its value the number that is printed."""

from __future__ import annotations

import pandas as pd

from ich_study.errors import StudyError
from ich_study.published.tables import TABLE_COLUMNS
from ich_study.schema import RESULT_LEVELS, typed
from tools.printed.rounding import Printed, parse_printed

TABLE_LEVELS: dict[str, frozenset[str]] = {
    "unit": RESULT_LEVELS["unit"],
    "subset": RESULT_LEVELS["subset"],
    "spread_kind": frozenset({"sd", "se", "none"}),
    "emphasis": frozenset({"bold", "none", "lost"}),
    "aggregation": frozenset(
        {
            "micro",
            "mean_slices",
            "mean_scans",
            "mean_classes",
            "mean_epochs",
            "mean_folds",
            "none",
            "unstated",
        }
    ),
}

EXACT_METRICS: frozenset[str] = frozenset({"count", "reference", "mask_threshold", "setting"})
"""Metrics whose numbers are not rounded: counts, reference numbers, settings."""

_REQUIRED = (
    "paper",
    "table",
    "row",
    "column",
    "metric",
    "spread_kind",
    "as_printed",
    "emphasis",
    "source",
)


def printed_number(row: pd.Series) -> Printed:
    """The number of one row of a table with the interval it was rounded from. Raises StudyError if
    it has none."""
    return parse_printed(
        row["as_printed"], percent="[%]" in row["column"], exact=row["metric"] in EXACT_METRICS
    )


def check_table(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """`frame` typed as `TABLE_COLUMNS`, each cell complete, unique, of a known level, its value the
    printed one.

    Raises StudyError naming `what` and the first cell that is not.
    """
    frame = typed(frame, TABLE_COLUMNS, what)
    for column in _REQUIRED:
        _refuse(frame, frame[column].isna() | (frame[column] == ""), f"{what}: no {column}")
    for column, levels in TABLE_LEVELS.items():
        _refuse(
            frame,
            frame[column].notna() & ~frame[column].isin(levels),
            f"{what}: {column} not one of {sorted(levels)}",
        )
    _refuse(
        frame, frame.duplicated(["paper", "table", "row", "column"]), f"{what}: cell printed twice"
    )
    numbers = [printed_number(row) for _, row in frame.iterrows()]
    values = pd.Series([float(n.value) for n in numbers], dtype="float64")
    spreads = pd.Series(
        [None if n.spread is None else float(n.spread) for n in numbers], dtype="float64"
    )
    _refuse(frame, frame["value"] != values, f"{what}: value is not what is printed")
    _refuse(
        frame,
        ~(frame["spread"].eq(spreads) | (frame["spread"].isna() & spreads.isna())),
        f"{what}: spread is not what is printed",
    )
    return frame


def _refuse(frame: pd.DataFrame, wrong: pd.Series, message: str) -> None:
    if wrong.any():
        cell = frame[wrong.to_numpy(bool)].iloc[0]
        raise StudyError(
            f"{message}, in row {cell['row']!r}, column {cell['column']!r}: {cell['as_printed']!r},"
            f" value {cell['value']}"
        )
