"""A printed table with our numbers in it as one picture, 1200 pixels wide."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import Rectangle

WIDTH = 8.0
"""Inches, which `style.save_figure` writes as 1200 pixels."""
ROW_NAMES = 1.25
LINE = 0.125
"""Inches of the column of row names, and of a line of text."""
WIDEST = 7
"""Columns of a block, unless one group of them is wider."""
LETTER = 0.047
"""Inches of a letter of a cell."""
FONT = 6.2
NOTE_LETTERS = 150
"""Of a line of a note."""
HIGHER, LOWER = "#0072B2", "#E69F00"
"""Shades of a number above and below the printed one, told apart by every reader (Okabe-Ito)."""
STRONGEST = 0.3
"""Of a shade: grey letters on it keep a contrast of 4.5."""
PRINTED = "#595959"
READINGS = (("", "#000000"), ("† ", "#882255"), ("‡ ", "#117733"))
"""Mark and colour of our numbers, for each reading, in the order of the table's lines."""
Cell = Mapping[Hashable, Any]
Marks = Mapping[str, tuple[str, str]]
"""Of a reading its mark and colour."""
Lines = list[tuple[str, str]]
"""Text and colour of the lines of a cell."""
RowLines = tuple[str, list[Lines], list[float]]
"""Of a row its name, the lines of its cells, and how they are shaded."""


def table_figure(
    cells: pd.DataFrame, columns: Sequence[str], title: str, notes: Sequence[str] = ()
) -> Figure:
    """The printed numbers in grey with the difference in brackets, ours below with the interval.

    cells: long, columns row, column, reading, printed, printed_value, ours, difference, value; a
    cell without difference is not shaded. columns: of the paper, in order; what is wider than the
    page stands in blocks below each other. notes: what stands below the table.
    """
    marks = dict(zip(cells.loc[cells["ours"] != "", "reading"].unique(), READINGS))
    heading = textwrap.wrap(title, 100, break_on_hyphens=False)
    shaded = " (ours minus printed; blue: ours is higher, orange: lower)"
    key = f"printed{shaded if cells['difference'].any() else ''}"
    legend = [(key, PRINTED)] if cells["printed"].any() else []
    legend += [(mark + reading, colour) for reading, (mark, colour) in marks.items()]
    for note in notes:
        legend += [(line, "#000000") for line in textwrap.wrap(note, NOTE_LETTERS)]
    blocks = [(part, _row_lines(cells, part, marks)) for part in column_blocks(columns)]
    height = sum(_height(name, lines) for _, rows in blocks for name, lines, _ in rows)
    height += sum(LINE * (_header(part)[2] + 1.5) for part, _ in blocks)
    height += LINE * (1.5 * len(heading) + len(legend) + 1.5)
    # "none" would come back as the study's own layout once the figure is saved
    layout = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)
    figure = plt.figure(figsize=(WIDTH, height), layout=layout)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(height, 0))
    axis.set_axis_off()
    y = 0.6 * LINE
    for line in heading:
        axis.text(0.08, y, line, fontsize=8.5, weight="bold", va="top")
        y += 1.5 * LINE
    for part, rows in blocks:
        y = _draw(axis, y, part, rows)
    for text, colour in legend:
        axis.text(0.08, y, text, fontsize=FONT, color=colour, va="top")
        y += LINE
    return figure


def column_blocks(columns: Sequence[str]) -> list[list[str]]:
    """Columns in blocks of at most WIDEST; those with the same words before a comma or a bracket
    stay together.

    >>> column_blocks(["Dice [-1]", "Dice [-2]", "IoU [-1]", "IoU [-2]"])
    [['Dice [-1]', 'Dice [-2]', 'IoU [-1]', 'IoU [-2]']]
    """
    blocks: list[list[str]] = [[]]
    for _, group in groupby(columns, key=lambda name: name.partition(", ")[0].partition(" [")[0]):
        together = list(group)
        if blocks[-1] and len(blocks[-1]) + len(together) > WIDEST:
            blocks.append([])
        blocks[-1] += together
    return blocks


