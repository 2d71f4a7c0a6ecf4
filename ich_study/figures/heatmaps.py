"""Pictures of heatmaps and masks on slices, as the papers show them: a row per slice, a column per
method, in bands below each other where there are many methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from ich_study.ct.windows import WINDOWS, Window
from ich_study.errors import StudyError
from ich_study.figures.style import (
    CLASS_COLOURS,
    OUTLINE_COLOUR,
    POINT_COLOUR,
    codes_legend,
    fit_titles,
    heat_bar,
    letters,
    mark_sides,
    outline_box,
    outline_codes,
    said_of,
    show_hu,
)

SIDE = 1.75
"""Inches of a picture, where as many as stand beside each other leave room for it."""
WIDEST = 11.25
"""Inches of a figure: 1,690 pixels, read on a screen of 1,200."""
MOST = 8
"""Pictures beside each other; more columns stand in a further band."""
_BAR = 0.75
"""Inches of the colour bar's column."""
_POINT = {"color": POINT_COLOUR, "linestyle": "", "marker": "+", "markersize": 7, "mew": 1.4}
"""How a point is drawn."""
_BOX = {"color": CLASS_COLOURS["hemorrhage"], "linestyle": "", "marker": "s", "fillstyle": "none"}
"""How the legend shows a box."""


@dataclass(frozen=True)
class MapColumn:
    """One column of the grid. heatmaps: (N, S, S) in [0, 1], drawn over the slice, and outlined
    where it is 0 or 1 and nothing between. codes: (N, S, S)
    of mask codes, outlined in the colours of the subtypes, or bool, in a colour of its own. points:
    of each slice, (n, 2) of row and column, marked. Any may be None."""

    title: str
    heatmaps: np.ndarray | None = None
    codes: np.ndarray | None = None
    points: Sequence[np.ndarray] | None = None


