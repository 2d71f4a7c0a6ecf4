"""The printed tables of the five papers, a row per printed number, each with its source.

Numbers stand as printed, misprints included (`load_contradictions` names them). `value` and
`spread` are fractions where the paper prints percent; thresholds, volumes, seconds and counts keep
their unit, which `column` or `note` names. `layer` is the CAM paper's depth; `emphasis` is `lost`
where the source at hand has no typography.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from ich_study.errors import StudyError, require_known
from ich_study.schema import typed

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


def read_shipped(name: str, **options: Any) -> pd.DataFrame:
    """A table that ships with this package, all text unless `options` of pandas say otherwise."""
    with (files("ich_study.published") / name).open(encoding="utf-8") as stream:
        return pd.read_csv(stream, **{"dtype": "string", "keep_default_na": False} | options)


def list_tables() -> pd.DataFrame:
    """The tables there are, columns `paper` and `table` (`table_<n>`, or `text_<topic>` for numbers
    in running text)."""
    folder = files("ich_study.published")
    found = sorted(
        (paper, entry.name.removesuffix(".csv"))
        for paper in PAPERS
        for entry in (folder / paper).iterdir()
    )
    return pd.DataFrame(found, columns=["paper", "table"], dtype="string")


def load_table(paper: str, table: str) -> pd.DataFrame:
    """One table, typed as `TABLE_COLUMNS`.

    Raises StudyError listing the papers or tables there are if this one is not among them.
    """
    require_known("paper", paper, PAPERS, StudyError)
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


def load_contradictions() -> pd.DataFrame:
    """Printed numbers that contradict others of their paper, a row each: its cell, the rule, the
    interval that the other numbers allow, the interval it was rounded from, and why.

    They follow from the tables alone; `python -m tools.printed` finds them.
    """
    options = {"dtype": {"as_printed": str}, "keep_default_na": True}
    return read_shipped("contradictions.csv", float_precision="round_trip", **options)


@cache
def _load(paper: str, table: str) -> pd.DataFrame:
    frame = read_shipped(f"{paper}/{table}.csv", na_values=[""])
    return typed(frame, TABLE_COLUMNS, f"published/{paper}/{table}.csv")
