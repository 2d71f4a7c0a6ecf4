"""The pictures of notebook 08: quality against cost, ranks, calibration."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from ich_study.cross.answers import ANY
from ich_study.cross.tables import LEARNED_FROM, Scored
from ich_study.evaluate.rivals import RIVALS
from ich_study.evaluate.truth import Truth
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.names import in_words, readable
from ich_study.figures.style import COLOURS, LETTER_WIDTH, POINTS_PER_INCH, READ_AT
from ich_study.metrics.calibration import expected_calibration_error

STUDY = "08_cross_benchmark"
METHODS_BESIDE = 8
"""Methods of one picture of heat, so that a slice is still seen."""
PANELS_ACROSS = 5
CHOICES_ACROSS = 2
"""Panels of quality and cost in a row, so that their lists are still read in READ_AT inches."""
LISTED = 7.5
"""Points of the letters of these lists."""


def quality_cost_figure(results: pd.DataFrame, cost: pd.DataFrame, title: str) -> Figure:
    """Pooled Dice at held-out thresholds against time a scan, a panel per data set.

    Numbered, with interval, and listed below by their Dice are the methods to choose from: above
    every trivial rival, and no other is better and as cheap. The rest is grey, hollow where a rival
    is better, which means that it has found nothing. A star says that a method learned from other
    patients of the panel's data set.
    """
    dice = results[
        results["metric"].isin(["dice", "box_dice"])
        & (results["unit"] == "pixel")
        & (results["class"] == ANY)
    ]
    table = dice.merge(cost, on=["dataset", "method"])
    # committed tables of earlier runs do not say it
    learned = table.get(LEARNED_FROM, pd.Series("", table.index))
    pairs = zip(table["dataset"], learned)
    table["at_home"] = [f" {data} (" in f" {said}" for data, said in pairs]
    parts = dict(list(table.groupby("dataset", sort=False)))
    choices = {name: choice_of(part) for name, part in parts.items()}
    longest = max(map(len, choices.values()))
    across = min(CHOICES_ACROSS, len(parts))
    down = -(-len(parts) // across)
    size = (READ_AT if across > 1 else 7.0, down * (3.6 + 0.17 * longest))
    figure, axes = plt.subplots(
        down, across, figsize=size, squeeze=False, sharey=True, layout="constrained"
    )
    for axis, (dataset, part) in zip(axes.flat, parts.items()):
        _draw_choice(axis, part, choices[dataset], 0.85 * size[0] / across)
        what = "Dice" if (part["metric"] == "dice").all() else "Dice with filled boxes"
        axis.set(xscale="log", ylabel=f"{what}, pixels pooled", title=in_words(dataset))
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].set_ylim(bottom=0)  # of all panels, once each has its points
    for axis in axes.flat[len(parts) :]:
        axis.set_axis_off()
    figure.suptitle(f"{title}: higher is better, further left is cheaper", fontsize=10)
    return figure


def choice_of(table: pd.DataFrame) -> pd.DataFrame:
    """The methods of one data set that are worth a choice, the best first: above every rival, and
    none is better and takes no more time. table: method, value, milliseconds, rival."""
    floor = table.loc[table["rival"], "value"].max()
    # of methods that take the same time the best comes first
    sought = table[~table["rival"] & ~(table["value"] <= floor)]
    sought = sought.sort_values(["milliseconds", "value"], ascending=[True, False], kind="stable")
    best_cheaper = sought["value"].cummax().shift(fill_value=-np.inf)
    return sought[sought["value"] > best_cheaper].iloc[::-1]


def _draw_choice(axis: Axes, table: pd.DataFrame, choice: pd.DataFrame, inches: float) -> None:
    """One panel of `quality_cost_figure`: the choice in colour, the others in grey, the highest
    rival as the floor. inches: that the list below it may take."""
    rivals = table[table["rival"]]
    floor, others = rivals["value"].max(), table[~table["rival"]]
    others = others[~others["method"].isin(choice["method"])]
    below = others["value"] <= floor
    for part, face in ((others[~below], "0.6"), (others[below], "none")):
        look = {"facecolors": face, "edgecolors": "0.6", "s": 26, "zorder": 2}
        axis.scatter(part["milliseconds"], part["value"], **look)
    if len(rivals):
        axis.axhspan(0, floor, color="0.5", alpha=0.12, linewidth=0)
    axis.plot(choice["milliseconds"], choice["value"], color=COLOURS[0], linewidth=1, zorder=2)
    listed = []
    for number, row in enumerate(choice.itertuples(), start=1):
        spread = np.maximum([[row.value - row.ci_low], [row.ci_high - row.value]], 0)
        place, look = (row.milliseconds, row.value), {"color": COLOURS[0], "zorder": 3}
        axis.errorbar(*place, spread, marker="o", markersize=12, capsize=3, **look)
        inside = {"ha": "center", "va": "center", "color": "white", "weight": "bold"}
        axis.annotate(str(number), place, fontsize=8, zorder=4, **inside)
        interval = f"{row.value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]"
        name = readable(row.method) + "*" * row.at_home
        listed.append(f"{number}  {name}: {interval}, {row.milliseconds:.0f} ms")
    listed = listed or ["no method is better than the best trivial rival"]
    if choice["at_home"].any():
        listed.append("*  learned from other patients of this data set")
    if (~below).any():
        listed.append(f"grey: {(~below).sum()} others; for each a better one is as quick")
    if below.any():
        listed.append(f"hollow: {below.sum()} that are no better than the best trivial rival")
    if len(rivals):
        listed.append(f"shade: up to {readable(rivals.loc[rivals['value'].idxmax(), 'method'])}")
    # a line that is wider would push the panel together
    most = int(inches * POINTS_PER_INCH / (LETTER_WIDTH * LISTED))
    lines = [textwrap.fill(line, most, subsequent_indent="    ") for line in listed]
    axis.set_xlabel("milliseconds a scan\n\n" + "\n".join(lines), loc="left", fontsize=LISTED)


def redrawn(results: pd.DataFrame, runs: Path, data: str) -> dict[str, Figure]:
    """Quality and cost, and ranks, again from the small tables of 08 in `runs`: path below it,
    without ending, and figure; none where 08 did not run. results: of all runs."""
    folder = runs / STUDY
    if not (folder / "ranks.csv").is_file():
        print(f"no ranks.csv in {folder}: its charts are not drawn again")
        return {}
    choose, ranks = (pd.read_csv(folder / f"{name}.csv") for name in ("choose", "ranks"))
    cost = choose.assign(rival=choose["method"].isin(RIVALS))
    own = results[results["study"] == STUDY]
    found = {f"{STUDY}/quality_cost": quality_cost_figure(own, cost, data)}
    for dataset, placed in ranks.groupby("dataset", sort=False):
        order, distance = placed.set_index("method")["mean_rank"], placed["critical"].iloc[0]
        found[f"{STUDY}/ranks_{dataset}"] = ranks_figure(order, distance, f"{dataset}, {data}")
    return found


def ranks_figure(ranks: pd.Series, distance: float, title: str) -> Figure:
    """Mean ranks with the distance that counts: methods whose bars overlap do not differ."""
    figure, axis = plt.subplots(figsize=(6.8, 1.1 + 0.22 * len(ranks)), layout="constrained")
    places = np.arange(len(ranks))
    axis.hlines(places, ranks - distance / 2, ranks + distance / 2, color="0.6", linewidth=4)
    axis.plot(ranks, places, "o", color=COLOURS[0])
    axis.set_yticks(places, ranks.index.map(readable))
    axis.set_xlabel(f"mean rank over patients, 1 is best\ncritical difference {distance:.2f}")
    axis.set_ylim(len(ranks) - 0.5, -0.5)
    axis.set_xlim(left=0.5)  # no rank lies below 1
    axis.set_title(title, fontsize=10)
    return figure


def reliability_figure(tables: dict[str, pd.DataFrame], title: str) -> Figure:
    """Share of positive slices against the probability that was said, a panel for each network:
    methods that say the same share one. The diagonal is honest; the title tells the error."""
    alike: dict[bytes, list[str]] = {}
    for name, table in tables.items():
        alike.setdefault(table.round(6).to_numpy(np.float64).tobytes(), []).append(name)
    across = min(PANELS_ACROSS, len(alike))
    down = -(-len(alike) // across)
    options = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(down, across, figsize=(1.9 * across, 1 + 1.9 * down), **options)
    for axis, names in zip(axes.flat, alike.values()):
        table, more = tables[names[0]], f" and {len(names) - 1} more" if names[1:] else ""
        axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
        axis.plot(table["probability"], table["share"], marker="o", color=COLOURS[0])
        error = expected_calibration_error(table)
        axis.set_title(f"{readable(names[0])}{more}\nerror {error:.2f}")
    for axis in axes.flat[len(alike) :]:
        axis.set_axis_off()
    figure.supxlabel("probability said", fontsize=10)
    figure.supylabel("share of slices with hemorrhage", fontsize=10)
    figure.suptitle(title, fontsize=10)
    return figure


def heat_figures(
    scored: Mapping[str, Scored], truth: Truth, index: np.ndarray, title: str
) -> list[Figure]:
    """Truth on the slices `index`, then every method's heat, its mask at its own threshold
    outlined. A figure for each `METHODS_BESIDE` methods."""
    columns = [
        MapColumn(readable(name), each.shown_heat, each.shown_mask) for name, each in scored.items()
    ]
    boxed = truth.kind == "boxes"
    mask = None if boxed else truth.mask("any", index)
    boxes = [truth.annotated[number] for number in index] if boxed else None
    return [
        heatmap_grid(truth.hu[index], columns[start : start + METHODS_BESIDE], title, mask, boxes)
        for start in range(0, len(columns), METHODS_BESIDE)
    ]
