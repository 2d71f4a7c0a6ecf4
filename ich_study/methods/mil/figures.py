"""Pictures of points: slices and maps with boxes and points (MIL detector, Fig. 2), free-response
curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ich_study.ct.windows import WINDOWS, Window, apply_window
from ich_study.errors import StudyError
from ich_study.figures.names import readable
from ich_study.figures.style import inset_bar, mark_sides
from ich_study.metrics.overlap import Counts

BOX_COLOUR, POINT_COLOUR = "#E69F00", "#D55E00"
Drawn = np.ndarray | tuple[()]
"""Boxes or points; nothing is drawn of an empty tuple."""


@dataclass(frozen=True)
class Panel:
    """One picture. image: (rows, columns) on a grid of its own; HU where there is a `window`, else
    a map, shown between `limits`, or its own extremes, which the title names.

    boxes (n, 4), points and dropped (n, 2): on a grid of `side` pixels. dropped: points that a step
    of the detector left out. colours: of a map. logarithmic: a map of positive values over three
    decades below the upper limit, for attention, which a slice's cells share.
    """

    title: str
    image: np.ndarray
    side: int
    window: Window | None = WINDOWS["brain"]
    boxes: Drawn = ()
    points: Drawn = ()
    dropped: Drawn = ()
    colours: str = "viridis"
    limits: tuple[float, float] | None = None
    logarithmic: bool = False


def panel_figure(rows: Sequence[Sequence[Panel]], title: str) -> Figure:
    """Panels in rows, as many columns as the longest row; below, what is drawn on them. Raises
    StudyError for no panel."""
    columns = max(map(len, rows), default=0)
    if not columns:
        raise StudyError(f"{title!r}: there is no slice to show")
    size = (2.0 * columns, 2.35 * len(rows) + 0.4)
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, panels in zip(axes, rows):
        for axis, panel in zip(row, panels):
            _draw(axis, panel)
    figure.suptitle(title, fontsize=10)
    every = [panel for panels in rows for panel in panels]
    look = {"linestyle": "", "fillstyle": "none", "markeredgewidth": 1.6}
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=size, label=label, **look)
        for label, name, marker, colour, size in (
            ("box: truth", "boxes", "s", BOX_COLOUR, 8),
            ("cross: point found (white on a map)", "points", "x", POINT_COLOUR, 7),
            ("small cross: point left out", "dropped", "x", "0.5", 3),
        )
        if any(len(getattr(panel, name)) for panel in every)
    ]
    if handles:
        place = {"loc": "outside lower center", "ncols": 3, "frameon": False, "fontsize": 8}
        figure.legend(handles=handles, **place)
    return figure


def _draw(axis: Axes, panel: Panel) -> None:
    far = panel.side - 0.5
    place = {"extent": (-0.5, far, far, -0.5), "interpolation": "nearest"}
    if panel.window is None:
        colour, extremes = "white", (panel.image.min(), panel.image.max())
        low, high = panel.limits or extremes
        norm = LogNorm(high / 1000, high, clip=True) if panel.logarithmic else Normalize(low, high)
        inset_bar(axis, axis.imshow(panel.image, cmap=panel.colours, norm=norm, **place))
        title = f"{panel.title}\n{_short(extremes[0])} to {_short(extremes[1])}"
    else:
        grey = apply_window(panel.image, panel.window)
        axis.imshow(grey, cmap="gray", vmin=0, vmax=1, **place)
        colour, title = POINT_COLOUR, panel.title
        mark_sides(axis)
    # a dark rim keeps lines visible on the bright end of a map
    rim = {"path_effects": [withStroke(linewidth=3, foreground="black", alpha=0.6)]}
    line = {"fill": False, "edgecolor": BOX_COLOUR, "linewidth": 1.4, **rim}
    for x, y, width, height in panel.boxes:
        axis.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, **line))
    for points, style in ((panel.dropped, {"alpha": 0.6, "markersize": 3}), (panel.points, {})):
        if len(points):
            marker = {"markersize": 7, "markeredgewidth": 1.8, "color": colour, **rim, **style}
            axis.plot(points[:, 1], points[:, 0], "x", **marker)
    axis.set(xlim=(-0.5, far), ylim=(far, -0.5))
    axis.set_title(title, fontsize=8)


def _short(value: float) -> str:
    """A number of a title: two digits, and nothing finer than a thousandth."""
    return "< 0.001" if 0 < value < 0.001 else f"{value:.2g}"


def slices_of_each_outcome(counts: Counts, rows: pd.DataFrame) -> dict[int, str]:
    """Which slices to show, by rule, and what they show: most boxes hit, most boxes missed, most
    false points; two of a kind, one per patient and kind, no slice twice."""
    shown: dict[int, str] = {}
    patients = rows["patient_id"].to_numpy()
    for name, values in (("hit", counts.tp), ("missed", counts.fn), ("false", counts.fp)):
        seen: set[str] = set()
        for index in map(int, np.argsort(-values, kind="stable")):
            wanted = values[index] > 0 and len(seen) < 2
            if wanted and patients[index] not in seen and index not in shown:
                shown[index] = name
                seen.add(patients[index])
    return shown


def free_response_figure(
    curves: Mapping[str, pd.DataFrame], operating: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """Sensitivity against false points per scan, a line per name; a dot where a detector with its T
    works.

    curves: name -> `report.free_response`. operating: name -> (false points per scan, sensitivity).
    """
    import seaborn as sns  # slow to import

    figure, axis = plt.subplots(figsize=(5.2, 4.2))
    for (name, curve), colour in zip(curves.items(), sns.color_palette("colorblind", len(curves))):
        steps = curve["false_points_per_scan"], curve["sensitivity"]
        axis.step(*steps, where="post", label=readable(name), color=colour, linewidth=1.6)
        axis.plot(*operating[name], "o", color=colour, markersize=7, markeredgecolor="black")
    axis.set(
        xlabel="false points per scan",
        ylabel="sensitivity (boxes with a point)",
        title=title,
        ylim=(-0.01, 1.01),
    )
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
