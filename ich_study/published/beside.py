"""Our results beside a printed table, in the paper's own layout: a row per printed row, a column
per printed column, in each cell the printed number, ours with its interval, and the difference.

`study_tables.csv` says which of our rows stands in which printed cells. A line names printed cells
(`printed`, a selector over the columns of the printed tables), the label of our number there
(`reading`), and our row (`ours`, a selector of `lookup`). What the printed cell says of
itself (method, class, layer, metric, unit, subset) need not be said again; `metric=box_*` stands
for the cell's own metric with a prefix; every column of `lookup.PROTOCOL` that nothing names must
be empty in our row. So a cell has one number or none, and never one of another protocol. A line
that names methods makes rows of its own: rivals that the paper does not print. One that names a
measure besides makes columns of it, which the paper does not print either. `note` is what a reader
must know of a line's numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.results import with_interval
from ich_study.evaluate.slice_position import METHOD
from ich_study.figures.names import in_words, readable
from ich_study.published.claims import METHOD as SEED_TO_SEED, all_reasons
from ich_study.published.lookup import KEYS, PROTOCOL, TEST_PARTS, Results, Selector, parse_selector
from ich_study.published.tables import TABLE_COLUMNS, load_table, read_shipped
from ich_study.schema import SUBTYPES

CELL: tuple[str, ...] = ("method", "class", "layer", "metric", "unit", "subset")
"""Columns in which a printed cell can say what it is of."""
CELL_COLUMNS: tuple[str, ...] = (
    "line",
    "row",
    "column",
    "reading",
    "printed",
    "printed_value",
    "ours",
    "difference",
    "value",
    "ci_low",
    "ci_high",
    "spread",
    "n",
    *(name for name in KEYS if name != "part"),
)
OURS = "ours"
"""The reading that has a difference: under the paper's own protocol."""
TABLE_X: dict[str, str] = {
    "precision@0.5": "Precision",
    "sensitivity@0.5": "Recall",
    "f1@0.5": "F1",
    "specificity@0.5": "Specificity",
    "auroc": "AUROC",
    "average_precision": "Average precision",
}
"""Measures of the CAM benchmark's Table X, at its classification threshold 0.5, and columns."""
MOVES = (
    "Largest change from seed to seed: how far the difference of a run from the reference moves"
    " when both are trained from another seed, the largest of the runs; a smaller difference is"
    " noise."
)
"""What Table X says of the noise under it."""
STARS: tuple[tuple[float, str], ...] = ((0.001, "**"), (0.05, "*"))


@dataclass(frozen=True)
class RebuiltTable:
    """A printed table with our numbers in it. cells: long, CELL_COLUMNS, for machines; a printed
    cell without our number has an empty `ours`. columns: of the layout, in order. notes: on it."""

    name: str
    title: str
    cells: pd.DataFrame
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def wide(self) -> pd.DataFrame:
        """The table in the paper's layout, columns `row`, `number` and the printed ones; for each
        row its printed numbers, ours by reading, and the differences. Lines of numbers of which
        there are none are left out."""
        lines = []
        for row, own in self.cells.groupby("row", sort=False):
            numbers = {"printed": own.drop_duplicates("column").set_index("column")["printed"]}
            for reading, part in own.groupby("reading", sort=False):
                numbers[str(reading)] = part.set_index("column")["ours"]
            numbers["difference"] = own[own["reading"] == OURS].set_index("column")["difference"]
            for number, texts in numbers.items():
                if (texts != "").any():
                    lines.append({"row": row, "number": number, **texts})
        return pd.DataFrame(lines, columns=["row", "number", *self.columns]).fillna("")


