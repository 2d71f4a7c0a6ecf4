"""Figures of the CAM benchmark: the overview from which a method is chosen, precision-recall of
pixels, Figures 2 and 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ich_study.errors import StudyError
from ich_study.evaluate.rivals import RIVALS
from ich_study.evaluate.truth import Truth
from ich_study.figures.names import readable
from ich_study.figures.style import COLOURS, ink_on
from ich_study.methods.cams.classifiers import all_called, figure_three_curves, table_one
from ich_study.methods.cams.recipe import LIBRARY
from ich_study.methods.cams.rows import BOX_TRUTH, prefix_of
from ich_study.methods.cams.scores import (
    MethodScores,
    pixel_average_precision,
    precision_recall,
)
from ich_study.methods.cams.tables import best_layers
from ich_study.metrics.classification import prevalence

STUDY = "06_cam_benchmark"
DEPTHS = ("-1", "-2", "-3")
FLOOR = "seed_to_seed"
"""The method of a noise floor, `noise.METHOD`."""
MARKED = {0.3: "o", 0.5: "s", 0.7: "D"}
"""Thresholds that Figure 3 compares, and their markers."""
TRIVIAL = "#882255"
"""Colour of what calling everything gives."""


def titled(method: str) -> str:
    """A method's name for a reader."""
    own = method.removesuffix(LIBRARY)
    return readable(own) + (" (library)" if own != method else "")


def overview_figures(
    results: pd.DataFrame, scored: Sequence[MethodScores], truth: Truth, data: str
) -> Iterator[tuple[str, Figure]]:
    """File name and figure of the page to choose by, of precision and recall, and of what Table II
    does not ask, each method at its best depth. data: what the figures are of."""
    yield from table_figures(results, data)
    best = best_layers(results, f"{prefix_of(truth)}dice")
    pixels = f"pixels of positive slices, {data}"
    yield "precision_recall", precision_recall_figure(scored, best, truth.size, pixels)


def table_figures(results: pd.DataFrame, data: str) -> Iterator[tuple[str, Figure]]:
    """Those of `overview_figures` that the result table alone is enough for."""
    dice = "dice" if (results["metric"] == "dice").any() else f"{BOX_TRUTH}dice"
    yield "overview", overview_figure(results, data, dice)
    title = f"faithfulness and randomisation, {data}"
    yield "trust", trust_figure(results, title, best_layers(results, dice))


def redrawn(
    results: pd.DataFrame, runs: Path, arms: Sequence[str], part: str, baseline: str, data: str
) -> dict[str, Figure]:
    """What 06 drew, again from the small tables of `runs`: path below it, without ending, and
    figure. results: of all runs, with the rows of `noise.gain_floor`. arms: of 01_backbones, with
    the rest as for `table_one`."""
    own = results[results["study"] == STUDY]
    found = []
    if len(own):
        found += table_figures(own, f"{own['dataset'].iloc[0].partition('/')[0]}: {data}")
    if arms:
        folders = [runs / "01_backbones" / arm for arm in arms]
        table = table_one(folders, part, baseline)
        floors = results.loc[results["metric"].eq("f1_top5_gain") & results["method"].eq(FLOOR)]
        floor = None if floors.empty else float(floors["value"].max())
        found += classifier_figures(table, folders, part, "any", data, floor)
    return {f"{STUDY}/{name}": figure for name, figure in found}


