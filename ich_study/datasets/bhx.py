"""BHX: bounding boxes of hemorrhage on CQ500, as published on PhysioNet (Reis et al. 2020, version
1.1).

One CSV per stage of labelling; columns, after an unnamed index: SOPInstanceUID, SeriesInstanceUID,
StudyInstanceUID, data, labelName, labelType. `data` is a Python dict literal with x, y (top left
corner), width and height in pixels of the stored slice.

A slice without a box is negative, so a table that lost its last lines would make negatives. One cut
inside a line is refused; one cut between two lines looks whole. PhysioNet's SHA256SUMS.txt beside
the tables tells (`files.read_table`), and so does the number of boxes that was published
(`unvouched`).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ich_study.datasets.files import SUMS_NAME, read_table, stated_sum
from ich_study.errors import DataError

LABEL_NAMES: dict[str, str] = {
    "Intraparenchymal": "IPH",
    "Intraventricular": "IVH",
    "Subarachnoid": "SAH",
    "Subdural": "SDH",
    "Epidural": "EDH",
}
"""labelName to the study's subtypes; `Chronic`, which is no subtype, is kept apart."""
CHRONIC = "Chronic"
BOXED_BY_HAND = "1_Initial_Manual_Labeling.csv"
BOXED_IN_ALL_SERIES = "2_Extrapolation_to_All_Series.csv"
PUBLISHED_BOXES: dict[str, int] = {
    BOXED_BY_HAND: 6283,
    BOXED_IN_ALL_SERIES: 39668,
    "3_Extrapolation_to_Selected_Series.csv": 27203,
}
"""Boxes of each table of version 1.1: counted in the first and the third; BHX's page says of all
tables "up to 39,668", which is the one of all series."""
_COLUMNS = ("SOPInstanceUID", "SeriesInstanceUID", "data", "labelName")
SIDES = ("x", "y", "width", "height")


def read_boxes(paths: Sequence[Path]) -> pd.DataFrame:
    """All boxes of the CSVs: sop_uid, series_uid, x, y, width, height (stored pixels), label,
    chronic.

    `label` is a subtype, or `any` where `chronic`. A box that stands in several files counts once.
    Raises DataError naming the file and line of a box that cannot be read.
    """
    rows = [row for path in paths for row in _rows(path)]
    columns = ["sop_uid", "series_uid", *SIDES, "label", "chronic"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates(ignore_index=True)


def unvouched(path: Path) -> list[str]:
    """What to tell of a table of boxes that no checksum beside it vouches for; empty where one
    does, or where it has as many boxes as BHX published under its name.

    A count that is not the published one is told as the check `missing-labels`.
    """
    if stated_sum(path) is not None:
        return []
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    found, published = len(lines) - 1, PUBLISHED_BOXES.get(path.name)
    if found == published:
        return []
    if published is None:
        return [
            f"{path.name} holds {found:,} boxes; how many there should be is not known: no"
            f" {SUMS_NAME} beside it names it"
        ]
    return [
        f"missing-labels: {path.name} holds {found:,} boxes, expected {published:,} as BHX 1.1 has"
        " them; a slice whose boxes are lost counts as negative. Fetch it again; if it is yours,"
        f" write {SUMS_NAME} beside it with sha256sum"
    ]


def _rows(path: Path) -> list[tuple[object, ...]]:
    table = read_table(path, _COLUMNS, "Fetch this box table of BHX again")
    if not path.read_bytes().endswith(b"\n"):
        # A box that is lost makes its slice negative, and nothing else tells how many there are.
        raise DataError(f"{path}: its last line does not end, so it was cut; fetch it again")
    rows = []
    for line, (sop_uid, series_uid, data, name) in enumerate(
        table[list(_COLUMNS)].itertuples(index=False, name=None), start=2
    ):
        if name != CHRONIC and name not in LABEL_NAMES:
            raise DataError(
                f"{path}: line {line} has labelName {name!r}; expected one of"
                f" {', '.join([*LABEL_NAMES, CHRONIC])}"
            )
        rows.append(
            (
                sop_uid,
                series_uid,
                *_box(data, path, line),
                LABEL_NAMES.get(name, "any"),
                name == CHRONIC,
            )
        )
    return rows


def _box(data: str, path: Path, line: int) -> tuple[float, ...]:
    """x, y, width, height of one `data` cell; only literals are evaluated, never code."""
    try:
        parsed = ast.literal_eval(data)
        box = tuple(float(parsed[side]) for side in SIDES)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise DataError(
            f"{path}: line {line} has no box in `data`; expected {{'x': .., 'y': .., 'width': ..,"
            " 'height': ..}"
        ) from error
    if not all(map(math.isfinite, box)) or min(box[2:]) <= 0:
        raise DataError(f"{path}: line {line} has a box of no area or without finite sides: {box}")
    return box
