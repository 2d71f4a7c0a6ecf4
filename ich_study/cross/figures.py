"""The pictures of notebook 08: quality against cost, ranks, calibration."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from ich_study.cross.measure import ANY
from ich_study.cross.tables import Scored
from ich_study.evaluate.truth import Truth, largest_lesions
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.style import COLOURS, MARKERS

METHODS_BESIDE = 8
"""Methods of one picture of heat, so that a slice is still seen."""


def looks_of(methods: list[str]) -> dict[str, dict[str, str]]:
    """A colour and a marker for each method, the same in every panel."""
    looks = {}
    for number, name in enumerate(methods):
        marker = MARKERS[number % len(MARKERS)]
        looks[name] = {"color": COLOURS[number % len(COLOURS)], "marker": marker}
    return looks


def quality_cost_figure(results: pd.DataFrame, cost: pd.DataFrame, title: str) -> Figure:
    """Pooled Dice at held-out thresholds against time a scan, a panel per data set.

    Rivals cost nothing and are lines: a method below the highest of them has found nothing.
    """
    dice = results[
        results["metric"].isin(["dice", "box_dice"])
        & (results["unit"] == "pixel")
        & (results["class"] == ANY)
    ]
    table = dice.merge(cost, on=["dataset", "method"])
    datasets = list(dict.fromkeys(table["dataset"]))
    looks = looks_of(list(dict.fromkeys(table.loc[~table["rival"], "method"])))
    figure, axes = plt.subplots(
        1,
        len(datasets),
        figsize=(3.6 * len(datasets) + 2.2, 3.8),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for axis, dataset in zip(axes.flat, datasets):
        part = table[table["dataset"] == dataset]
        for row in part[~part["rival"]].itertuples():
            spread = [[row.value - row.ci_low], [row.ci_high - row.value]]
            axis.errorbar(
                row.milliseconds,
                row.value,
                np.maximum(spread, 0),
                markersize=7,
                capsize=2,
                linestyle="",
                label=row.method,
                **looks[row.method],
            )
        # a name at each line would lie on the next; the highest is the one to beat
        for row, style in zip(part[part["rival"]].itertuples(), ("-", "--", ":")):
            axis.axhline(row.value, color="0.45", linestyle=style, linewidth=1, label=row.method)
        what = "Dice" if (part["metric"] == "dice").all() else "Dice with filled boxes"
        axis.set(
            xscale="log",
            xlabel="milliseconds a scan",
            ylabel=f"{what}, pixels pooled",
            title=dataset,
        )
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    handles: dict[str, object] = {}
    for axis in axes.flat:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    names = sorted(handles, key=lambda name: name not in looks)  # rivals below the methods
    entries = [handles[name] for name in names]
    figure.legend(entries, names, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(f"{title}: higher is better, further left is cheaper", fontsize=9)
    return figure


def ranks_figure(ranks: pd.Series, distance: float, title: str) -> Figure:
    """Mean ranks with the distance that counts: methods whose bars overlap do not differ."""
    figure, axis = plt.subplots(figsize=(6.4, 0.9 + 0.3 * len(ranks)), layout="constrained")
    places = np.arange(len(ranks))
    axis.hlines(places, ranks - distance / 2, ranks + distance / 2, color="0.6", linewidth=4)
    axis.plot(ranks, places, "o", color=COLOURS[0])
    axis.set(
        yticks=places,
        yticklabels=ranks.index,
        xlabel=f"mean rank over patients, 1 is best; critical difference {distance:.2f}",
    )
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10)
    return figure


def reliability_figure(tables: dict[str, pd.DataFrame], title: str) -> Figure:
    """Share of positive slices against the probability that was said; the diagonal is honest."""
    figure, axis = plt.subplots(figsize=(5.8, 4.2), layout="constrained")
    axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    looks = looks_of(list(tables))
    for name, table in tables.items():
        axis.plot(table["probability"], table["share"], label=name, linewidth=1, **looks[name])
    axis.set(xlabel="probability said", ylabel="share of slices with hemorrhage")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.set_title(title, fontsize=10)
    return figure


def heat_figures(
    scored: Mapping[str, Scored], truth: Truth, count: int, title: str
) -> list[Figure]:
    """The slices with the largest lesions of different patients: truth, then every method's heat,
    its mask at its own threshold outlined. A figure for each `METHODS_BESIDE` methods."""
    index = largest_lesions(truth, (ANY,), count)["index"].to_numpy()
    found, names = [], list(scored)
    for start in range(0, len(names), METHODS_BESIDE):
        shown = {name: scored[name] for name in names[start : start + METHODS_BESIDE]}
        found.append(_heat_figure(shown, truth, index, title))
    return found


def _heat_figure(
    scored: Mapping[str, Scored], truth: Truth, index: np.ndarray, title: str
) -> Figure:
    columns = []
    for name, each in scored.items():
        maps = each.entry.heat.read(slice(None))[:, 0]
        lowest, highest = float(maps.min()), float(maps.max())
        shown = (maps[index] - lowest) / max(highest - lowest, 1e-9)
        columns.append(MapColumn(name.replace("_", "\n", 1), shown, each.entry.marked[index]))
    return heatmap_grid(
        truth.hu[index],
        columns,
        title,
        truth.mask("any", index),
    )