def overview_figure(results: pd.DataFrame, title: str, dice: str = "dice") -> Figure:
    """One page to choose a method by: Dice and box Dice by method and depth with intervals, healthy
    brain marked, cost.

    results: rows of the benchmark's result table; raw maps at held-out thresholds are shown.
    Methods are sorted by their best Dice, trivial rivals below the line; healthy brain and cost are
    those of the depth with the method's best Dice.
    """
    best = best_layers(results, dice)
    if not best:
        raise StudyError(f"no rows of {dice} per pixel of raw maps; nothing to show")
    order = sorted(best, key=lambda name: name in RIVALS)
    chosen = results[
        (results["variant"] == "raw")
        & results["threshold_source"].isin(["masks-validation", "none"])
    ]
    chosen = chosen.assign(layer=chosen["layer"].fillna(""))
    figure, axes = plt.subplots(
        1,
        4,
        figsize=(12.5, 1.5 + 0.42 * len(order)),
        sharey=True,
        gridspec_kw={"width_ratios": [3, 3, 1.5, 1.5]},
    )
    first = "pixel Dice" if dice == "dice" else "Dice against filled boxes"
    pooled = chosen[(chosen["unit"] == "pixel") & (chosen["subset"] == "positive")]
    both = pooled[pooled["metric"].isin([dice, "box_dice"]) & pooled["method"].isin(order)]
    # one scale: a colour is the same Dice in both panels
    top = max(float(both["value"].max()), 0.05)
    for axis, metric, name in ((axes[0], dice, first), (axes[1], "box_dice", "box Dice")):
        _cells(axis, pooled[pooled["metric"] == metric], order, top)
        axis.set_title(f"{name} (all positive slices pooled)", fontsize=9)
    for axis, metric, name, factor in (
        (axes[2], "healthy_brain_share", "healthy brain marked, %", 100),
        (axes[3], "milliseconds", "cost, ms per map", 1),
    ):
        table = chosen[chosen["metric"] == metric].set_index(["method", "layer"])
        _bars(axis, table, [(method, best[method]) for method in order], factor)
        axis.set_title(name, fontsize=9)
    axes[0].set_yticks(np.arange(len(order)) + 0.5, [titled(name) for name in order], rotation=0)
    rivals = sum(name in RIVALS for name in order)
    for axis in axes:
        axis.axhline(len(order) - rivals, color="0.25", linewidth=1.2)
        axis.set_ylim(len(order), 0)
    said = "raw maps, one threshold per method and depth from held-out patients"
    figure.suptitle(f"{title}\n{said}; 95 % intervals over patients", fontsize=10)
    return figure


def _cells(axis: Axes, rows: pd.DataFrame, order: Sequence[str], top: float) -> None:
    """A cell per method and depth, coloured from 0 to `top`; a rival, which has no depth, has its
    value across all three."""
    import seaborn as sns  # slow to import

    values = np.full((len(order), len(DEPTHS)), np.nan)
    text = np.full(values.shape, "", object)
    for row in rows.itertuples():
        if row.method not in order:
            continue
        cell = order.index(row.method), DEPTHS.index(row.layer) if row.layer else slice(None)
        values[cell] = row.value
        middle = cell if row.layer else (cell[0], 1)
        text[middle] = f"{row.value:.2f}\n[{row.ci_low:.2f}, {row.ci_high:.2f}]"
    look = {"cmap": "cividis", "vmin": 0, "vmax": top, "cbar": False, "linewidths": 0.6}
    sns.heatmap(values, ax=axis, annot=text, fmt="", annot_kws={"fontsize": 6.5}, **look)
    # seaborn's own choice leaves white letters on light cells, at a contrast of 2.3
    for letters in axis.texts:
        column, row = np.floor(letters.get_position()).astype(int)
        letters.set_color(ink_on(axis.collections[0].to_rgba(values[row, column])))
    axis.set_xticks(np.arange(len(DEPTHS)) + 0.5, [f"[{depth}]" for depth in DEPTHS])
    axis.grid(visible=False)


def _bars(axis: Axes, table: pd.DataFrame, order: Sequence[tuple[str, str]], factor: float) -> None:
    for number, key in enumerate(order):
        if key not in table.index:
            continue
        value, low, high = factor * table.loc[key, ["value", "ci_low", "ci_high"]].astype(float)
        axis.barh(number + 0.5, value, height=0.6, color="0.55")
        said, end = f"{value:.0f}" if value >= 100 else f"{value:.3g}", value
        if table.loc[key, "interval"] == "exact":
            # a bound that few patients leave wide is said, not drawn: it would fill the panel
            said += f" (at most {high:.2g})" if value == 0 else ""
        else:
            axis.hlines(number + 0.5, low, high, color="0.15", linewidth=1.4)
            end = np.nanmax([value, high])
        axis.text(end, number + 0.5, f"  {said}", va="center", fontsize=6.5)
    axis.margins(x=0.45)
    axis.set_xlim(left=0)
    axis.grid(visible=False, axis="y")


