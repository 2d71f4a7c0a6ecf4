"""Pictures of points: slices with boxes and points over their likelihood maps (MIL detector, Fig.
2), free-response curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ich_study.ct.windows import WINDOWS, Window, apply_window
from ich_study.errors import StudyError
from ich_study.methods.mil.peaks import Peaks
from ich_study.metrics.overlap import Counts

BOX_COLOUR, POINT_COLOUR = "#E69F00", "#D55E00"


@dataclass(frozen=True)
class DetectionPanel:
    """One slice: HU (rows, columns), its map on a grid of its own, boxes (n, 4) and peaks on the
    grid of `side` pixels."""

    hu: np.ndarray
    likelihood: np.ndarray
    boxes: np.ndarray
    peaks: Peaks
    side: int
    title: str = ""


def shown_slices(counts: Counts, rows: pd.DataFrame, each: int = 2) -> dict[int, str]:
    """Places of slices to show, by rule, with what they show: most boxes hit, most boxes missed,
    most false points; `each` of a kind, one per patient and kind, no slice twice."""
    shown: dict[int, str] = {}
    patients = rows["patient_id"].astype(str).to_numpy()
    for name, values in (("hit", counts.tp), ("missed", counts.fn), ("false", counts.fp)):
        seen: set[str] = set()
        for place in np.argsort(-values, kind="stable"):
            if (
                values[place] > 0
                and len(seen) < each
                and patients[place] not in seen
                and int(place) not in shown
            ):
                shown[int(place)] = name
                seen.add(patients[place])
    return shown


def detection_figure(
    panels: Sequence[DetectionPanel],
    title: str,
    window: Window = WINDOWS["brain"],
    scale: str = "slice",
) -> Figure:
    """Top: slices with boxes and points. Bottom: likelihood maps with the same points.

    scale: `slice` stretches every map between its own extremes, `shared` all maps alike. Raises
    StudyError for no panel.
    """
    if not panels:
        raise StudyError(f"{title!r}: there is no slice to show")
    figure, axes = plt.subplots(2, len(panels), figsize=(1.9 * len(panels), 4.3), squeeze=False)
    shared = (min(p.likelihood.min() for p in panels), max(p.likelihood.max() for p in panels))
    for (top, bottom), panel in zip(axes.T, panels):
        extent = (-0.5, panel.side - 0.5, panel.side - 0.5, -0.5)
        top.imshow(apply_window(panel.hu, window), cmap="gray", vmin=0, vmax=1, extent=extent)
        low, high = (
            shared if scale == "shared" else (panel.likelihood.min(), panel.likelihood.max())
        )
        bottom.imshow(
            panel.likelihood,
            cmap="viridis",
            vmin=low,
            vmax=high,
            extent=extent,
            interpolation="bilinear",
        )
        top.set_title(panel.title, fontsize=8)
        for axis, colour in ((top, POINT_COLOUR), (bottom, "white")):
            _draw_truth_and_points(axis, panel, colour)
    figure.suptitle(
        f"{title}  (window center {window.center:g}, width {window.width:g} HU)", fontsize=10
    )
    return figure


def _draw_truth_and_points(axis: Axes, panel: DetectionPanel, colour: str) -> None:
    for x, y, width, height in panel.boxes:
        axis.add_patch(
            Rectangle(
                (x - 0.5, y - 0.5), width, height, fill=False, edgecolor=BOX_COLOUR, linewidth=1.2
            )
        )
    if len(panel.peaks.points):
        axis.plot(
            panel.peaks.points[:, 1],
            panel.peaks.points[:, 0],
            "x",
            color=colour,
            markersize=7,
            markeredgewidth=1.8,
        )
    axis.set(xlim=(-0.5, panel.side - 0.5), ylim=(panel.side - 0.5, -0.5))
    axis.set_axis_off()


def free_response_figure(
    curves: Mapping[str, pd.DataFrame], operating: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """Sensitivity against false points per scan, a line per name; a dot where a detector with its T
    works.

    curves: name -> `detection_report.free_response`. operating: name -> (false points per scan,
    sensitivity).
    """
    figure, axis = plt.subplots(figsize=(5.2, 4.2))
    for (name, curve), colour in zip(curves.items(), sns.color_palette("colorblind", len(curves))):
        axis.step(
            curve["false_points_per_scan"],
            curve["sensitivity"],
            where="post",
            label=name,
            color=colour,
            linewidth=1.6,
        )
        if name in operating:
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
