"""Printed numbers of the five papers that contradict themselves: flagged, never corrected.

`identities.py` holds the rules inside tables; here are those between tables and text: `links.csv`
says which printed numbers state the same thing, or bound each other, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pandas as pd

from ich_study.errors import StudyError
from ich_study.published.tables import load_all
from tools.printed.checks import INFINITY, Cells, Check, about, check_frame, point
from tools.printed.identities import RULES
from tools.printed.rounding import Interval

LINK_COLUMNS = (
    "rule",
    "paper",
    "table",
    "row",
    "column",
    "relation",
    "other_paper",
    "other_table",
    "other_row",
    "other_column",
    "why",
)

SUMS: tuple[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], ...] = (
    (
        ("cam_benchmark", "text_data", "Hemorica", "slices"),
        (("Hemorica", "positive slices"), ("Hemorica", "negative slices")),
    ),
    (
        ("cam_benchmark", "text_data", "Hemorica", "slices"),
        (("training", "slices"), ("test", "slices")),
    ),
    (
        ("cam_benchmark", "text_data", "Hemorica", "studies, Section III-A"),
        (("training", "patients"), ("test", "patients")),
    ),
    (
        ("resnet_lstm", "text_data", "INSTANCE", "scans"),
        (("training", "subjects"), ("validation", "subjects"), ("test", "subjects")),
    ),
)
"""A total and the parts, in the same table, that add up to it."""

SHARES: tuple[tuple[tuple[str, ...], tuple[str, str], tuple[str, str]], ...] = (
    (
        ("cam_benchmark", "text_data", "training", "share of studies"),
        ("training", "patients"),
        ("Hemorica", "studies, Section III-A"),
    ),
    (
        ("cam_benchmark", "text_data", "test", "share of studies"),
        ("test", "patients"),
        ("Hemorica", "studies, Section III-A"),
    ),
)
"""A share, and the part and the whole it is of."""


def check_all(frame: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every rule over the printed tables (`tables.load_all()` unless given), columns
    `checks.CHECK_COLUMNS`.

    A row per checked number: the interval that the paper's other numbers allow, the interval it was
    rounded from, and the verdict `consistent` or `contradicts`, contradictions first. Rules about
    tables that the frame does not hold do not apply. Raises StudyError if a table is there without
    a cell that a rule needs.
    """
    cells = Cells(load_all() if frame is None else frame)
    rules = (
        *RULES,
        linked_numbers,
        sums_of_parts,
        shares_of_wholes,
        subtype_counts,
        negative_share,
        slices_per_volume,
        fold_cover,
    )
    return check_frame(check for rule in rules for check in rule(cells))


def load_links() -> pd.DataFrame:
    """The links between printed numbers, columns `LINK_COLUMNS`. Raises StudyError on other
    columns."""
    path = Path(__file__).with_name("links.csv")
    links = pd.read_csv(path, dtype="string", keep_default_na=False)
    if tuple(links.columns) != LINK_COLUMNS:
        raise StudyError(
            f"links.csv has columns {list(links.columns)}; expected {list(LINK_COLUMNS)}"
        )
    return links


def linked_numbers(cells: Cells) -> Iterator[Check]:
    """Numbers that state the same thing (`equal`), or of which one is said to exceed the other
    (`above`)."""
    for link in load_links().itertuples():
        if not (
            cells.has(link.paper, link.table) and cells.has(link.other_paper, link.other_table)
        ):
            continue
        cell = cells.at(link.paper, link.table, link.row, link.column)
        other = cells.at(link.other_paper, link.other_table, link.other_row, link.other_column)
        yield about(
            cell,
            link.rule,
            _related(other.interval, other.number.value, link.relation),
            f"{link.why}: {other.as_printed}",
        )


def _related(interval: Interval, value: Fraction, relation: str) -> Interval:
    if relation == "equal":
        return interval
    if relation == "above":
        return Interval(value, INFINITY)
    raise StudyError(f"links.csv: relation {relation!r}; expected equal or above")


def sums_of_parts(cells: Cells) -> Iterator[Check]:
    """Totals printed beside their parts (`SUMS`)."""
    for total, parts in SUMS:
        if cells.has(*total[:2]):
            numbers = [cells.at(*total[:2], *part).number.value for part in parts]
            yield about(
                cells.at(*total),
                "sum of parts",
                point(sum(numbers)),
                " + ".join(str(n) for n in numbers),
            )


def shares_of_wholes(cells: Cells) -> Iterator[Check]:
    """Shares printed beside the counts they are of (`SHARES`)."""
    for share, part, whole in SHARES:
        if cells.has(*share[:2]):
            ratio = (
                cells.at(*share[:2], *part).number.value / cells.at(*share[:2], *whole).number.value
            )
            yield about(
                cells.at(*share), "share of the whole", point(ratio), f"{part[0]} {part[1]} of all"
            )


def subtype_counts(cells: Cells) -> Iterator[Check]:
    """CAM: slices of the subtypes, which can overlap, are together no fewer than the positive
    slices."""
    counts = [
        cell.number.value
        for cell in cells.table("cam_benchmark", "text_data")
        if cell.label in {"IPH", "IVH", "EDH", "SDH", "SAH"}
    ]
    if counts:
        cell = cells.at("cam_benchmark", "text_data", "Hemorica", "positive slices")
        allowed = Interval(max(counts), sum(counts))
        yield about(
            cell,
            "positive slices have a subtype",
            allowed,
            "from the largest subtype to the sum of all",
        )


def negative_share(cells: Cells) -> Iterator[Check]:
    """CAM: negatives are over the printed share of all slices."""
    place = ("cam_benchmark", "text_data", "Hemorica")
    if cells.has(*place[:2]):
        ratio = (
            cells.at(*place, "negative slices").number.value
            / cells.at(*place, "slices").number.value
        )
        bound = cells.at(*place, "share of negative slices")
        value = point(bound.number.value)
        yield Check(
            bound.address,
            "lower bound",
            Interval(Fraction(0), ratio),
            value,
            bound.as_printed,
            "negative slices of all slices",
        )


def slices_per_volume(cells: Cells) -> Iterator[Check]:
    """ResNet-LSTM: training and validation slices are the same number per volume."""
    place = ("resnet_lstm", "text_data")
    if cells.has(*place):
        per_volume = (
            cells.at(*place, "training", "slices").number.value
            / cells.at(*place, "training", "subjects").number.value
        )
        subjects = cells.at(*place, "validation", "subjects").number.value
        printed = cells.at(*place, "validation", "slices")
        yield about(
            printed,
            "slices per volume",
            point(per_volume * subjects),
            f"{per_volume} per volume, as in training",
        )


def fold_cover(cells: Cells) -> Iterator[Check]:
    """ResNet-LSTM: the test parts of a k-fold cross-validation are together all scans."""
    place = ("resnet_lstm", "text_data")
    if cells.has(*place):
        scans, folds = (
            cells.at(*place, "INSTANCE", "scans").number.value,
            cells.at(*place, "INSTANCE", "folds").number.value,
        )
        yield about(
            cells.at(*place, "test", "subjects"),
            "folds cover the scans",
            point(scans / folds),
            f"{scans} scans in {folds} folds",
        )
