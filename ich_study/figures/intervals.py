"""A tidy result table as one picture: values with their intervals, a panel per class and metric."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ich_study.errors import StudyError
from ich_study.schema import LABELS

COLOURS: tuple[str, ...] = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999999",
    "#882255",
    "#44AA99",
    "#661100",
    "#DDCC77",
)
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "*")
READING: tuple[str, ...] = ("variant", "threshold_source", "brain_mask", "dataset")
_MOST_PANELS = 12


def reading_of(results: pd.DataFrame) -> pd.DataFrame:
    """What tells rows of one method apart, as text: those of READING that differ within `results`,
    the first of them as `colour`, the others as `marker`; "" where there is none."""
    words = (
        results[list(READING)].astype(object).where(results[list(READING)].notna(), "").astype(str)
    )
    words["brain_mask"] = words["brain_mask"].replace(
        {"True": "brain mask", "False": "no brain mask"}
    )
    differing = [name for name in READING if len(set(words[name])) > 1]
    marker = (
        words[differing[1:]].apply(lambda row: " · ".join(filter(None, row)), axis=1)
        if differing[1:]
        else ""
    )
    return pd.DataFrame(
        {"colour": words[differing[0]] if differing else "", "marker": marker}, index=results.index
    )


def interval_panels(results: pd.DataFrame, title: str) -> Figure:
    """Values with their 95 % intervals: a panel per class and metric, a block per method and layer
    with a line per reading (variant, threshold source, brain mask, data set); the first that
    differs is the colour, the others the marker.

    results: tidy rows. A row without interval is a point alone, one without value is left out.
    Raises StudyError where nothing is left, for more than 12 panels, and for more readings than can
    be told apart.
    """
    known = results[results["value"].notna()]
    if known.empty:
        raise StudyError(f"figure {title!r}: no row has a value")
    panels = _panels(known, title)
    lines = (
        known["method"]
        + known["layer"].fillna("").map(lambda layer: f" [{layer}]" if layer else "")
    ).rename("line")
    known = known.assign(line=lines, **reading_of(known))
    colours, markers = (
        _styles(known[name], styles, title)
        for name, styles in (("colour", COLOURS), ("marker", MARKERS))
    )
    heights, centres = _heights(known)
    size = (1.8 + 1.75 * len(panels), 1.4 + 0.11 * max(heights.values()))
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axis, (class_name, metric) in zip(axes.flat, panels):
        rows = known[(known["class"].astype(str) == class_name) & (known["metric"] == metric)]
        for (colour, marker), reading in rows.groupby(["colour", "marker"], sort=False):
            places = [heights[line, colour, marker] for line in reading["line"]]
            axis.hlines(
                places,
                reading["ci_low"],
                reading["ci_high"],
                color=colours[colour],
                alpha=0.5,
                linewidth=1.8,
            )
            axis.plot(
                reading["value"], places, markers[marker], color=colours[colour], markersize=3
            )
        axis.set_title(f"{class_name}\n{metric}", fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
    axes[0, 0].set(yticks=list(centres.values()), yticklabels=list(centres))
    axes[0, 0].tick_params(labelsize=7)
    axes[0, 0].set_ylim(max(heights.values()) + 1, 0)
    handles = [
        plt.Line2D([], [], color=colour, label=name)
        for name, colour in colours.items()
        if len(colours) > 1
    ]
    shapes = markers.items() if len(markers) > 1 else ()
    handles += [
        plt.Line2D([], [], color="#555555", marker=shape, linestyle="", label=name)
        for name, shape in shapes
    ]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=7
        )
    figure.suptitle(title, fontsize=10)
    return figure


def _panels(known: pd.DataFrame, title: str) -> list[tuple[str, str]]:
    """Class and metric of each panel, in the order of the study."""
    order = [*LABELS, "average", "normal"]
    panels = sorted(
        {(str(row["class"]), row["metric"]) for _, row in known.iterrows()},
        key=lambda panel: (
            panel[1],
            order.index(panel[0]) if panel[0] in order else len(order),
            panel[0],
        ),
    )
    if len(panels) > _MOST_PANELS:
        raise StudyError(
            f"figure {title!r} would have {len(panels)} panels; select classes or metrics first"
        )
    return panels


def _styles(values: pd.Series, styles: tuple[str, ...], title: str) -> dict[str, str]:
    names = list(dict.fromkeys(values))
    if len(names) > len(styles):
        raise StudyError(
            f"figure {title!r}: {len(names)} readings ({', '.join(names)}) cannot be told apart;"
            " select some first"
        )
    return dict(zip(names, styles))


def _heights(known: pd.DataFrame) -> tuple[dict[tuple[str, str, str], float], dict[str, float]]:
    """Vertical place of every line and reading, readings of one line together, and the middle of
    each line's."""
    heights: dict[tuple[str, str, str], float] = {}
    centres, start = {}, 1.0
    for line, rows in known.groupby("line", sort=False):
        readings = list(dict.fromkeys(zip(rows["colour"], rows["marker"])))
        heights |= {(str(line), *reading): start + place for place, reading in enumerate(readings)}
        centres[str(line)] = start + (len(readings) - 1) / 2
        start += len(readings) + 1.5
    return heights, centres