def rebuilt_tables(results: pd.DataFrame) -> tuple[list[RebuiltTable], list[str]]:
    """The printed tables of which `results` hold at least one number, in the order of
    `study_tables.csv`, and the lines of it that find no number."""
    table, found, empty = Results.of(results), [], []
    for (paper, name), lines in load_study_tables().groupby(["paper", "table"], sort=False):
        rows = [cell for line in lines.to_dict("records") for cell in line_cells(line, table)]
        cells = pd.DataFrame(rows).reindex(columns=CELL_COLUMNS)
        twice = cells[cells.duplicated(["row", "column", "reading"])]
        if len(twice):
            raise StudyError(
                f"published/study_tables.csv: two lines fill a cell of {paper}, {name}, first"
                f" {twice.iloc[0][['line', 'row', 'column', 'reading']].to_dict()}"
            )
        measured = cells["ours"] != ""
        empty += [line for line in lines["line"] if line not in set(cells.loc[measured, "line"])]
        if measured.any():
            # a second reading or a rival is shown where it has a number
            kept = cells[measured | ((cells["reading"] == OURS) & (cells["printed"] != ""))]
            # folds stand in their rows
            places = cells.loc[measured, "dataset"].str.partition("/fold_")[0]
            title = in_words(f"{lines['title'].iloc[0]}; {', '.join(dict.fromkeys(places))}")
            filled = lines[lines["line"].isin(cells.loc[measured, "line"])]
            notes = [*filter(None, filled["note"].unique()), *_folds_note(cells)]
            notes += _empty_notes(rows)
            ordered = _in_order(kept, paper, name)
            found.append(RebuiltTable(f"{paper}_{name}", title, *ordered, tuple(notes)))
    return found, empty


@cache
def load_study_tables() -> pd.DataFrame:
    """The lines of `study_tables.csv`, empty text where nothing is said; not to be changed."""
    return read_shipped("study_tables.csv")


def table_x(results: pd.DataFrame, dataset: str, arms: Sequence[str]) -> list[RebuiltTable]:
    """The CAM benchmark's "Table X", which Section IV names for "precision, recall, and other
    evaluation metrics" of its baseline and its final classifier and which the paper does not hold:
    nothing is printed beside ours, and the layout is ours. Empty without a number.

    dataset: as in the results, with its part. arms: runs of 01_backbones, in order; the slice
    position stands below them, once, and how far differences move from seed to seed where the rows
    of `noise.gain_floor` say so.
    """
    of_gains = results["metric"].str.removesuffix("_gain").where(results["method"] == SEED_TO_SEED)
    results = results.assign(metric=of_gains.fillna(results["metric"]))
    own = results[(results["study"] == "01_backbones") & (results["dataset"] == dataset)]
    own = own[(own["class"] == "any") & own["metric"].isin(TABLE_X)]
    below = (METHOD, SEED_TO_SEED)
    own = own[own["method"].isin([*arms, *below])].drop_duplicates(["method", "metric"])
    if own.empty:
        return []
    place = {name: at for at, name in enumerate([*arms, *below, *TABLE_X])}
    own = own.sort_values(["method", "metric"], key=lambda names: names.map(place))
    named = {"row": own["method"].map(readable), "column": own["metric"].map(TABLE_X)}
    numbers = {"ours": own.apply(with_interval, axis=1), "printed": "", "difference": ""}
    cells = own.assign(**named, **numbers, reading=OURS, line="cam-x")
    title = f"CAM benchmark, Table X, which the paper names and does not hold; {in_words(dataset)}"
    long = cells.reindex(columns=CELL_COLUMNS).reset_index(drop=True)
    there = tuple(name for name in TABLE_X.values() if name in set(long["column"]))
    moved = (own["method"] == SEED_TO_SEED).any()
    notes = (MOVES,) if moved else ()
    return [RebuiltTable("cam_benchmark_table_x", title, long, there, notes)]


def refuse_empty(empty: Sequence[str], expected: Sequence[str]) -> list[str]:
    """Lines that find a number though they were not expected to. expected: names of lines, or
    patterns such as `lse-2*`. Raises StudyError where another line finds none, unless it is of the
    noise from seed to seed: that only repeated runs know, and it is printed."""
    lines = load_study_tables()
    names = lines["line"]
    allowed = [name for name in names if any(fnmatch(name, pattern) for pattern in expected)]
    unexpected = [name for name in empty if name not in allowed]
    of_seeds = set(names[lines["ours"].str.contains(f"method={SEED_TO_SEED}")])
    unknown = [name for name in unexpected if name in of_seeds]
    if unknown:
        print(
            f"left out: {', '.join(unknown)}; no arm that the table shows was repeated from another"
            " seed here (`seeds_table`, of tools.seeds), so how far a gain moves is not known"
        )
    unexpected = [name for name in unexpected if name not in of_seeds]
    if unexpected:
        raise StudyError(
            f"lines of published/study_tables.csv that find no number: {', '.join(unexpected)};"
            " run what they need, or name them in `not_rebuilt` of this scale's 07_figures.yaml"
        )
    return [name for name in allowed if name not in empty]


