"""Our results beside a printed table, cell by cell.

`study_tables.csv` names the printed tables that notebooks 02 to 06 rebuild: which study, which
table, which of its rows (`printed`, a selector over the table's columns), and which of our rows
(`ours`, a selector as in `claims.csv`). Cells meet where method, class, layer, metric, unit and
subset agree, as far as the printed cell says them. What else tells our rows apart (variant,
threshold source, data set, layer, brain mask) stands in columns, so that two readings of one number
are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.results import with_interval
from ich_study.published.claims import parse_selector
from ich_study.published.tables import TABLE_COLUMNS, load_table

STUDY_TABLE_COLUMNS: tuple[str, ...] = (
    "name",
    "study",
    "paper",
    "table",
    "printed",
    "ours",
    "title",
)
CELL: tuple[str, ...] = ("method", "class", "layer", "metric", "unit", "subset")
TELLING: tuple[str, ...] = ("dataset", "layer", "variant", "threshold_source", "brain_mask")


@dataclass(frozen=True)
class RebuiltTable:
    """A printed table with our numbers in it: `table` of `beside_cells`, and the tidy `rows` behind
    it."""

    name: str
    title: str
    table: pd.DataFrame
    rows: pd.DataFrame


def rebuilt_tables(results: pd.DataFrame, run_label: str) -> list[RebuiltTable]:
    """The printed tables of which `results` hold at least one number, in the order of
    `study_tables.csv`."""
    found = []
    for line in load_study_tables().itertuples():
        cells = printed_cells(line.paper, line.table, line.printed)
        table = beside_cells(cells, results, line.ours, line.study, run_label)
        if (table[run_label] != "").any():
            found.append(
                RebuiltTable(
                    line.name,
                    line.title,
                    table,
                    study_results(results, line.ours, line.study, cells),
                )
            )
    return found


def load_study_tables() -> pd.DataFrame:
    """The printed tables that our studies rebuild, columns STUDY_TABLE_COLUMNS, empty text where
    nothing is said.

    Raises StudyError naming the line whose table, study or selector is not valid.
    """
    with (files("ich_study.published") / "study_tables.csv").open(encoding="utf-8") as stream:
        tables = pd.read_csv(stream, dtype="string", keep_default_na=False)
    if tuple(tables.columns) != STUDY_TABLE_COLUMNS or not tables["name"].is_unique:
        raise StudyError(
            f"published/study_tables.csv: expected the columns {list(STUDY_TABLE_COLUMNS)} and"
            " every name once"
        )
    for row in tables.itertuples():
        try:
            printed_cells(row.paper, row.table, row.printed)
            parse_selector(row.ours)
        except StudyError as error:
            raise StudyError(f"published/study_tables.csv, {row.name}: {error}") from error
    return tables


def printed_cells(paper: str, table: str, selector: str = "") -> pd.DataFrame:
    """A printed table, or those of its rows that `column=value;column=a|b` picks. Raises StudyError
    where it picks none."""
    cells = load_table(paper, table)
    for part in filter(None, selector.split(";")):
        column, equals, values = part.partition("=")
        if not equals or column not in TABLE_COLUMNS:
            raise StudyError(
                f"selector {selector!r}: {part!r}; expected column=value with a column of the"
                " printed tables"
            )
        cells = cells[cells[column].isin(values.split("|"))]
    if cells.empty:
        raise StudyError(f"{paper}, {table}: no cell has {selector!r}")
    return cells.reset_index(drop=True)


def beside_cells(
    cells: pd.DataFrame, results: pd.DataFrame, ours: str, study: str, run_label: str
) -> pd.DataFrame:
    """Printed cells with our numbers for them: CELL, the printed `row`, `printed`, TELLING and
    `run_label`.

    cells: of `printed_cells`. results: tidy rows. A printed cell without our number stands once,
    with an empty one; `run_label` must say what our data were. Rows that `ours` leaves out are not
    shown.
    """
    chosen = results[results["study"] == study]
    for key, values in parse_selector(ours).items() if ours else ():
        chosen = chosen[_text(chosen[key]).isin(values)]
    keys = [key for key in CELL if cells[key].notna().any()]
    left = pd.DataFrame(
        {
            **{key: _text(cells[key]) for key in keys},
            "row": cells["row"],
            "printed": cells["as_printed"],
        }
    )
    telling = [key for key in TELLING if key not in keys]
    right = pd.DataFrame({key: _text(chosen[key]) for key in (*keys, *telling)}, dtype=object)
    right[run_label] = (
        chosen.apply(with_interval, axis=1) if len(chosen) else pd.Series(dtype=object)
    )
    joined = left.merge(right, on=keys, how="left").fillna("")
    return joined[[*keys, "row", "printed", *telling, run_label]]


def study_results(
    results: pd.DataFrame, ours: str, study: str, cells: pd.DataFrame
) -> pd.DataFrame:
    """Our rows behind `beside_cells`, as tidy rows, for a picture of them."""
    chosen = results[(results["study"] == study) & results["metric"].isin(cells["metric"].dropna())]
    for key, values in parse_selector(ours).items() if ours else ():
        chosen = chosen[_text(chosen[key]).isin(values)]
    for key in ("unit", "subset"):
        stated = {
            metric: set(values)
            for metric, values in cells.groupby("metric")[key]
            if values.notna().all()
        }
        chosen = chosen[
            [
                metric not in stated or value in stated[metric]
                for metric, value in zip(chosen["metric"], chosen[key])
            ]
        ]
    return chosen[chosen["method"].isin(cells["method"])].reset_index(drop=True)


def _text(values: pd.Series) -> pd.Series:
    return values.map(lambda value: "" if pd.isna(value) else str(value)).astype(object)