def heatmap_grid(
    hu: np.ndarray,
    columns: Sequence[MapColumn],
    title: str,
    truth: np.ndarray | None = None,
    boxes: Sequence[np.ndarray] | None = None,
    row_titles: Sequence[str] | None = None,
    window: Window = WINDOWS["brain"],
    opacity: float = 0.55,
    across: int = 1,
    side: float = SIDE,
    shown_from: float = 0.0,
    intensity: str = "hu",
    outlined: str = "predicted mask",
    below: Sequence[MapColumn] = (),
) -> Figure:
    """A row per slice: the bare slice, the slice with its truth where there is one, then a column
    per method. Where more than `MOST` would stand beside each other, the methods are parted into
    bands, each with the slice and its truth.

    hu: (N, S, S). truth: mask codes or bool, outlined in the colours of the subtypes. boxes: of
    each slice, (n, 4) of x, y, width, height. across: slices that share a row, of a single band.
    side: of a picture, inches, less where the figure would be wider than `WIDEST`. shown_from: the
    threshold of all methods, where there is one; less heat is not drawn, so that the slice is seen
    there as it is. intensity: of the store; where it is not "hu", the title says what stands in for
    HU. outlined: what the columns' codes are, for the legend. below: a last band, of the first
    slice alone. Raises StudyError when shapes differ or there is nothing to show.
    """
    _require_shapes(hu, columns, title)
    _require_shapes(hu[:1], below, title)
    first = [MapColumn("slice")] + (
        [MapColumn("truth")] if truth is not None or boxes is not None else []
    )
    parts = _bands(columns, MOST - len(first))
    bands = [([*first, *part], len(hu)) for part in parts]
    bands += [([*first, *below], 1)] if below else []
    across = min(across, len(hu)) if len(bands) == 1 else 1
    most = across * max(len(shown) for shown, _ in bands)
    lines = [-(-count // across) for _, count in bands]
    every = [*columns, *below]
    heated = any(column.heatmaps is not None for column in every)
    beside = _BAR if heated else 0
    side = min(side, (WIDEST - beside) / most)
    size = letters(7.5, side * most + beside)
    high, wide = hu.shape[1:]
    height = side * high / wide * sum(lines) + 0.12 * size
    figure, axes = plt.subplots(
        sum(lines), most, figsize=(side * most + beside, height), squeeze=False
    )
    for axis in axes.flat:
        axis.set_visible(False)
    for number, (shown, count) in enumerate(bands):
        block = axes[sum(lines[:number]) : sum(lines[: number + 1])].reshape(-1, most // across)
        for row, axis_row in enumerate(block[:count]):
            for column, axis in zip(shown, axis_row):
                show_hu(axis, hu[row], window)
                _draw(axis, column, row, opacity, shown_from, size)
                if column.title == "truth" and truth is not None:
                    outline_codes(axis, truth[row])
                for box in boxes[row] if column.title == "truth" and boxes else ():
                    outline_box(axis, box, CLASS_COLOURS["hemorrhage"])
                # no ticks, no grid, the whole slice and nothing beside it
                axis.set_visible(True)
                axis.grid(visible=False)
                axis.set(xticks=[], yticks=[], xlim=(-0.5, wide - 0.5), ylim=(high - 0.5, -0.5))
                axis.set_title(column.title if row < across else "", fontsize=size)
            if row_titles is not None and number < len(parts):
                axis_row[0].set_ylabel(row_titles[row], fontsize=size)
            mark_sides(axis_row[0])
    if heated:
        heat_bar(figure, axes, size, shown_from)
    stand_in = "" if intensity == "hu" else f", from {intensity.partition(',')[0]}"
    figure.suptitle(f"{title}  ({said_of(window)}{stand_in})", fontsize=1.15 * size)
    _legend(figure, every, truth, boxes, outlined, size)
    fit_titles(figure)
    return figure


def _bands(columns: Sequence[MapColumn], most: int) -> list[Sequence[MapColumn]]:
    """The columns in as few parts of `most` as hold them, as even as they come; one without any."""
    parts = max(-(-len(columns) // most), 1)
    each = max(-(-len(columns) // parts), 1)
    return [columns[start : start + each] for start in range(0, max(len(columns), 1), each)]


def _legend(
    figure: Figure,
    columns: Sequence[MapColumn],
    truth: np.ndarray | None,
    boxes: Sequence[np.ndarray] | None,
    outlined: str,
    size: float,
) -> None:
    """What the lines, boxes and points that are drawn stand for."""
    drawn = [column.codes for column in columns if column.codes is not None and column.codes.any()]
    coded = [codes for codes in drawn if codes.dtype != bool]
    more = []
    if truth is not None and truth.dtype == bool:
        more.append(Line2D([], [], color=CLASS_COLOURS["hemorrhage"], label="truth"))
    if any(map(len, boxes or ())):
        more.append(Line2D([], [], label="truth: box", **_BOX))
    if drawn:
        colour = "0.35" if coded else OUTLINE_COLOUR
        more.append(Line2D([], [], color=colour, label=outlined))
    if any(len(places) for column in columns for places in column.points or ()):
        more.append(Line2D([], [], label="point", **_POINT))
    codes_legend(figure, [truth, *coded], size, more, "" if coded else "truth: ")


def _require_shapes(hu: np.ndarray, columns: Sequence[MapColumn], title: str) -> None:
    if not len(hu):
        raise StudyError(f"figure {title!r} has no slices to show")
    for column in columns:
        for part in (column.heatmaps, column.codes):
            if part is not None and part.shape != hu.shape:
                raise StudyError(
                    f"column {column.title!r} has shape {part.shape}, the slices {hu.shape}"
                )


def _draw(
    axis: Axes, column: MapColumn, row: int, opacity: float, shown_from: float, size: float
) -> None:
    nothing, rim = "", [withStroke(linewidth=1.5, foreground="black")]
    if column.heatmaps is not None:
        heat = np.asarray(column.heatmaps[row], np.float64)
        nothing = "" if heat.any() else "no heat"
        axis.imshow(
            heat,
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=opacity * np.clip(heat * 1.6, 0, 1) * (heat >= shown_from),
            interpolation="bilinear",
        )
        if set(np.unique(heat)) == {0.0, 1.0}:
            # the palest colour is not seen on blood, which is white
            line = {"colors": [plt.get_cmap("inferno")(1.0)], "linewidths": 0.7}
            axis.contour(heat, levels=[0.5], **line).set_path_effects(rim)
    if column.codes is not None:
        outline_codes(axis, column.codes[row], OUTLINE_COLOUR)
        if not column.codes[row].any():
            nothing = nothing or "no mask"
    if nothing:
        look = {"color": "white", "ha": "left", "va": "top", "path_effects": rim}
        axis.text(0.03, 0.98, nothing, fontsize=size, transform=axis.transAxes, **look)
    if column.points is not None and len(column.points[row]):
        places = np.asarray(column.points[row], np.float64)
        axis.plot(places[:, 1], places[:, 0], **_POINT)
