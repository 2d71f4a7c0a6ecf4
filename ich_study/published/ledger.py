"""The ledger of claims as a page that is read in two minutes."""

from __future__ import annotations

import pandas as pd

from ich_study.published.claims import CLOCK_METRICS, VERDICTS
from ich_study.published.tables import PAPERS

SHORT = 90
"""Characters of a sentence that a line shows."""
SECOND_TOLD = {"Under our protocol ": "verdict_ours", "Against boxes ": "verdict_boxes"}
"""How the counts of a second verdict begin; told where one of them is measured."""


def ledger_page(ledger: pd.DataFrame, title: str) -> str:
    """Verdicts by paper, a line each, as Markdown: claim, what was found under the paper's
    protocol, under ours and against boxes, from where to where the intervals of the differences
    reach, how far the metric moves from seed to seed, the sentence, and the runs and tables that
    decided.

    ledger: of `claims.verdicts`, `noise.with_floor`. Claims that nothing here can measure are
    counted, not listed. Those about time are neither: equal runs would give other pages.
    """
    timed = ledger["metric"].isin(CLOCK_METRICS)
    named = ", ".join(ledger.loc[timed, "claim_id"])
    lines = [f"# Claims of the five papers: {title}", ""]
    lines += [f"Judged by a clock, so in `claims.csv` alone: {named}.", ""]
    ledger = ledger[~timed]
    for paper, name in PAPERS.items():
        own = ledger[ledger["paper"] == paper]
        said = [_counted(own["verdict"])]
        for told, column in SECOND_TOLD.items():
            if own[column].isin(VERDICTS[:-1]).any():
                said.append(told + _counted(own[column]))
        lines += [f"## {name}", "", " ".join(said), ""]
        columns = "| claim | verdict | ours | boxes | difference | seed to seed | sentence | runs |"
        lines += [columns, "|" + "---|" * 8]
        verdicts = own[["verdict", "verdict_ours", "verdict_boxes"]]
        measured = ~verdicts.isin(["not measured", ""]).all(axis=1)
        for row in own[measured].itertuples():
            found = f"{row.verdict} | {row.verdict_ours} | {row.verdict_boxes}"
            link = f"[{row.study}](../{row.study}/)"
            if row.study != "01_backbones":  # a folder of many runs, each with its own
                link += f", [table](../{row.study}/metrics.csv)"
            gain = _numbers(row.difference_low, row.difference_high)
            told = f"{found} | {gain} | {_numbers(row.seed_to_seed)}"
            lines.append(f"| {row.claim_id} | {told} | {_short(row.sentence)} | {link} |")
        lines.append("")
    return "\n".join(lines)


def _counted(verdicts: pd.Series) -> str:
    counts = verdicts.value_counts()
    return ", ".join(f"{counts.get(each, 0)} {each}" for each in VERDICTS) + "."


def _numbers(*values: float) -> str:
    if any(map(pd.isna, values)):
        return ""
    return " to ".join(f"{value:.3f}" for value in values)


def _short(sentence: str) -> str:
    text = sentence.replace("|", "/")
    return text if len(text) <= SHORT else f"{text[:SHORT].rsplit(' ', 1)[0]} ..."
