"""A tidy result table as one picture: values with their intervals, a panel per class and metric."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ich_study.errors import StudyError
from ich_study.schema import LABELS

VARIANT_COLOURS: tuple[str, ...] = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
READING: tuple[str, ...] = ("variant", "threshold_source", "brain_mask", "dataset")
_MOST_PANELS = 12


def reading_of(results: pd.DataFrame) -> pd.Series:
    """What tells rows of one method apart, as text: those of READING that differ within `results`."""
    differing = [name for name in READING if len(set(results[name].fillna(""))) > 1]
    words = results[differing].fillna("").astype(str).apply(lambda row: " · ".join(filter(None, row)), axis=1)
    return words if differing else pd.Series("", index=results.index)


def interval_panels(results: pd.DataFrame, title: str) -> Figure:
    """Values with their 95 % intervals: a panel per class and metric, a line per method and layer, a
    colour per reading (variant, threshold source, brain mask, data set).

    results: tidy rows. A row without interval is a point alone, one without value is left out. Raises
    StudyError where nothing is left, or for more than 12 panels.
    """
    known = results[results["value"].notna()]
    if known.empty:
        raise StudyError(f"figure {title!r}: no row has a value")
    order = [*LABELS, "average", "normal"]
    panels = sorted({(str(row["class"]), row["metric"]) for _, row in known.iterrows()},
                    key=lambda panel: (panel[1], order.index(panel[0]) if panel[0] in order else len(order), panel[0]))
    if len(panels) > _MOST_PANELS:
        raise StudyError(f"figure {title!r} would have {len(panels)} panels; select classes or metrics first")
    lines = (known["method"] + known["layer"].fillna("").map(lambda layer: f" [{layer}]" if layer else "")).rename("line")
    known = known.assign(line=lines, reading=reading_of(known))
    names, readings = list(dict.fromkeys(known["line"])), list(dict.fromkeys(known["reading"]))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(1.8 + 1.75 * len(panels), 1.2 + (0.16 + 0.1 * len(readings)) * len(names)), sharey=True, squeeze=False,
    )
    for axis, (class_name, metric) in zip(axes.flat, panels):
        _draw(axis, known[(known["class"].astype(str) == class_name) & (known["metric"] == metric)], names, readings)
        axis.set_title(f"{class_name}\n{metric}", fontsize=8)
    axes[0, 0].set(yticks=np.arange(len(names)), yticklabels=names)
    axes[0, 0].tick_params(labelsize=7)
    axes[0, 0].invert_yaxis()
    if readings != [""]:
        handles = [plt.Line2D([], [], color=_colour(place), marker="o", label=reading) for place, reading in enumerate(readings)]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    figure.suptitle(title, fontsize=10)
    return figure


def _draw(axis: Axes, rows: pd.DataFrame, names: list[str], readings: list[str]) -> None:
    step = 0.7 / max(1, len(readings))
    for place, reading in enumerate(readings):
        part = rows[rows["reading"] == reading]
        heights = np.array([names.index(line) for line in part["line"]], float) + (place - (len(readings) - 1) / 2) * step
        axis.hlines(heights, part["ci_low"], part["ci_high"], color=_colour(place), alpha=0.5, linewidth=1.8)
        axis.plot(part["value"], heights, "o", color=_colour(place), markersize=3)
    axis.tick_params(axis="x", labelsize=7)


def _colour(place: int) -> str:
    return VARIANT_COLOURS[place % len(VARIANT_COLOURS)]
