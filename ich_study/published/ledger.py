"""The ledger of claims as a page that is read in two minutes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np
import pandas as pd

from ich_study.figures.names import readable
from ich_study.published.beside import RebuiltTable
from ich_study.published.claims import (
    BOUNDS,
    CLOCK_METRICS,
    METHOD,
    SECOND,
    VERDICTS,
    claim_sides,
    load_claims,
    named,
)
from ich_study.published.lookup import Selector, row_keys
from ich_study.published.tables import PAPERS
from ich_study.schema import SUBTYPES

TOLD: dict[str, str] = {"": "", "ours": "under our protocol", "boxes": "against boxes"}
"""A claim's protocols, the paper's first, and how a verdict under another is told."""
MEASURES: dict[str, str] = {
    "f1": "F1",
    "f1_top5": "top-5 F1",
    "point_ppv": "PPV of points",
    "point_ppv_one_to_one": "PPV of points, one to one",
    "point_sensitivity": "sensitivity of points",
    "rvd": "volume difference",
    "tpr": "true positive rate",
    "box_rvd": "volume difference of boxes",
    "box_tpr": "true positive rate of boxes",
    "box_precision": "precision in boxes",
    "box_pointing_game": "pointing game in boxes",
    "box_mass_inside": "heat inside boxes",
    "box_truth_dice": "Dice of filled boxes",
    "box_truth_iou": "IoU of filled boxes",
}
"""Measures whose words `readable` does not know."""
FEW = 2
"""Measures that a line names; more are counted."""
COLUMNS = (
    "id",
    "claim",
    "verdict",
    "95 % interval of the difference",
    "seed to seed",
    "why",
    "see",
)
EXPLAINED = (
    "Verdicts are those under the paper's protocol unless they say otherwise. *Ours* means"
    " thresholds that saw no test mask, on held-out patients; *boxes*, that the truth is boxes. The"
    " interval spans all comparisons of a claim. Seed to seed is how far its differences move when"
    " the networks are trained from another seed; a smaller gain is noise. Where verdicts agree,"
    " the numbers are of the first; [claims.csv](claims.csv) has all. Claims that nothing here can"
    " measure are counted and not listed."
)


def ledger_page(ledger: pd.DataFrame, title: str, tables: Sequence[RebuiltTable] = ()) -> str:
    """Counts of verdicts by paper, then a line per claim, as Markdown: what is claimed, the
    verdicts, the interval of the difference and the floor under it, why it is not supported, the
    table that shows the cell and the run.

    ledger: of `noise.with_floor`. tables: of `beside.rebuilt_tables`, which lie beside the page.
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
    lines += [EXPLAINED, "", f"Claims about time ({named}) stand in `claims.csv` alone.", ""]
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


def few_words(verdict: str, reason: str) -> str:
    """Why a claim is undecided or contradicted; empty for one that is supported.

    >>> few_words("undecided", "3 of 5 comparisons hold, none is refuted")
    '2 of 5 comparisons open'
    """
    if verdict == "supported":
        return ""
    if counted := re.match(r"(\d+) of (\d+) comparisons ", reason):
        count, total = map(int, counted.groups())
        if total == 1:  # the interval beside it says all
            return ""
        if verdict == "contradicted":
            return f"{count} of {total} comparisons fail"
        return f"{total - count} of {total} comparisons open"
    if few := re.search(r"cannot be decided with (\d+) patients: (.*)", reason):
        words = re.findall(r"\w+", few[2])
        subtypes = ", ".join(name for name in SUBTYPES if name in words)
        return f"{few[1]} patients are too few{subtypes and f' for {subtypes}'}"
    return reason


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
    verdicts, differences, floors, reasons = [], [], [], []
    first = _column(ruling, "verdict", there[0])
    for second in there:
        verdict = str(_column(ruling, "verdict", second))
        if second != there[0] and verdict == first:  # its numbers stand in claims.csv
            verdicts.append(f"also {TOLD[second]}")
            continue
        shown = f"**{verdict}**" if verdict in DECIDED else verdict
        verdicts.append(f"{shown} {TOLD[second]}".strip())
        bounds = [_column(ruling, bound, second) for bound in BOUNDS]
        between = _numbers(*bounds)
        if between and second == there[0]:  # the measure is named once
            between = f"{_measure(claim, second)} {between}"
        label = "" if second == there[0] else second
        differences.append((label, between))
        floors.append((label, _numbers(_column(ruling, METHOD, second))))
        reasons.append((label, few_words(verdict, str(_column(ruling, "reason", second)))))
    told = (_joined(each) for each in (differences, floors, reasons))
    parts = (ruling["claim_id"], claim["short"], ", ".join(verdicts), *told)
    return dict(zip(COLUMNS, (*parts, _links(claim, there[0], cells))))


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


def _measure(claim: pd.Series, second: str) -> str:
    """What is compared, in words; with the printed number it is compared with."""
    left, right = claim_sides(claim, second)
    name = ", ".join(map(_words, left["metric"]))
    if len(left["metric"]) > FEW:
        name = f"{len(left['metric'])} measures"
    return f"{name} less {right:g}:" if isinstance(right, float) else f"{name}:"


def _words(metric: str) -> str:
    measure, _, threshold = metric.partition("@")
    name = MEASURES.get(measure) or readable(measure)
    return f"{name} at {threshold}" if threshold else name


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


def _joined(texts: Sequence[tuple[str, str]]) -> str:
    """Texts that say something, each behind its protocol's label."""
    return "; ".join(f"{label} {text}".strip() for label, text in texts if text)


def _numbers(*values: float) -> str:
    return "" if any(map(pd.isna, values)) else " to ".join(f"{value:.3f}" for value in values)
