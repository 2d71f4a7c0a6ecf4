"""Tables in a notebook: every row and every word, under the names that a reader knows."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Hashable
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import HTML

from ich_study.figures.names import NAMES, in_words, method_name, readable

HEIGHT_EM = 24
"""What is higher scrolls, where a table is folded or has more than `OPEN_ROWS` rows."""
OPEN_ROWS = 40
MOST_ROWS = 500
"""Of a longer table the first and last rows are shown."""
NAMING = ("method", "metric", "class", "dataset", "data set", "first", "second", "paper", "subset")
"""Columns and levels that hold names of the study and nothing else."""
METHODS = ("method", "first", "second")
"""Those of them that hold methods."""
HEADERS = {
    "ci_low": "95 % from",
    "ci_high": "to",
    "p_holm": "p (Holm)",
    "threshold_source": "threshold from",
    "memory_mib": "memory, MiB",
    "dice, held-out threshold": "Dice, held-out threshold",
    "dice, own threshold": "Dice, own threshold",
}


def show_tables_in_words() -> None:
    """From here on a notebook shows each table by `as_html`; other programs are left alone."""
    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, as_html)


def as_html(table: pd.DataFrame) -> str:
    """A table as a notebook shows it.

    pandas alone would show ten rows of a long table, fifty letters of a sentence, the numbers of
    rows that a filter has left, NaN, and the names that files and parameters have.
    """
    if table.empty:
        return "<p>(a table without a row)</p>"
    content = _content(table, MOST_ROWS)
    return content if len(table) <= OPEN_ROWS else _scrolling(content)


def folded(table: pd.DataFrame, title: str, opened: bool = False) -> HTML:
    """A table under its title, which opens it; what is higher than `HEIGHT_EM` scrolls."""
    summary = f"<summary>{html.escape(title)} ({len(table)} rows)</summary>"
    box = _scrolling(_content(table, None))
    return HTML(f"<details{' open' if opened else ''}>{summary}{box}</details>")


def _content(table: pd.DataFrame, most_rows: int | None) -> str:
    named = table.copy()
    for place, (name, column) in enumerate(table.items()):
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            words = [_cell(value, name) for value in column]
            named.isetitem(place, pd.Series(words, table.index, dtype=object))
    named.index, named.columns = _labels(table.index), _labels(table.columns)
    index = table.index
    counted = index.nlevels == 1 and index.name is None and pd.api.types.is_integer_dtype(index)
    with pd.option_context("display.max_colwidth", None):
        return named.to_html(
            border=0, justify="left", na_rep="", index=not counted, max_rows=most_rows
        )


def _scrolling(content: str) -> str:
    return f'<div style="max-height: {HEIGHT_EM}em; overflow: auto">{content}</div>'


def _labels(index: pd.Index) -> pd.Index:
    """Row or column labels in words."""
    levels = [
        [_label(value, name) for value in index.get_level_values(level)]
        for level, name in enumerate(index.names)
    ]
    names = [name if name is None else _label(name, None) for name in index.names]
    if index.nlevels == 1:
        return pd.Index(levels[0], name=names[0])
    return pd.MultiIndex.from_arrays(levels, names=names)


def _label(value: Hashable, of: Hashable) -> Hashable:
    if isinstance(value, str) and value in HEADERS:
        return HEADERS[value]
    if isinstance(value, str) and value in NAMES and of not in METHODS:
        return NAMES[value]
    return _cell(value, of)


def _cell(value: Any, of: Hashable) -> Any:
    """Text in words. of: whose value it is; what is not of NAMING may be a parameter's, and only
    names that are nothing else are put in words there."""
    if not isinstance(value, str):
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        return "" if missing else value
    if of not in NAMING:
        return in_words(value)
    name = method_name if of in METHODS else readable
    return " minus ".join(_name(part, name) for part in value.split(" - "))


def _name(part: str, name: Callable[[str], str]) -> str:
    alone = re.fullmatch(r"[a-z0-9_@.]+( \(\w+\))?", part)
    return name(part) if alone else in_words(part)
