"""Long tables in a notebook: every row and every word, in little room."""

from __future__ import annotations

import html

import pandas as pd
from IPython.display import HTML

HEIGHT_EM = 24


def folded(table: pd.DataFrame, title: str, opened: bool = False) -> HTML:
    """A table under its title, which opens it; what is higher than `HEIGHT_EM` scrolls.

    pandas alone would show ten rows of a long table and fifty letters of a sentence.
    """
    whole = ("display.max_rows", None, "display.max_columns", None, "display.max_colwidth", None)
    with pd.option_context(*whole):
        content = table.to_html(border=0, justify="left", na_rep="")
    box = f'<div style="max-height: {HEIGHT_EM}em; overflow: auto">{content}</div>'
    summary = f"<summary>{html.escape(title)} ({len(table)} rows)</summary>"
    return HTML(f"<details{' open' if opened else ''}>{summary}{box}</details>")
