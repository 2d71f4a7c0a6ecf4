"""Pictures of heatmaps and masks on slices, as the papers show them: a row per slice, a column per
method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ich_study.ct.windows import WINDOWS, Window
from ich_study.errors import StudyError
from ich_study.figures.style import (
    CLASS_COLOURS,
    POINT_COLOUR,
    codes_legend,
    fit_titles,
    heat_bar,
    letters,
    mark_sides,
    outline_box,
    outline_codes,
    show_hu,
)

SIDE = 1.75
"""Inches of a picture."""
_BAR = 0.75
"""Inches of the colour bar's column."""
_POINT = {"color": POINT_COLOUR, "linestyle": "", "marker": "+", "markersize": 7, "mew": 1.4}
"""How a point is drawn."""


@dataclass(frozen=True)
class MapColumn:
    """One column of the grid. heatmaps: (N, S, S) in [0, 1], drawn over the slice. codes: (N, S, S)
    of mask
    codes, or bool, outlined. points: of each slice, (n, 2) of row and column, marked. Either may be
    None."""

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
    heat_names: Mapping[float, str] | None = None,
    side: float = SIDE,
    shown_from: float = 0.0,
    intensity: str = "hu",
) -> Figure:
    """A row per slice: the bare slice, the slice with its truth where there is one, then a column
    per method.

    hu: (N, S, S). truth: mask codes or bool, outlined in the colours of the subtypes. boxes: of
    each slice, (n, 4) of x, y, width, height. across: slices that share a row. heat_names: of
    places on the colour bar, in place of numbers. side: of a picture, inches. shown_from: less heat
    than this is not drawn, so that the slice is seen there as it is. intensity: of the store; where
    it is not "hu", the title says what stands in for HU. Raises StudyError when
    shapes differ or there is nothing to show.
    """
    _require_shapes(hu, columns, title)
    first = [MapColumn("slice")] + (
        [MapColumn("truth")] if truth is not None or boxes is not None else []
    )
    shown = [*first, *columns]
    heated = any(column.heatmaps is not None for column in columns)
    across = min(across, len(hu))
    lines = -(-len(hu) // across)
    width = side * across * len(shown) + (_BAR if heated else 0)
    size = letters(7.5, width)
    figure, axes = plt.subplots(
        lines,
        across * len(shown),
        figsize=(width, side * hu.shape[1] / hu.shape[2] * lines + 0.12 * size),
        squeeze=False,
    )
    by_slice = axes.reshape(lines * across, len(shown))
    for axis in by_slice[len(hu) :].flat:
        axis.set_visible(False)
    for row, axis_row in enumerate(by_slice[: len(hu)]):
        for column, axis in zip(shown, axis_row):
            show_hu(axis, hu[row], window)
            _draw(axis, column, row, opacity, shown_from)
            if column.title == "truth":
                _outline_truth(axis, row, truth, boxes)
            if row < across:
                axis.set_title(column.title, fontsize=size)
            _bare(axis, hu.shape[1:])
        if row_titles is not None:
            axis_row[0].set_ylabel(row_titles[row], fontsize=size)
        mark_sides(axis_row[0])
    if heated:
        heat_bar(figure, axes, size, heat_names, shown_from)
    said = f"window: level {window.center:g}, width {window.width:g} HU"
    if intensity != "hu":
        said += f", from {intensity.partition(',')[0]}"
    figure.suptitle(f"{title}  ({said})", fontsize=1.15 * size)
    pointed = any(len(places) for column in columns for places in column.points or ())
    codes_legend(
        figure,
        [truth, *(column.codes for column in columns)],
        size,
        [Line2D([], [], label="point", **_POINT)] if pointed else [],
    )
    fit_titles(figure)
    return figure


def _require_shapes(hu: np.ndarray, columns: Sequence[MapColumn], title: str) -> None:
    if not len(hu):
        raise StudyError(f"figure {title!r} has no slices to show")
    for column in columns:
        for part in (column.heatmaps, column.codes):
            if part is not None and part.shape != hu.shape:
                raise StudyError(
                    f"column {column.title!r} has shape {part.shape}, the slices {hu.shape}"
                )


def _outline_truth(
    axis: Axes, row: int, truth: np.ndarray | None, boxes: Sequence[np.ndarray] | None
) -> None:
    if truth is not None:
        outline_codes(axis, truth[row])
    for box in () if boxes is None else boxes[row]:
        outline_box(axis, box, CLASS_COLOURS["hemorrhage"])


def _bare(axis: Axes, shape: tuple[int, ...]) -> None:
    """No ticks, no grid, the whole slice of `shape` and nothing beside it."""
    rows, columns = shape
    axis.set(xticks=[], yticks=[], xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axis.grid(visible=False)


def _draw(axis: Axes, column: MapColumn, row: int, opacity: float, shown_from: float) -> None:
    if column.heatmaps is not None:
        heat = np.asarray(column.heatmaps[row], np.float64)
        axis.imshow(
            heat,
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=opacity * np.clip(heat * 1.6, 0, 1) * (heat >= shown_from),
            interpolation="bilinear",
        )
    if column.codes is not None:
        outline_codes(axis, column.codes[row])
    if column.points is not None and len(column.points[row]):
        places = np.asarray(column.points[row], np.float64)
        axis.plot(places[:, 1], places[:, 0], **_POINT)