@cache
def printed_cells(paper: str, table: str, selector: str = "") -> tuple[dict[str, Any], ...]:
    """The cells of a printed table, or those that `column=value;column=a|b` picks, empty text where
    one says nothing. Raises StudyError where it picks none."""
    cells = _whole(paper, table)
    picked = parse_selector(selector, TABLE_COLUMNS) if selector else {}
    for column, values in picked.items():
        cells = tuple(cell for cell in cells if cell[column] in values)
    if not cells:
        raise StudyError(f"{paper}, {table}: no cell has {selector!r}")
    return cells


@cache
def _whole(paper: str, table: str) -> tuple[dict[str, Any], ...]:
    cells = load_table(paper, table)
    texts = cells.astype(object).where(cells.notna(), "")
    return tuple(texts.to_dict("records"))


def line_cells(line: Mapping[str, str], results: Results) -> list[dict[str, Any]]:
    """The cells that one line of `study_tables.csv` fills, with CELL_COLUMNS.

    Our numbers are of the printed data set where it was measured, else of the one that fills most
    cells. Raises StudyError where a cell would have two numbers.
    """
    cells = printed_cells(line["paper"], line["table"], line["printed"])
    given = parse_selector(line["ours"])
    asked = list(_asked(cells, given))
    picked = [results.select(selector) for _, selector in asked]
    dataset = _dataset(cells, picked)
    found = []
    for (cell, selector), rows in zip(asked, picked):
        own = [row for row in rows if row["dataset"] == dataset]
        # where both were scored, held-out patients come before the whole
        own = [row for row in own if row["part"] == max(each["part"] for each in own)]
        if len(own) > 1:
            raise StudyError(
                f"published/study_tables.csv, {line['line']}: {len(own)} numbers for row"
                f" {cell['row']!r}, column {cell['column']!r}; name in `ours` what tells apart"
                f" {own[0]} and {own[1]}"
            )
        numbers = _numbers(cell, selector, own, results)
        if line["reading"] != OURS:
            numbers["difference"] = ""
        named = {"line": line["line"], "reading": line["reading"]}
        found.append({**cell, **named, **numbers})
    return found


def _asked(
    cells: Sequence[dict[str, Any]], given: Selector
) -> Iterator[tuple[dict[str, Any], Selector]]:
    """Every cell with the selector of our row; of a line that names methods, a cell per method and
    column, beside the printed ones where methods stand in columns, else below them."""
    whole = _whole(cells[0]["paper"], cells[0]["table"])
    across = len({(each["row"], each["method"]) for each in whole}) > len(
        {each["row"] for each in whole}
    )
    for each in cells:
        own = {key: (str(each[key]),) for key in CELL if each[key] != ""}
        selector = {**dict.fromkeys(PROTOCOL, ("",)), "part": TEST_PARTS, **own, **given}
        for key in ("metric", "part"):
            selector[key] = tuple(name.format(**each) for name in selector[key])
        cell = {**each, "printed": each["as_printed"], "printed_value": each["value"]}
        for method in given.get("method", ("",)):
            if not method:
                yield cell, selector
                continue
            named = {"printed": "", "printed_value": np.nan}
            if across:
                group = cell["column"].rpartition(", ")[0]
                own_measure = given.get("metric", ("{metric}",))[0]
                group = group if "{metric}" in own_measure else readable(own_measure)
                named["column"] = f"{group}, {readable(method)}"
            else:
                named["row"] = readable(method)
            yield {**cell, **named}, {**selector, "method": (method,)}