def _row_lines(cells: pd.DataFrame, columns: Sequence[str], marks: Marks) -> list[RowLines]:
    """The rows that have something in these columns."""
    width, found = _width(columns), []
    for row, own in cells.groupby("row", sort=False):
        parts = [own[own["column"] == name].to_dict("records") for name in columns]
        if any(parts):
            lines = [_cell_lines(part, marks, width) for part in parts]
            found.append((row, lines, [_shade(part) for part in parts]))
    return found


def _cell_lines(own: Sequence[Cell], marks: Marks, width: float) -> Lines:
    """Lines of one cell; a number and its interval are parted where the column is too narrow."""
    texts = []
    changes = [cell["difference"] for cell in own if cell["difference"]]
    after = f" ({changes[0]})" if changes else ""
    for printed in dict.fromkeys(cell["printed"] for cell in own if cell["printed"]):
        texts.append((printed + after, " (", PRINTED))
    ours = {cell["reading"]: cell["ours"] for cell in own if cell["ours"]}
    texts += [
        (mark + ours[reading], " [", colour)
        for reading, (mark, colour) in marks.items()
        if reading in ours
    ]
    lines: Lines = []
    for text, bracket, colour in texts:
        first, there, rest = text.partition(bracket)
        narrow = there and len(text) * LETTER > width
        parts = [first, there.strip() + rest] if narrow else [text]
        lines += [(part, colour) for part in parts]
    return lines


def _shade(own: Sequence[Cell]) -> float:
    """The difference in proportion to the larger of both numbers, -1 to 1; 0 where there is
    none."""
    for cell in own:
        if cell["difference"]:
            largest = max(abs(cell["value"]), abs(cell["printed_value"]))
            share = (cell["value"] - cell["printed_value"]) / largest if largest else 0.0
            return min(max(share, -1.0), 1.0)  # numbers of either sign are further apart
    return 0.0


def _width(columns: Sequence[str]) -> float:
    return (WIDTH - ROW_NAMES - 0.1) / max(len(columns), 4)


def _row_name(name: str) -> str:
    return textwrap.fill(name, 22)


def _height(name: str, cells: list[Lines]) -> float:
    return LINE * (max(_row_name(name).count("\n") + 1, *map(len, cells)) + 0.6)


def _header(columns: Sequence[str]) -> tuple[str, list[str], int]:
    """What a block's columns share, the names of the columns, wrapped, and the lines of both."""
    groups = {name.partition(", ")[0] for name in columns}
    shared = groups.pop() if len(columns) > 1 and len(groups) == 1 else ""
    letters = max(6, int(_width(columns) / (1.3 * LETTER)))
    names = [textwrap.fill(name.removeprefix(f"{shared}, "), letters) for name in columns]
    return shared, names, max(name.count("\n") for name in names) + 1 + bool(shared)


def _draw(axis: Axes, y: float, columns: Sequence[str], rows: list[RowLines]) -> float:
    """One block from `y` inches downwards; returns where it ends."""
    width = _width(columns)
    left = [ROW_NAMES + width * number for number in range(len(columns))]
    shared, names, lines = _header(columns)
    axis.text(left[0] + 0.03, y, shared, fontsize=7.5, weight="bold", va="top")
    y += LINE * lines
    for x, name in zip(left, names):
        axis.text(x + 0.03, y, name, fontsize=FONT, weight="bold", va="bottom")
    y += 0.3 * LINE
    for name, cells, shades in rows:
        height = _height(name, cells)
        axis.plot([0.05, WIDTH - 0.05], [y, y], color="0.8", linewidth=0.5)
        axis.text(0.08, y + 0.3 * LINE, _row_name(name), fontsize=FONT, va="top")
        for x, lines, shade in zip(left, cells, shades):
            colour = HIGHER if shade > 0 else LOWER
            box = Rectangle((x, y), width, height, color=colour, alpha=STRONGEST * abs(shade), lw=0)
            axis.add_patch(box)
            for number, (text, ink) in enumerate(lines):
                place = y + LINE * (number + 0.3)
                axis.text(x + 0.03, place, text, fontsize=FONT, color=ink, va="top")
        y += height
    return y + 1.2 * LINE
