"""Figures of the CAM benchmark: the overview from which a method is chosen, precision-recall of
pixels, Figures 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ich_study.errors import StudyError
from ich_study.evaluate.rivals import RIVALS
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.methods.cams.scores import SeriesScore

METHOD_TITLES: dict[str, str] = {
    "grad_cam": "GradCAM",
    "hires_cam": "HiResCAM",
    "grad_cam_element_wise": "GradCAM element-wise",
    "grad_cam_plus_plus": "GradCAM++",
    "xgrad_cam": "XGradCAM",
    "ablation_cam": "AblationCAM",
    "ablation_cam_library": "AblationCAM (library)",
    "eigen_cam": "EigenCAM",
    "eigen_grad_cam": "EigenGradCAM",
    "layer_cam": "LayerCAM",
    "hu_threshold": "HU 50-90 in the brain",
    "centred_blob": "centred blob",
    "random_map": "random map",
}
DEPTHS = ("-1", "-2", "-3")


def titled(method: str) -> str:
    """A method's name for a reader."""
    return METHOD_TITLES.get(method, method)


def overview_figure(
    results: pd.DataFrame,
    title: str,
    variant: str = "raw",
    source: str = "masks-validation",
    dice: str = "dice",
    box: str = "box_dice",
    healthy: str = "healthy_brain_share",
) -> Figure:
    """One page to choose a method by: Dice and box Dice by method and depth with intervals, healthy
    brain marked, cost.

    results: rows of the benchmark's result table. Methods are sorted by their best Dice, trivial
    rivals below the line; healthy brain and cost are those of the depth with the method's best
    Dice.
    """
    chosen = results[
        (results["variant"] == variant) & (results["threshold_source"].isin([source, "none"]))
    ]
    ranked = chosen[(chosen["metric"] == dice) & (chosen["unit"] == "pixel")].sort_values(
        "value", ascending=False
    )
    best = (
        ranked.assign(layer=ranked["layer"].fillna(""))
        .drop_duplicates("method")
        .set_index("method")["layer"]
    )
    order = [name for name in best.index if name not in RIVALS] + [
        name for name in best.index if name in RIVALS
    ]
    if not order:
        raise StudyError(
            f"no rows of {dice} per pixel in variant {variant} with threshold source {source};"
            " nothing to show"
        )
    figure, axes = plt.subplots(
        1,
        4,
        figsize=(12.5, 1.5 + 0.42 * len(order)),
        sharey=True,
        gridspec_kw={"width_ratios": [3, 3, 1.5, 1.5]},
    )
    first = "pixel Dice" if dice == "dice" else "Dice against filled boxes"
    for axis, metric, name in ((axes[0], dice, first), (axes[1], box, "box Dice")):
        _heatmap(axis, chosen, order, metric, f"{name} (all positive slices pooled)")
    healthy_title, factor = (
        ("healthy brain marked, %", 100)
        if healthy.endswith("share")
        else ("marked on healthy slices, cm²", 1)
    )
    _bars(axes[2], chosen, order, best, healthy, healthy_title, factor)
    _bars(axes[3], chosen, order, best, "milliseconds", "cost, ms per map", 1)
    axes[0].set_yticks(np.arange(len(order)) + 0.5, [titled(name) for name in order], rotation=0)
    rivals = sum(name in RIVALS for name in order)
    for axis in axes:
        axis.axhline(len(order) - rivals, color="0.25", linewidth=1.2)
        axis.set_ylim(len(order), 0)
    threshold = "held-out patients" if source == "masks-validation" else "the test part itself"
    said = (
        f"{variant} maps, one threshold per method and depth from {threshold}; 95 % intervals over"
        " patients"
    )
    figure.suptitle(f"{title}\n{said}", fontsize=10)
    return figure


def _heatmap(axis: Axes, rows: pd.DataFrame, order: Sequence[str], metric: str, title: str) -> None:
    table = rows[
        (rows["metric"] == metric) & (rows["unit"] == "pixel") & (rows["subset"] == "positive")
    ]
    table = table.assign(layer=table["layer"].fillna("")).set_index(["method", "layer"])
    values = np.full((len(order), len(DEPTHS)), np.nan)
    text = np.full(values.shape, "", object)
    for (method, layer), row in table.iterrows():
        shown = f"{row['value']:.2f}\n[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
        if method in order and layer in DEPTHS:
            place = order.index(method), DEPTHS.index(layer)
            values[place], text[place] = row["value"], shown
        elif method in order and not layer:
            # a rival has no depth: one value across all three
            values[order.index(method)], text[order.index(method), 1] = row["value"], shown
    top = max(float(np.nanmax(values)), 0.05) if np.isfinite(values).any() else 1.0
    look = {"cmap": "cividis", "vmin": 0, "vmax": top, "cbar": False, "linewidths": 0.6}
    sns.heatmap(values, ax=axis, annot=text, fmt="", annot_kws={"fontsize": 6.5}, **look)
    axis.set_xticks(np.arange(len(DEPTHS)) + 0.5, [f"[{depth}]" for depth in DEPTHS])
    axis.set_title(title, fontsize=9)
    axis.grid(visible=False)