def _numbers(
    cell: Mapping[str, Any], selector: Selector, rows: list[dict[str, Any]], results: Results
) -> dict[str, Any]:
    """Our number of one cell, with its spread and the stars of its test where these were measured,
    and its difference from the printed one; empty without a row, and with `why`, data set and
    reason, where it has no value."""
    if not rows or not np.isfinite(rows[0]["value"]):
        named = [row for row in rows if row["class"] in (*SUBTYPES, "average")]
        why = [(f"{row['dataset']}/{row['part']}", results.why(row)) for row in named]
        return {"dataset": "", "ours": "", "difference": "", "value": np.nan, "why": why}
    row = rows[0]
    spread, p_value = (
        _beside(row, selector, f"{row['metric']}_{suffix}", results)
        for suffix in (cell["spread_kind"], "p_value")
    )
    like = partial(as_like, cell["as_printed"], percent="%" in cell["column"] + cell["as_printed"])
    text = like(row["value"])
    if np.isfinite(spread):
        text += f" ± {like(spread)}"
    text += next((stars for limit, stars in STARS if p_value < limit), "")
    if np.isfinite(row["ci_low"]):
        text += f" [{like(row['ci_low'])}, {like(row['ci_high'])}]"
    change = row["value"] - cell["printed_value"]
    # how far two p-values lie apart says nothing
    told = np.isfinite(change) and row["metric"] != "p_value"
    signed = like(change, signed=True) if told else ""
    place = f"{row['dataset']}/{row['part']}".removesuffix("/")
    return {**row, "dataset": place, "spread": spread, "ours": text, "difference": signed}


def as_like(printed: str, value: float, percent: bool = False, signed: bool = False) -> str:
    """A number with the digits, and in percent where the printed one is.

    >>> as_like("0.970", 0.91234), as_like("61.88", 0.5, percent=True), as_like("150", 125.0)
    ('0.912', '50.00', '125')
    >>> as_like("0.970 ± 0.1", 0.01, signed=True), as_like("10^-37", 0.0003)
    ('+0.010', '3e-04')
    >>> as_like("10^-29", 0.998)
    '1.00'
    """
    if "10^" in printed:
        return f"{value:.0e}" if value < 0.01 else f"{value:.2f}"
    first = re.search(r"[\d,]*\.(\d+)|\d", printed)
    decimals = len(first[1] or "") if first else 0
    return f"{100 * value if percent else value:{'+' if signed else ''}.{decimals}f}"


def _beside(row: Mapping[str, Any], selector: Selector, metric: str, results: Results) -> float:
    """Another measure of the same row; NaN where there is none."""
    same = {key: (row[key],) for key in selector} | {"metric": (metric,)}
    found = results.select(same)
    return found[0]["value"] if found else float("nan")


def _dataset(cells: Sequence[Mapping[str, Any]], picked: list[list[dict[str, Any]]]) -> str:
    """The data set of a line's numbers: a printed one, else that of most cells; of equal ones the
    first by name."""
    times = Counter(name for rows in picked for name in {row["dataset"] for row in rows})
    printed = {cell["dataset"] for cell in cells}
    ranked = sorted(times, key=lambda name: (name not in printed, -times[name], name))
    return ranked[0] if ranked else ""


def _empty_notes(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why cells of subtypes have no number though they were measured, a note for each data set.
    cells: of `line_cells`."""
    places: dict[str, list[str]] = {}
    for place, why in (each for cell in cells for each in cell.get("why", ())):
        places.setdefault(place.removesuffix("/"), []).append(why)
    return [
        in_words(f"Ours is empty on {place} for {all_reasons(whys)}.")
        for place, whys in places.items()
    ]


def _folds_note(cells: pd.DataFrame) -> list[str]:
    """How many folds are printed and how many are ours, where these differ."""
    folds = cells[cells["line"].str.endswith("-folds")]
    printed, ours = (folds.loc[folds[name] != "", "row"].nunique() for name in ("printed", "ours"))
    if not ours or printed == ours:
        return []
    return [f"The paper has {printed} folds, these runs {ours}: the other rows have none of ours."]


def _in_order(cells: pd.DataFrame, paper: str, table: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Cells row by row as printed, rows that are not printed last; and the columns in order, one
    that is not printed behind the last of its group, which is its name before the comma."""
    printed = _whole(paper, table)
    rows, columns = (
        list(dict.fromkeys(cell[name] for cell in printed)) for name in ("row", "column")
    )
    more = [name for name in dict.fromkeys(cells["column"]) if name not in columns]
    for name in more:
        group = name.rpartition(", ")[0]
        own = [at for at, other in enumerate(columns) if other.startswith(f"{group}, ")]
        last = max(own, default=len(columns) - 1)
        columns.insert(last + 1, name)
    rank = {name: at for at, name in enumerate(rows)}
    # rows that are not printed have no rank, and come last
    key = {"key": lambda names: names.map(rank), "kind": "stable", "ignore_index": True}
    there = set(cells["column"])
    return cells.sort_values("row", **key), tuple(name for name in columns if name in there)
