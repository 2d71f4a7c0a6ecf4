"""Tables of the phantom: where each solid of the head lies and how large it is, where hematomas
lie, and which subtypes occur together.

A row of anatomy is a solid, in canonical mm (x to the left, y to posterior, z to superior): `x, y,
z` its centre or start, `end_x, end_y, end_z` the end of a tube, `a, b, c` semi-axes, radii in mm,
HU and shares as the columns say. An empty cell is None.
"""

from __future__ import annotations

import csv
from importlib.resources import files

Cell = str | float | None
Row = dict[str, Cell]
Point = tuple[float, float, float]
_TEXT = ("group", "name")


def read_rows(table: str, group: str | None = None) -> list[Row]:
    """Rows of a table, in its order, of one group where one is named.

    >>> [row["name"] for row in read_rows("vessels", "sinus")][:2]
    ['straight', 'transverse']
    """
    with (files(__name__) / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = []
    for row in rows:
        if group is None or row["group"] == group:
            found.append({name: _cell(name, text) for name, text in row.items()})
    return found


def _cell(name: str, text: str) -> Cell:
    if name in _TEXT:
        return text
    return float(text) if text else None


def centre(row: Row) -> Point:
    """Centre or start of a solid, (x, y, z)."""
    return row["x"], row["y"], row["z"]


def axes(row: Row) -> Point:
    """Semi-axes of a solid, along x, y and z; of a tube the first two are its radii."""
    return row["a"], row["b"], row["c"]


def end(row: Row) -> Point | None:
    """End of a tube, (x, y, z); None for a solid that is no tube."""
    return None if row["end_x"] is None else (row["end_x"], row["end_y"], row["end_z"])
