"""Pictures of heatmaps and masks on slices, as the papers show them: a row per slice, a column per
method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ich_study.ct.windows import WINDOWS, Window, apply_window
from ich_study.errors import StudyError
from ich_study.figures.style import CLASS_COLOURS, heat_bar, mark_sides
from ich_study.schema import MASK_CODES, UNSPECIFIED_HEMORRHAGE

COLOUR_OF_CODE = {
    **{code: CLASS_COLOURS[name] for name, code in MASK_CODES.items()},
    UNSPECIFIED_HEMORRHAGE: CLASS_COLOURS["hemorrhage"],
}
_CELL = 1.75


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
) -> Figure:
    """A row per slice: the bare slice, the slice with its truth where there is one, then a column
    per method.

    hu: (N, S, S). truth: mask codes or bool, outlined in the colours of the subtypes. boxes: of
    each slice, (n, 4) of x, y, width, height. Raises StudyError when shapes differ or there is
    nothing to show.
    """
    if not len(hu):
        raise StudyError(f"figure {title!r} has no slices to show")
    for column in columns:
        for part in (column.heatmaps, column.codes):
            if part is not None and part.shape != hu.shape:
                raise StudyError(
                    f"column {column.title!r} has shape {part.shape}, the slices {hu.shape}"
                )
    first = [MapColumn("slice")] + (
        [MapColumn("truth")] if truth is not None or boxes is not None else []
    )
    shown = [*first, *columns]
    size = (_CELL * len(shown), _CELL * len(hu) + 0.75)
    figure, axes = plt.subplots(len(hu), len(shown), figsize=size, squeeze=False)
    for row, axis_row in enumerate(axes):
        for column, axis in zip(shown, axis_row):
            axis.imshow(
                apply_window(hu[row], window), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            _draw(axis, column, row, opacity)
            if column.title == "truth":
                _draw_truth(
                    axis,
                    truth[row] if truth is not None else None,
                    boxes[row] if boxes is not None else None,
                )
            if row == 0:
                axis.set_title(column.title, fontsize=8)
            axis.set(
                xticks=[], yticks=[], xlim=(-0.5, hu.shape[2] - 0.5), ylim=(hu.shape[1] - 0.5, -0.5)
            )
            axis.grid(visible=False)
        if row_titles is not None:
            axis_row[0].set_ylabel(row_titles[row], fontsize=7)
        mark_sides(axis_row[0])
    if any(column.heatmaps is not None for column in columns):
        heat_bar(figure, axes)
    figure.suptitle(f"{title}  (window {window.center:g} ± {window.width / 2:g} HU)", fontsize=9)
    _legend(figure, [truth, *(column.codes for column in columns)])
    return figure


def _draw(axis: Axes, column: MapColumn, row: int, opacity: float) -> None:
    if column.heatmaps is not None:
        heat = np.asarray(column.heatmaps[row], np.float64)
        axis.imshow(
            heat,
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=opacity * np.clip(heat * 1.6, 0, 1),
            interpolation="bilinear",
        )
    if column.codes is not None:
        _outline(axis, column.codes[row])
    if column.points is not None and len(column.points[row]):
        places = np.asarray(column.points[row], np.float64)
        axis.plot(
            places[:, 1], places[:, 0], "+", color="#56B4E9", markersize=7, markeredgewidth=1.4
        )


def _draw_truth(axis: Axes, truth: np.ndarray | None, boxes: np.ndarray | None) -> None:
    if truth is not None:
        _outline(axis, truth)
    for x, y, width, height in () if boxes is None else boxes:
        axis.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5),
                width,
                height,
                fill=False,
                edgecolor=CLASS_COLOURS["hemorrhage"],
                linewidth=1.1,
            )
        )


def _outline(axis: Axes, codes: np.ndarray) -> None:
    codes = codes * np.uint8(UNSPECIFIED_HEMORRHAGE) if codes.dtype == bool else codes
    for code in np.unique(codes[codes > 0]):
        axis.contour(
            codes == code, levels=[0.5], colors=[COLOUR_OF_CODE[int(code)]], linewidths=0.9
        )


def _legend(figure: Figure, parts: Sequence[np.ndarray | None]) -> None:
    shown = {
        int(code)
        for part in parts
        if part is not None and part.dtype != bool
        for code in np.unique(part[part > 0])
    }
    names = {
        **{code: name for name, code in MASK_CODES.items()},
        UNSPECIFIED_HEMORRHAGE: "hemorrhage",
    }
    handles = [Patch(color=COLOUR_OF_CODE[code], label=names[code]) for code in sorted(shown)]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=7
        )
