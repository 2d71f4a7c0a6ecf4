"""One slice through a method: a picture of every array on the way, in reading order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ich_study.ct.windows import WINDOWS, Window, apply_window
from ich_study.errors import StudyError
from ich_study.figures.style import (
    CLASS_COLOURS,
    OUTLINE_COLOUR,
    heat_bar,
    inset_bar,
    legend_below,
    letters,
    mark_sides,
    outline_codes,
    show_hu,
    side_bar,
)

TRUTH_COLOUR = CLASS_COLOURS["hemorrhage"]


@dataclass(frozen=True)
class Step:
    """One picture of a method's way. image: (rows, columns), drawn as `kind`: "grey" in [0, 1],
    "hu" through `window`, "signed" around 0, "heat" in [0, 1], "clusters" as numbers from
    0. outline, truth: bool masks of the same shape, drawn around in their own colours. under: HU
    below a heat or a signed image, through `window`; what lies above is as opaque as it is large.
    limit: magnitude of full colour of a signed image, its own largest if None."""

    title: str
    image: np.ndarray
    kind: Literal["grey", "hu", "signed", "heat", "clusters"] = "grey"
    outline: np.ndarray | None = None
    truth: np.ndarray | None = None
    window: Window = WINDOWS["brain"]
    under: np.ndarray | None = None
    limit: float | None = None


def steps_figure(steps: Sequence[Step], title: str, columns: int = 7) -> Figure:
    """The steps in reading order, `columns` a row, each with its number and title; beside them the
    scale of what lies over slices, below them what the outlines are.

    Raises StudyError where a mask has another shape than its image, or there is nothing to show.
    """
    for step in steps:
        for part in (step.outline, step.truth, step.under):
            if part is not None and part.shape != step.image.shape:
                raise StudyError(
                    f"step {step.title!r}: mask {part.shape} on an image of {step.image.shape}"
                )
    if not steps:
        raise StudyError(f"figure {title!r} has no steps to show")
    rows = -(-len(steps) // columns)
    width = 1.85 * columns
    size = max(7.5, letters(6.5, width))
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, (1.85 + 0.04 * size) * rows + 0.4), squeeze=False
    )
    for axis in axes.flat[len(steps) :]:
        axis.set_visible(False)
    for number, (axis, step) in enumerate(zip(axes.flat, steps), start=1):
        _draw_step(axis, step)
        axis.set_title(f"{number} {step.title}", fontsize=size)
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
    if any(step.kind == "heat" and step.under is not None for step in steps):
        heat_bar(figure, axes, size)
    if any(step.kind == "signed" and step.under is not None for step in steps):
        scale = ScalarMappable(Normalize(-1, 1), "RdBu_r")
        label = "map over a slice, share of its largest value"
        side_bar(figure, axes, scale, label, size).set_ticks([-1, 0, 1])
    handles = [
        Line2D([], [], color=colour, label=label)
        for label, name, colour in (
            ("truth", "truth", TRUTH_COLOUR),
            ("what the method marks", "outline", OUTLINE_COLOUR),
        )
        if any((mask := getattr(step, name)) is not None and mask.any() for step in steps)
    ]
    legend_below(figure, handles, 2, size)
    figure.suptitle(title, fontsize=1.2 * size)
    return figure


def _draw_step(axis: Axes, step: Step) -> None:
    image, colours, lowest, highest, opacity = step.image, "gray", 0, 1, None
    if step.kind == "signed":
        highest = step.limit or max(float(np.abs(image).max()), 1e-6)
        colours, lowest = "RdBu_r", -highest
        opacity = 0.6 * np.clip(np.abs(image) / highest, 0, 1)
    elif step.kind == "clusters":
        last = max(int(image.max()), 1)
        listed = ["black", *plt.get_cmap("viridis")(np.linspace(0.15, 1, last))]
        colours, lowest, highest = ListedColormap(listed), -0.5, last + 0.5
    elif step.kind == "heat":
        colours, opacity = "inferno", 0.7 * np.clip(1.6 * image, 0, 1)
    elif step.kind == "hu":
        image = apply_window(image, step.window)
    if step.under is None:
        opacity = None
    else:
        show_hu(axis, step.under, step.window)
    drawn = axis.imshow(image, colours, vmin=lowest, vmax=highest, alpha=opacity)
    drawn.set_interpolation("nearest")
    for mask, colour in ((step.truth, TRUTH_COLOUR), (step.outline, OUTLINE_COLOUR)):
        if mask is not None:
            outline_codes(axis, mask, colour)
    if step.kind == "hu" or step.under is not None:
        mark_sides(axis)
    # a scale inside would hide what lies under: a signed step says its largest value in its title
    if step.kind in ("signed", "heat", "clusters") and step.under is None:
        bar = inset_bar(axis, drawn)
        if step.kind == "clusters":
            bar.set_yticks(range(int(step.image.max()) + 1))