def _bars(
    axis: Axes,
    rows: pd.DataFrame,
    order: Sequence[str],
    best: Mapping[str, str],
    metric: str,
    title: str,
    factor: float,
) -> None:
    table = rows[rows["metric"] == metric]
    table = table.assign(layer=table["layer"].fillna("")).set_index(["method", "layer"])
    for place, method in enumerate(order):
        if (method, best[method]) not in table.index:
            continue
        row = table.loc[(method, best[method])]
        axis.barh(place + 0.5, factor * row["value"], height=0.6, color="0.55")
        if pd.notna(row["ci_low"]):
            axis.hlines(
                place + 0.5,
                factor * row["ci_low"],
                factor * row["ci_high"],
                color="0.15",
                linewidth=1.4,
            )
        end = row["value"] if pd.isna(row["ci_high"]) else max(row["value"], row["ci_high"])
        axis.text(
            factor * end, place + 0.5, f"  {factor * row['value']:.3g}", va="center", fontsize=6.5
        )
    axis.set_title(title, fontsize=9)
    axis.margins(x=0.3)
    axis.grid(visible=False, axis="y")


def precision_recall_figure(
    scores: Sequence[SeriesScore], layer_of: Mapping[str, str], title: str, variant: str = "raw"
) -> Figure:
    """Precision and sensitivity of pixels of positive slices over all thresholds, a line per method
    at its depth `layer_of` (rivals: ""), the area under it in the legend."""
    shown = [
        score
        for score in scores
        if score.variant == variant and layer_of.get(score.method) == score.layer
    ]
    if not shown:
        raise StudyError(f"figure {title!r} has no curve to show")
    figure, axis = plt.subplots(figsize=(6.2, 4.4))
    for colour, score in zip(sns.color_palette("husl", len(shown)), shown):
        style = ":" if score.method in RIVALS else "-"
        label = (
            f"{score.label.replace(score.method, titled(score.method), 1)}:"
            f" {score.area_positive.value():.3f}"
        )
        axis.plot(*score.precision_recall, style, color=colour, linewidth=1.4, label=label)
    top = max(float(np.nanmax(score.precision_recall[1])) for score in shown)
    axis.set(
        xlabel="sensitivity of pixels",
        ylabel="PPV of pixels",
        xlim=(-0.01, 1.01),
        ylim=(0, min(1.01, 1.1 * top)),
    )
    figure.suptitle(title, fontsize=9)
    axis.legend(
        fontsize=6.5,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        title="area under the curve",
        title_fontsize=7,
    )
    return figure


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


def figure_two(table: pd.DataFrame, title: str) -> Figure:
    """F1 of the five best epochs, mean and SD, per run (Figure 2). table: method, f1_top5,
    f1_top5_sd."""
    figure, axis = plt.subplots(figsize=(5.4, 0.9 + 0.26 * len(table)))
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
        yticklabels=table["method"],
        xlabel="F1, mean and SD of the five best epochs",
        title=title,
    )
    axis.invert_yaxis()
    return figure


def figure_three(
    curves: pd.DataFrame, title: str, marked: Sequence[float] = (0.3, 0.5, 0.7)
) -> Figure:
    """Precision-recall curves of the classifiers, points at the thresholds that Figure 3 compares.

    curves: run, sensitivity, precision, threshold.
    """
    figure, axis = plt.subplots(figsize=(6.2, 4.2))
    runs = list(dict.fromkeys(curves["run"]))
    for colour, run in zip(sns.color_palette("husl", len(runs)), runs):
        part = curves[curves["run"] == run].sort_values("threshold")
        axis.plot(part["sensitivity"], part["precision"], color=colour, linewidth=1.1, label=run)
        for threshold, marker in zip(marked, "osD"):
            above = part[part["threshold"] >= threshold]
            if len(above):
                axis.plot(
                    above["sensitivity"].iloc[0],
                    above["precision"].iloc[0],
                    marker,
                    color=colour,
                    markersize=4,
                )
    for threshold, marker in zip(marked, "osD"):
        axis.plot([], [], marker, color="0.4", markersize=4, label=f"threshold {threshold:g}")
    axis.set(
        xlabel="sensitivity", ylabel="PPV", title=title, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01)
    )
    axis.legend(fontsize=6.5, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def maps_figure(
    hu: np.ndarray,
    maps: Mapping[tuple[str, str], np.ndarray],
    masks: Mapping[tuple[str, str], np.ndarray],
    title: str,
    truth: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> Figure:
    """All maps of one slice: a row per depth, a column per method, masks at their thresholds
    outlined.

    hu: (S, S). maps: (method, depth) -> (S, S) in [0, 1]. masks: bool (S, S), same keys. truth:
    mask codes. boxes: (n, 4).
    """
    methods, depths = (list(dict.fromkeys(key[place] for key in maps)) for place in (0, 1))

    def stacked(found: Mapping[tuple[str, str], np.ndarray], method: str) -> np.ndarray:
        return np.stack([found[method, depth] for depth in depths])

    columns = [
        MapColumn(titled(method), stacked(maps, method), stacked(masks, method))
        for method in methods
    ]
    repeated = {"truth": np.repeat(truth[None], len(depths), 0)} if truth is not None else {}
    return heatmap_grid(
        np.repeat(hu[None], len(depths), 0),
        columns,
        title,
        boxes=[boxes] * len(depths) if boxes is not None else None,
        row_titles=depths,
        opacity=0.5,
        **repeated,
    )