def precision_recall_figure(
    scored: Sequence[MethodScores], layer_of: Mapping[str, str], size: int, title: str
) -> Figure:
    """Precision and sensitivity of pixels of positive slices over all thresholds, a line per method
    at its depth `layer_of` (rivals: ""), the area under it in the legend. size: of a slice."""
    shown = [
        each
        for each in scored
        if each.scores.variant == "raw"
        and layer_of.get(each.scores.name) == (each.scores.layer or "")
    ]
    figure, axis = plt.subplots(figsize=(6.2, 4.4))
    top = 0.0
    for number, each in enumerate(shown):
        scores, style = each.scores, ":" if each.scores.name in RIVALS else "-"
        area = pixel_average_precision(scores, size, scores.positive).value()
        name = each.label.replace(scores.name, titled(scores.name), 1)
        sensitivity, precision = precision_recall(scores, size)
        top = max(top, float(np.nanmax(precision)))
        colour = COLOURS[number % len(COLOURS)]
        look = {"color": colour, "linewidth": 1.4, "label": f"{name}: {area:.3f}"}
        axis.plot(sensitivity, precision, style, **look)
    if shown:  # where every pixel is marked
        axis.axhline(precision[-1], color="0.4", linestyle="--", label="every pixel marked")
    axis.set(
        xlabel="sensitivity of pixels",
        ylabel="PPV of pixels",
        xlim=(-0.01, 1.01),
        ylim=(0, min(1.01, 1.1 * top)),
    )
    figure.suptitle(title, fontsize=9)
    _legend_beside(axis, title="area under the curve", title_fontsize=7)
    return figure


def _legend_beside(axis: Axes, **options: Any) -> None:
    beside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    axis.legend(fontsize=7.5, frameon=False, **beside, **options)


def trust_figure(results: pd.DataFrame, title: str, layer_of: Mapping[str, str]) -> Figure:
    """Deletion, insertion, ROAD and randomisation of each method at one depth (`layer_of`), with
    intervals where there are some."""
    panels = {
        "deletion_auc": "deletion\n(lower is better)",
        "insertion_auc": "insertion\n(higher is better)",
        "road_combined": "ROAD\n(higher is better)",
        "randomisation_spearman": "likeness to a random network\n(nearer 0 is better)",
    }
    figure, axes = plt.subplots(
        1, len(panels), figsize=(10.5, 1.1 + 0.27 * len(layer_of)), sharey=True
    )
    for axis, (metric, label) in zip(axes, panels.items()):
        table = (
            results[results["metric"] == metric]
            .assign(layer=lambda frame: frame["layer"].fillna(""))
            .set_index(["method", "layer"])
        )
        for place, pair in enumerate(layer_of.items()):
            if pair in table.index:
                row = table.loc[pair]
                axis.hlines(place, row["ci_low"], row["ci_high"], color="0.6", linewidth=2.2)
                axis.plot(row["value"], place, "o", color="#0072B2", markersize=4)
        axis.set_title(label, fontsize=8)
    names = [
        f"{titled(method)} [{layer}]" if layer else titled(method)
        for method, layer in layer_of.items()
    ]
    axes[0].set(yticks=range(len(names)), yticklabels=names)
    axes[0].invert_yaxis()
    figure.suptitle(title, fontsize=10)
    return figure


def classifier_figures(
    table: pd.DataFrame,
    folders: Sequence[str | Path],
    part: str,
    class_name: str,
    data: str,
    floor: float | None = None,
) -> Iterator[tuple[str, Figure]]:
    """File name and figure of the classifiers' F1 and precision-recall curves. table: of
    `classifiers.table_one`, and the rest as there. floor: as for `figure_two`."""
    trivial = all_called(folders, part, class_name)
    yield "figure_2", figure_two(table, f"{data}, as Figure 2", floor, trivial)
    curves = figure_three_curves(folders, part, class_name)
    title = f"{part}: {data}, as Figure 3"
    yield "figure_3", figure_three(curves, title, baseline_of(table))


def baseline_of(table: pd.DataFrame) -> str | None:
    """The run of `classifiers.table_one` that the others are held against, the first without any
    gain; None where there are no gains."""
    own = table.loc[table["difference"] == 0, "method"]
    return None if own.empty else str(own.iloc[0])


