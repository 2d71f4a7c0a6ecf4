"""The ledger of claims as a page that is read in two minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
import pandas as pd

from ich_study.figures.names import readable
from ich_study.published.beside import RebuiltTable
from ich_study.published.claims import (
    CLOCK_METRICS,
    SECOND,
    VERDICTS,
    claim_sides,
    load_claims,
    named,
)
from ich_study.published.lookup import Selector, row_keys
from ich_study.published.tables import PAPERS

TOLD: dict[str, str] = {"": "", "ours": "under our protocol", "boxes": "against boxes"}
"""A claim's protocols, the paper's first, and how a verdict under another is told."""
COLUMNS = ("id", "claim", "verdict", "see")
EXPLAINED = (
    "Verdicts are those under the paper's protocol unless they say otherwise. *Our protocol* means"
    " thresholds that saw no test mask, on held-out patients; *boxes*, that the truth is boxes."
    " Claims that nothing here can measure are counted and not listed."
)
NUMBERS = (
    "[claims.csv](claims.csv) has the numbers of each id. `difference_low` and `difference_high`"
    " bound the difference at 95 %. `seed_to_seed` is how far it moves when the networks are"
    " trained from another seed; a smaller gain is noise. `reason` says why."
)
NOT_JUDGED = (
    'Not judged: ResNet-LSTM\'s "computationally light architecture during testing" (Abstract; in'
    " other words in its Conclusion). The paper prints no time and names nothing that is heavier."
    " `08_cross_benchmark` times a scan of every method."
)


def ledger_page(ledger: pd.DataFrame, title: str, tables: Sequence[RebuiltTable] = ()) -> str:
    """Counts of verdicts by paper, then a line per claim, as Markdown: what is claimed, the
    verdicts, the table that shows the cell and the run. Numbers and reasons stand in `claims.csv`.

    ledger: of `claims.verdicts`. tables: of `beside.rebuilt_tables`, which lie beside the page.
    Claims about time are left out: equal runs would give other pages.
    """
    timed = ledger["metric"].isin(CLOCK_METRICS)
    named = ", ".join(ledger.loc[timed, "claim_id"])
    ledger = ledger[~timed]
    cells = {}
    for table in tables:
        measured = table.cells[table.cells["ours"] != ""]
        cells[table.name] = [row_keys(cell) for cell in measured.to_dict("records")]
    lines = [f"# Claims of the five papers: {title}", "", *_summary(ledger), ""]
    lines += [EXPLAINED, "", NUMBERS, ""]
    lines += [f"Claims about time ({named}) stand in `claims.csv` alone.", "", NOT_JUDGED, ""]
    claims = load_claims().set_index("claim_id")
    for paper, name in PAPERS.items():
        rows = []
        for _, ruling in ledger[ledger["paper"] == paper].iterrows():
            there = [second for second in TOLD if _column(ruling, "verdict", second) in _MEASURED]
            if there:
                rank = VERDICTS.index(_column(ruling, "verdict", there[0]))
                rows.append((rank, _line(ruling, claims.loc[ruling["claim_id"]], there, cells)))
        rows.sort(key=itemgetter(0))  # of equal ones the order stays
        lines += [f"## {readable(paper)}", "", f"*{name}*", ""]
        lines += [*_table([line for _, line in rows], COLUMNS), ""]
    return "\n".join(lines)


DECIDED = ("supported", "contradicted")
_MEASURED = VERDICTS[:-1]
_Cells = Mapping[str, Sequence[Mapping[str, str]]]


def _summary(ledger: pd.DataFrame) -> list[str]:
    """Verdicts counted by paper; those under another protocol where one of them is measured."""
    lines = []
    for paper in PAPERS:
        own = ledger[ledger["paper"] == paper]
        counts = own["verdict"].value_counts()
        line = {"paper": readable(paper)}
        line |= {verdict: str(counts.get(verdict, 0)) for verdict in VERDICTS}
        for second in SECOND:
            counts = own[f"verdict_{second}"].value_counts()
            told = [f"{counts[each]} {each}" for each in _MEASURED if each in counts]
            line[TOLD[second]] = ", ".join(told)
        lines.append(line)
    return _table(lines, tuple(lines[0]))


def _line(
    ruling: pd.Series, claim: pd.Series, there: Sequence[str], cells: _Cells
) -> dict[str, str]:
    """COLUMNS of one claim. there: the protocols under which it has a verdict."""
    said: list[str] = []
    first = _column(ruling, "verdict", there[0])
    for second in there:
        verdict = str(_column(ruling, "verdict", second))
        shown = f"**{verdict}**" if verdict in DECIDED else verdict
        shown = "also" if said and verdict == first else shown
        said.append(f"{shown} {TOLD[second]}".strip())
    links = _links(claim, there[0], cells)
    return dict(zip(COLUMNS, (ruling["claim_id"], claim["short"], ", ".join(said), links)))


def _links(claim: pd.Series, second: str, cells: _Cells) -> str:
    """The wide table, best of its own paper, that shows most of the claim's cells, else the
    metrics; and the run."""
    left, right = claim_sides(claim, second)
    sides = [side for side in (left, right) if not isinstance(side, float)]
    shown = {
        name: sum(any(_is_of(cell, side) for side in sides) for cell in own)
        for name, own in cells.items()
    }
    run = f"../{claim['study']}/"
    if claim["study"] == "01_backbones":  # a folder of many runs, each with its own numbers
        run += f"{left['method'][0]}/" if len(left["method"]) == 1 else ""
    links = [f"[run]({run})"]
    own = f"{claim['paper']}_"
    table = max(
        shown, key=lambda name: (shown[name] and name.startswith(own), shown[name]), default=""
    )
    if shown.get(table):
        number = table.removeprefix(own).replace("_", " ")
        links.insert(0, f"[{number}]({table}.csv)")
    elif run != "../01_backbones/":
        links.insert(0, f"[metrics]({run}metrics.csv)")
    return ", ".join(links)


def _is_of(cell: Mapping[str, str], side: Selector) -> bool:
    return all(cell[key] in values for key, values in side.items())


def _table(lines: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[str]:
    """Lines of Markdown, without the columns that are empty in all."""
    if not lines:
        return ["Nothing of it is measured here."]
    shown = [name for name in columns if any(line[name] for line in lines)]
    rows = [shown, ["---"] * len(shown)]
    rows += [[line[name].replace("|", "/") for name in shown] for line in lines]
    return [f"| {' | '.join(row)} |" for row in rows]


def _column(ruling: pd.Series, name: str, second: str) -> object:
    """The ruling's column under a protocol; NaN where it has none."""
    return ruling.get(named(name, second), np.nan)
