"""Bland-Altman plots of volumes: difference over mean, bias and limits of agreement with their
intervals."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ich_study.errors import StudyError
from ich_study.evaluate.quantification import agreement_statistic, scans_of
from ich_study.figures.names import method_name
from ich_study.figures.style import CLASS_COLOURS, legend_below, letters
from ich_study.metrics.statistics import patient_bootstrap
from ich_study.schema import LABELS

_LINES = {"volume_bias_ml": "-", "volume_lower_limit_ml": "--", "volume_upper_limit_ml": "--"}
_REPLICATES = 500
_POINTS = {"o": "class in truth", "x": "class not in truth"}
LINEAR_ML = 10.0
"""Axes are linear up to here and logarithmic beyond, so that one scale holds millilitres and
litres."""


def draw_bland_altman(axis: Axes, scans: pd.DataFrame, colour: str) -> str:
    """Scans (rows of `volume_table` of one class) as points; lines for bias and limits, bands for
    their 95 % intervals over patients. Returns bias and limits in words."""
    truth, predicted = scans["truth_ml"].to_numpy(float), scans["predicted_ml"].to_numpy(float)
    words = []
    for metric, line in _LINES.items():
        interval = patient_bootstrap(agreement_statistic(scans, metric), _REPLICATES)
        known = np.isfinite(interval.value)
        words.append(f"{interval.value:.1f}" if known else "unknown")
        if known:
            axis.axhline(interval.value, color="0.25", linestyle=line, linewidth=1.1)
        if np.isfinite([interval.low, interval.high]).all():
            axis.axhspan(interval.low, interval.high, color="0.5", alpha=0.16, linewidth=0)
    axis.axhline(0, color="0.6", linestyle=":", linewidth=0.9)
    for marker, part in zip(_POINTS, (truth > 0, truth == 0)):
        edge = {"edgecolors": "0.2"} if marker == "o" else {}
        look = {"s": 16, "marker": marker, "color": colour, "linewidths": 0.6, "zorder": 3} | edge
        axis.scatter((truth + predicted)[part] / 2, (predicted - truth)[part], **look)
    axis.grid(False)
    return f"bias {words[0]}\nlimits {words[1]} to {words[2]}"


def bland_altman_figure(volumes: Mapping[str, pd.DataFrame]) -> Figure:
    """A row of panels per method, a column per class: volume difference (predicted - truth) over
    the mean of both, in mL, of all scans.

    volumes: method -> `volume_table`. Crosses are scans without the class in truth.
    The panels of a row share one scale, linear up to LINEAR_ML. Raises StudyError where no scan is
    left.
    """
    tables = volumes.values()
    shown = [name for name in LABELS if any(len(scans_of(each, name, "all")) for each in tables)]
    if not shown:
        raise StudyError(f"no scan of {list(LABELS)} with known volumes; nothing to plot")
    width = 0.6 + 2.1 * len(shown)
    size = max(6.0, letters(5.2, width))
    figure, axes = plt.subplots(
        len(volumes),
        len(shown),
        figsize=(width, 0.7 + (1.9 + 0.06 * size) * len(volumes)),
        sharex="row",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for line, (method, table) in zip(axes, volumes.items()):
        for axis, name in zip(line, shown):
            scans = scans_of(table, name, "all")
            words = draw_bland_altman(axis, scans, CLASS_COLOURS[name]) if len(scans) else ""
            named = f"{name} ({len(scans)} scans)\n" if axis in axes[0] else ""
            axis.set_title(named + words, fontsize=1.1 * size)
            if axis in axes[-1]:
                axis.set_xlabel("mean of both, mL", fontsize=1.1 * size)
            axis.tick_params(labelsize=size)
        line[0].set_ylabel(f"{method_name(method)}\npredicted - truth, mL", fontsize=1.1 * size)
        line[0].set_xscale("symlog", linthresh=LINEAR_ML)
        line[0].set_yscale("symlog", linthresh=LINEAR_ML)
        for scaled in (line[0].xaxis, line[0].yaxis):
            scaled.set_major_formatter("{x:,.0f}")
        line[0].set_xlim(left=0)
    markers = [
        Line2D([], [], color="0.3", marker=marker, linestyle="", markersize=4, label=words)
        for marker, words in _POINTS.items()
    ]
    legend_below(figure, markers, 2, 1.1 * size)
    said = (
        f"one scale a row, logarithmic beyond {LINEAR_ML:.0f} mL; bands: 95 % intervals over"
        " patients"
    )
    figure.suptitle(f"Volume, predicted minus true  ({said})", fontsize=1.3 * size)
    return figure
