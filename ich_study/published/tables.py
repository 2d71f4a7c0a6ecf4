"""The printed tables of the five papers, a row per printed number, each with its source.

Numbers stand as printed, misprints included (`consistency.py` flags them). `value` and `spread` are
fractions where the paper prints percent; thresholds, volumes, seconds and counts keep their unit,
which `column` or `note` names. `layer` is the CAM paper's depth; `emphasis` is `lost` where the
source at hand has no typography.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import pandas as pd

from ich_study.errors import StudyError
from ich_study.published.rounding import Printed, parse_printed
from ich_study.schema import RESULT_LEVELS, typed

PAPERS: dict[str, str] = {
    "lse_unet": (
        "Beyond Classification: Elaborating Network Predictions for Better Weakly Supervised"
        " Quantization"
    ),
    "cam_benchmark": (
        "Benchmarking Class Activation Map Methods for Explainable Brain Hemorrhage Classification"
        " on Hemorica Dataset"
    ),
    "resnet_lstm": (
        "Class Activation Map-based Weakly supervised Hemorrhage Segmentation using Resnet-LSTM in"
        " Non-Contrast CT images"
    ),
    "hgi_sam": (
        "Weakly Supervised Intracranial Hemorrhage Segmentation using Head-Wise Gradient-Infused"
        " Self-Attention Maps"
    ),
    "mil_detector": "Weakly supervised deep learning-based intracranial hemorrhage localization",
}
"""Folder name of each paper and its title."""

TABLE_COLUMNS: dict[str, str] = {
    "paper": "string",
    "table": "string",
    "row": "string",
    "column": "string",
    "method": "string",
    "dataset": "string",
    "class": "string",
    "layer": "string",
    "metric": "string",
    "unit": "string",
    "subset": "string",
    "aggregation": "string",
    "value": "float64",
    "spread": "float64",
    "spread_kind": "string",
    "as_printed": "string",
    "emphasis": "string",
    "source": "string",
    "note": "string",
}
"""Columns of every table; `method`, `class`, `layer`, `metric`, `unit` and `subset` use the result
table's names."""

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


def list_tables() -> pd.DataFrame:
    """The tables there are, columns `paper` and `table` (`table_<n>`, or `text_<topic>` for numbers
    in running text)."""
    names = [(paper, entry.name) for paper in PAPERS for entry in _folder(paper).iterdir()]
    found = sorted(
        (paper, name.removesuffix(".csv")) for paper, name in names if name.endswith(".csv")
    )
    return pd.DataFrame(found, columns=["paper", "table"], dtype="string")


def load_table(paper: str, table: str) -> pd.DataFrame:
    """One table, typed as `TABLE_COLUMNS`.

    Raises StudyError listing the papers or tables there are if this one is not among them, and
    naming the cell if a value is not what `as_printed` says or a level is unknown.
    """
    if paper not in PAPERS:
        raise StudyError(f"no paper {paper!r}; there are {', '.join(PAPERS)}")
    tables = list_tables()
    known = list(tables.loc[tables["paper"] == paper, "table"])
    if table not in known:
        raise StudyError(f"paper {paper} has no {table!r}; there are {', '.join(known)}")
    return _load(paper, table).copy()


def load_all() -> pd.DataFrame:
    """Every table of every paper below each other, typed as `TABLE_COLUMNS`."""
    tables = list_tables()
    return pd.concat(
        [load_table(row.paper, row.table) for row in tables.itertuples()], ignore_index=True
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


@cache
def _load(paper: str, table: str) -> pd.DataFrame:
    with (_folder(paper) / f"{table}.csv").open(encoding="utf-8") as stream:
        frame = pd.read_csv(stream, dtype="string", keep_default_na=False, na_values=[""])
    return check_table(frame, f"published/{paper}/{table}.csv")


def _folder(paper: str) -> Traversable:
    return files("ich_study.published") / paper