def figure_two(
    table: pd.DataFrame, title: str, floor: float | None = None, trivial: float | None = None
) -> Figure:
    """F1 of the five best epochs, mean and SD, per run (Figure 2); a line at the baseline's.

    table: method, f1_top5, f1_top5_sd, difference. floor: how far gains move from seed to seed
    (`noise.gain_floor`), shaded on both sides of the line. trivial: F1 of calling every slice.
    """
    figure, axis = plt.subplots(figsize=(6.4, 1.5 + 0.26 * len(table)))
    places = np.arange(len(table))
    axis.errorbar(
        table["f1_top5"],
        places,
        xerr=table["f1_top5_sd"],
        fmt="o",
        color="#0072B2",
        markersize=4,
        capsize=2,
    )
    axis.set(
        yticks=places,
        yticklabels=[readable(name) for name in table["method"]],
        xlabel="F1, mean and SD of the five best epochs",
        title=title,
    )
    axis.invert_yaxis()
    if trivial is not None:
        line = f"F1 of calling every slice, {trivial:.3f}"
        axis.axvline(trivial, color=TRIVIAL, linestyle=":", linewidth=1.2, label=line)
    baseline = baseline_of(table)
    if baseline is not None:
        reached = float(table.set_index("method").loc[baseline, "f1_top5"])
        line = f"F1 of the {readable(baseline)}, from which Table I counts gains"
        axis.axvline(reached, color="0.2", linestyle="--", linewidth=1, label=line)
        if floor is not None:
            said = f"as far as Table I's gains move from seed to seed, {floor:.3f}"
            axis.axvspan(reached - floor, reached + floor, color="0.88", zorder=0, label=said)
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", frameon=False, fontsize=7.5)
    return figure


def figure_three(curves: pd.DataFrame, title: str, baseline: str | None = None) -> Figure:
    """Precision-recall curves of the classifiers, points at the thresholds that Figure 3 compares:
    a panel per run, the others in grey, the baseline dashed; dotted the PPV of calling every slice.

    curves: run, sensitivity, precision, threshold.
    """
    runs = {name: part.sort_values("threshold") for name, part in curves.groupby("run", sort=False)}
    across = min(len(runs), 5)
    down = -(-len(runs) // across)
    size = (max(2.1 * across, 4.2), 2.0 * down + 0.9)
    figure, axes = plt.subplots(down, across, figsize=size, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(runs) :]:
        axis.set_visible(False)
    for axis, (own, part) in zip(axes.flat, runs.items()):
        for name, other in runs.items():
            look = {"color": "0.8", "linewidth": 0.6}
            if name == baseline:
                look = {"color": "0.2", "linewidth": 1.0, "linestyle": "--"}
            axis.plot(other["sensitivity"], other["precision"], **look)
        axis.axhline(prevalence(part), color=TRIVIAL, linestyle=":", linewidth=1.2)
        axis.plot(part["sensitivity"], part["precision"], color="#0072B2", linewidth=1.5)
        for threshold, marker in MARKED.items():
            above = part[part["threshold"] >= threshold].head(1)
            axis.plot(above["sensitivity"], above["precision"], marker, color="#D55E00")
        axis.set_title(readable(own), fontsize=8.5)
        axis.grid(visible=False)
    for axis in axes.flat[max(len(runs) - across, 0) : len(runs)]:  # nothing stands below them
        axis.set_xlabel("sensitivity")
        axis.tick_params(labelbottom=True)
    for axis in axes[:, 0]:
        axis.set_ylabel("PPV")
    axes[0, 0].set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xticks=[0, 0.5, 1])
    figure.suptitle(title, fontsize=10)
    handles = [
        Line2D([], [], color="#0072B2", label="the named run"),
        Line2D([], [], color="0.8", label="the others"),
        Line2D([], [], color=TRIVIAL, linestyle=":", label="every slice called"),
        *(
            Line2D([], [], color="#D55E00", marker=marker, linestyle="", label=f"threshold {at:g}")
            for at, marker in MARKED.items()
        ),
    ]
    if baseline is not None:
        dashed = Line2D([], [], color="0.2", linestyle="--", label=readable(baseline))
        handles.insert(1, dashed)
    place = {"loc": "outside lower center", "ncols": 6, "frameon": False, "fontsize": 8}
    figure.legend(handles=handles, **place)
    return figure
