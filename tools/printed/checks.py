"""What a check of printed numbers gives, and the cells it reads.

A check states which interval a number must meet if the paper's other numbers hold, each within the
rounding it was printed with; it contradicts when no unrounded values could satisfy both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import pandas as pd

from ich_study.errors import StudyError
from tools.printed.rounding import Interval, Printed
from tools.printed.transcribed import printed_number

Address = tuple[str, str, str, str]
"""paper, table, row, column: one printed cell."""

CHECK_COLUMNS: tuple[str, ...] = (
    "paper",
    "table",
    "row",
    "column",
    "rule",
    "expected_low",
    "expected_high",
    "as_printed",
    "printed_low",
    "printed_high",
    "verdict",
    "why",
)

INFINITY = float("inf")


@dataclass(frozen=True)
class Check:
    """One printed number against what the others imply. `why` names the others."""

    address: Address
    rule: str
    expected: Interval
    printed: Interval
    as_printed: str
    why: str

    @property
    def verdict(self) -> str:
        """`consistent` if some number lies in both intervals, else `contradicts`."""
        return "consistent" if self.expected.meets(self.printed) else "contradicts"


@dataclass(frozen=True)
class Cell:
    """One printed number with its place and typography."""

    address: Address
    method: str
    layer: str
    metric: str
    label: str
    bold: bool
    as_printed: str
    number: Printed

    @property
    def interval(self) -> Interval:
        """What the number was rounded from."""
        return self.number.interval


class Cells:
    """The cells of some tables, by address; rules about tables that are not among them do not
    apply."""

    def __init__(self, frame: pd.DataFrame) -> None:
        """frame: rows typed as `tables.TABLE_COLUMNS`."""
        self._cells = {
            cell.address: cell for cell in map(_cell, (row for _, row in frame.iterrows()))
        }
        self._tables = {address[:2] for address in self._cells}

    def has(self, paper: str, table: str) -> bool:
        """Whether any cell of the table is here."""
        return (paper, table) in self._tables

    def at(self, *address: str) -> Cell:
        """The cell at paper, table, row, column. Raises StudyError if its table is here without
        it."""
        if address not in self._cells:
            raise StudyError(
                f"no printed number at {' / '.join(address)}; a check expects one there"
            )
        return self._cells[address]

    def table(self, paper: str, table: str) -> list[Cell]:
        """The cells of one table in print order; none if the table is not here."""
        return [cell for cell in self._cells.values() if cell.address[:2] == (paper, table)]

    def rows(self, paper: str, table: str) -> dict[str, list[Cell]]:
        """The cells of one table by row label."""
        return _grouped((cell.address[2], cell) for cell in self.table(paper, table))

    def columns(self, paper: str, table: str) -> dict[str, list[Cell]]:
        """The cells of one table by column heading."""
        return _grouped((cell.address[3], cell) for cell in self.table(paper, table))


class Keyed(dict):
    """Cells by some key; one that a rule needs and that is not there is a StudyError, not a
    KeyError."""

    def __missing__(self, key: object) -> Cell:
        here = ", ".join(
            sorted({f"{cell.address[0]} / {cell.address[1]}" for cell in self.values()})
        )
        raise StudyError(
            f"no printed number for {key!r} in {here or 'an empty row'}; a check expects one there"
        )


def about(cell: Cell, rule: str, expected: Interval, why: str) -> Check:
    """The check that `cell` meets `expected`."""
    return Check(cell.address, rule, expected, cell.interval, cell.as_printed, why)


def check_frame(checks: Iterable[Check]) -> pd.DataFrame:
    """Checks as a table, columns `CHECK_COLUMNS`, contradictions first."""
    rows = [
        (
            *check.address,
            check.rule,
            float(check.expected.low),
            float(check.expected.high),
            check.as_printed,
            float(check.printed.low),
            float(check.printed.high),
            check.verdict,
            check.why,
        )
        for check in checks
    ]
    return pd.DataFrame(rows, columns=list(CHECK_COLUMNS)).sort_values(
        "verdict", ascending=False, kind="stable", ignore_index=True
    )


def point(number: int | Fraction) -> Interval:
    """An exact number as an interval."""
    return Interval(Fraction(number), Fraction(number))


def _cell(row: pd.Series) -> Cell:
    text = {
        name: "" if pd.isna(row[name]) else str(row[name])
        for name in ("method", "layer", "metric", "class")
    }
    address = (row["paper"], row["table"], row["row"], row["column"])
    bold = row["emphasis"] == "bold"
    return Cell(
        address,
        text["method"],
        text["layer"],
        text["metric"],
        text["class"],
        bold,
        row["as_printed"],
        printed_number(row),
    )


def _grouped(pairs: Iterable[tuple[str, Cell]]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for key, cell in pairs:
        groups.setdefault(key, []).append(cell)
    return groups
