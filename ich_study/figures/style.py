"""Tables to pictures: the one look of every figure of the study.

Slices are shown in radiological orientation (anterior at the top, the patient's right on the
left, and marked so) in a stated window. Colours of the subtypes are the same in every figure, have
a contrast of 3 or more on white, and can be told apart by colour-blind readers (Okabe-Ito, but for
its yellow, whose contrast is 1.3).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from ich_study.atomic import atomic_path
from ich_study.ct.windows import WINDOWS, Window, apply_window
from ich_study.errors import StudyError
from ich_study.figures.names import in_words, method_name, readable
from ich_study.figures.progress import place_bars
from ich_study.figures.tables import show_tables_in_words
from ich_study.metrics.classification import prevalence
from ich_study.schema import LABELS, MASK_CODES, UNSPECIFIED_HEMORRHAGE

CLASS_COLOURS: dict[str, str] = {
    "any": "#000000",
    "IPH": "#D55E00",
    "IVH": "#0072B2",
    "SAH": "#8E2FF0",
    "SDH": "#009E73",
    "EDH": "#CC79A7",
    "hemorrhage": "#E69F00",
}
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
"""Colours of things that are not subtypes, such as methods."""
POINT_COLOUR = OUTLINE_COLOUR = "#56B4E9"
"""Of points on a slice, and of what a method outlines without naming a subtype."""
NAME_OF_CODE = {
    **{code: name for name, code in MASK_CODES.items()},
    UNSPECIFIED_HEMORRHAGE: "hemorrhage",
}
"""Of the codes of a mask."""
CODE_OF_LABEL = {**MASK_CODES, "any": UNSPECIFIED_HEMORRHAGE}
"""Of the labels of boxes."""
POINTS_PER_INCH = 72
READ_AT = 8.0
"""Inches of a figure that is read in its own size; wider ones are shown smaller, and their letters
grow with them."""
PANELS_IN_A_LINE = 3
"""Of a chart of intervals: more would be too wide to be read in its own size."""
LETTER_WIDTH = 0.55
"""Of a mean letter of a title, in units of its font size."""
DARKEST_UNDER_BLACK = 0.179
"""Luminance above which black letters are read better than white: (L + 0.05)² = 0.05 · 1.05."""


@dataclass(frozen=True)
class SlicePanel:
    """One picture of a montage: a slice in HU (rows, columns), and what is drawn on it.

    mask: uint8 (rows, columns) of mask codes, outlined. boxes: rows with x, y, width, height in
    pixels, and label.
    """

    hu: np.ndarray
    title: str = ""
    mask: np.ndarray | None = None
    boxes: pd.DataFrame | None = None


def use_study_style() -> None:
    """Seaborn's look of every figure, as matplotlib has it: white, with a grid, in colours for
    colour-blind readers, and of a paper's sizes. Numbers of tables have three digits, and a
    notebook shows tables in words, and progress to those who look."""
    place_bars()
    pd.set_option("display.float_format", short_number)
    show_tables_in_words()
    plt.style.use(["seaborn-v0_8-whitegrid", "seaborn-v0_8-colorblind"])
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 150,
            "figure.constrained_layout.use": True,
            "font.size": 9.6,
            "axes.titlesize": 9.6,
            "axes.labelsize": 9.6,
            "xtick.labelsize": 8.8,
            "ytick.labelsize": 8.8,
            "legend.fontsize": 8.8,
            "lines.linewidth": 1.2,
            "lines.markersize": 4.8,
        }
    )


def short_number(value: float) -> str:
    """A number of a table on a screen: three digits, whole ones and those of a thousand or more
    without decimals, one below 1 that was rounded to three decimals with those.

    >>> [short_number(value) for value in (0.826216, 0.000578, 44.69, 439.2, 8032.2, 5.0, 0.006)]
    ['0.826', '0.000578', '44.7', '439', '8032', '5', '0.006']
    """
    if abs(value) < 1 and value and round(value, 3) == value:
        return f"{value:.3f}"
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:.0f}" if whole else f"{value:#.3g}".rstrip(".")


def save_figure(figure: Figure, path: Path) -> Path:
    """`figure` as PNG, its titles whole, atomically and without time stamps, so that the same
    numbers give the same file."""
    fit_titles(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    return path


def letters(points: float, inches: float) -> float:
    """The size of letters that are as easy to read as `points`, in a figure of this width.

    >>> letters(6, 8), letters(6, 12)
    (6.0, 9.0)
    """
    return points * max(1.0, inches / READ_AT)


def ink_on(colour: Any) -> str:
    """Black or white, whichever has more contrast on a colour, by its luminance as WCAG 2 defines
    it; 4.5 or more on any.

    >>> ink_on("#7C7B78"), ink_on("#00224E"), ink_on((1.0, 0.9, 0.2, 1.0))
    ('black', 'white', 'black')
    """
    parts = np.array(to_rgb(colour))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > DARKEST_UNDER_BLACK else "white"


def fit_titles(figure: Figure) -> None:
    """Titles in words (`names.in_words`), broken into lines where they are wider than their figure
    or, where panels stand beside it, their panel. Titles of panels are all made smaller where one
    of their words would still touch a neighbour's. A figure whose titles were fitted and are the
    same is left as it is, since laying out many panels takes seconds."""
    if getattr(figure, "fitted_titles", None) == _form_of(figure):
        return
    _fit(figure)
    figure.fitted_titles = _form_of(figure)


def _form_of(figure: Figure) -> tuple[str, tuple[float, ...], int]:
    return titles_of(figure), tuple(figure.get_size_inches()), len(figure.axes)


def _fit(figure: Figure) -> None:
    width = figure.get_figwidth()
    if figure.get_suptitle():
        _broken(figure._suptitle, width)
    titled = [axis for axis in figure.axes if axis.get_subplotspec() and axis.get_title()]
    for axis in titled:
        columns = axis.get_gridspec().ncols
        _broken(axis.title, width / columns if columns > 1 else _room(axis))
    if len(titled) < 2:
        return
    figure.draw_without_rendering()  # puts the panels where they will stand
    panels = [axis.get_window_extent().width / figure.dpi for axis in titled]
    shares = [_inches_of(axis.title) / panel for axis, panel in zip(titled, panels)]
    for axis in titled:
        axis.title.set_fontsize(axis.title.get_fontsize() / max(1, *shares))


def _room(axis: Axes) -> float:
    """Inches that a title has over the only panel of a line, which a legend beside it moves towards
    an edge of the figure."""
    figure = axis.figure
    figure.draw_without_rendering()
    panel = axis.get_window_extent()
    middle = (panel.x0 + panel.x1) / 2 / figure.dpi
    return 2 * min(middle, figure.get_figwidth() - middle)


def _inches_of(title: Text) -> float:
    """The width of its longest line."""
    font, widths = title.get_fontproperties(), [0.0]
    for line in title.get_text().split("\n"):
        if line.strip():
            widths.append(TextPath((0, 0), line, prop=font).get_extents().width)
    return max(widths) / POINTS_PER_INCH


def _broken(title: Text, inches: float) -> None:
    most = max(int(inches * POINTS_PER_INCH / (LETTER_WIDTH * title.get_fontsize())), 8)
    lines = [textwrap.fill(line, most) for line in in_words(title.get_text()).split("\n")]
    title.set_text("\n".join(lines))


def before_title(figure: Figure, words: str) -> None:
    """Put `words` before the title of a figure, or of its only panel, or give it one."""
    titled = [axis for axis in figure.axes if axis.get_title()]
    if figure.get_suptitle() or len(titled) != 1:
        old = figure.get_suptitle()
        # the title that is there keeps its size
        size = figure._suptitle.get_fontsize() if old else 9
        figure.suptitle(f"{words}: {old}" if old else words, fontsize=size)
    else:
        titled[0].set_title(f"{words}: {titled[0].get_title()}")


def titles_of(figure: Figure) -> str:
    """All that the titles of a figure and its panels say."""
    return "\n".join([figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)])


def mark_sides(axis: Axes) -> None:
    """R and L at the edges of a slice: column 0 is the patient's right in every volume of the study
    (`datasets.contract`)."""
    rim = [withStroke(linewidth=1.5, foreground="black")]
    look = {"color": "white", "fontsize": 8, "va": "center", "path_effects": rim}
    axis.text(0.03, 0.5, "R", ha="left", transform=axis.transAxes, **look)
    axis.text(0.97, 0.5, "L", ha="right", transform=axis.transAxes, **look)


def side_bar(
    figure: Figure, axes: np.ndarray, scale: ScalarMappable, label: str, size: float
) -> Colorbar:
    """A colour bar beside all pictures. size: of its letters."""
    bar = figure.colorbar(scale, ax=axes, fraction=0.02, pad=0.01)
    bar.set_label(label, fontsize=size)
    bar.ax.tick_params(labelsize=size, colors="black")
    return bar


def heat_bar(
    figure: Figure,
    axes: np.ndarray,
    size: float,
    shown_from: float = 0.0,
) -> None:
    """The colour bar of heat in [0, 1], beside all pictures. size: of its letters. shown_from:
    the threshold at which it and the pictures begin, where there is one; it is named then."""
    bar = side_bar(figure, axes, ScalarMappable(Normalize(0, 1), "inferno"), "heat", size)
    bar.ax.set_ylim(shown_from, 1)
    if shown_from:
        bar.set_ticks([shown_from, 1], labels=["threshold", "highest"])


def inset_bar(axis: Axes, drawn: AxesImage) -> Axes:
    """A colour bar inside a picture, so that all pictures keep one size; its axis. Its numbers are
    white with a dark rim, to be read on any colour."""
    bar = axis.inset_axes((0.06, 0.08, 0.05, 0.5))
    axis.figure.colorbar(drawn, cax=bar)
    bar.tick_params(labelsize=7, colors="white", length=2)
    for label in bar.get_yticklabels():
        label.set_path_effects([withStroke(linewidth=1.8, foreground="black")])
    return bar


def show_hu(axis: Axes, hu: np.ndarray, window: Window) -> None:
    """A slice (rows, columns) in grey."""
    axis.imshow(apply_window(hu, window), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def said_of(window: Window) -> str:
    """A window for the title of a figure."""
    return f"window: level {window.center:g}, width {window.width:g} HU"


def outline_codes(
    axis: Axes, codes: np.ndarray, of_bool: str = CLASS_COLOURS["hemorrhage"]
) -> None:
    """A mask's codes (rows, columns), each in its subtype's colour; a bool mask in `of_bool`."""
    for code in np.unique(codes[codes > 0]):
        colour = of_bool if codes.dtype == bool else CLASS_COLOURS[NAME_OF_CODE[int(code)]]
        axis.contour(codes == code, levels=[0.5], colors=[colour], linewidths=0.9)


def outline_box(axis: Axes, box: Sequence[float], colour: str) -> None:
    """A box of x, y, width, height in pixels."""
    x, y, width, height = box
    look = {"fill": False, "edgecolor": colour, "linewidth": 1.2}
    axis.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, **look))


def codes_legend(
    figure: Figure,
    masks: Sequence[np.ndarray | None],
    size: float = 7.5,
    more: Sequence[Artist] = (),
    before: str = "",
) -> None:
    """The subtypes' colours of the codes that occur, then `more`; none where all masks are bool.
    size: of its letters. before: words before each subtype."""
    codes = [np.unique(mask[mask > 0]) for mask in masks if mask is not None and mask.dtype != bool]
    shown = sorted({int(code) for each in codes for code in each})
    names = [NAME_OF_CODE[code] for code in shown]
    # lines, as `outline_codes` draws them
    subtypes = [Line2D([], [], color=CLASS_COLOURS[name], label=before + name) for name in names]
    legend_below(figure, [*subtypes, *more], 6, size)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int, size: float) -> None:
    """What `handles` stand for, below all panels, where there are any. size: of the letters."""
    if handles:
        place = {"loc": "outside lower center", "ncols": columns, "frameon": False}
        figure.legend(handles=handles, fontsize=size, **place)


def draw_slice(axis: Axes, panel: SlicePanel) -> None:
    """One slice with the outlines of its mask and its boxes."""
    show_hu(axis, panel.hu, WINDOWS["brain"])
    if panel.mask is not None:
        outline_codes(axis, panel.mask)
    if panel.boxes is not None:
        for box in panel.boxes.itertuples():
            colour = CLASS_COLOURS[NAME_OF_CODE[CODE_OF_LABEL[box.label]]]
            outline_box(axis, (box.x, box.y, box.width, box.height), colour)
    mark_sides(axis)
    axis.set_title(panel.title, fontsize=8)
    axis.set_axis_off()


def montage(
    panels: Sequence[SlicePanel], columns: int, title: str = "", legend: bool = False
) -> Figure:
    """Slices in a grid, row by row. Raises StudyError when there is nothing to show."""
    if not panels:
        raise StudyError(f"montage {title!r} has no slices to show")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.9 * columns, 2.1 * rows + 0.4), squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
        # an axis that is off still measures its ticks, two thirds of the time of drawing
        axis.set(xticks=[], yticks=[])
    for axis, panel in zip(axes.flat, panels):
        draw_slice(axis, panel)
    figure.suptitle(f"{title}  ({said_of(WINDOWS['brain'])})", fontsize=10)
    if legend:
        codes = [panel.mask for panel in panels]
        for panel in panels:
            if panel.boxes is not None:
                codes.append(panel.boxes["label"].map(CODE_OF_LABEL).to_numpy(np.uint8))
        codes_legend(figure, codes)
    return figure


def curve_figure(curves: pd.DataFrame, kind: str, title: str, hue: str = "class") -> Figure:
    """ROC or precision-recall curves, one line per value of `hue`.

    curves: columns false_positive_rate, sensitivity (kind `roc`) or sensitivity, precision (kind
    `pr`) with threshold, and `hue`. Dotted is chance: of `pr` the share of positives of a line.
    """
    axes_of_kind = {
        "roc": ("false_positive_rate", "sensitivity", "1 - specificity", "sensitivity"),
        "pr": ("sensitivity", "precision", "sensitivity", "PPV"),
    }
    x, y, x_label, y_label = axes_of_kind[kind]
    palette = CLASS_COLOURS if hue == "class" else dict(zip(curves[hue].unique(), COLOURS))
    figure, axis = plt.subplots(figsize=(4.6, 4.2))
    for name, own in curves.groupby(hue, sort=False):
        axis.plot(own[x], own[y], color=palette[name], linewidth=1.4, label=method_name(name))
        if kind == "pr":
            axis.axhline(prevalence(own), color=palette[name], linestyle=":", linewidth=1)
    if kind == "roc":
        axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    axis.set(xlabel=x_label, ylabel=y_label, title=title, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.legend(frameon=False, fontsize=7.5)
    return figure


def history_figure(history: pd.DataFrame, title: str) -> Figure:
    """Loss of both parts, and the validation part's scores, by epoch.

    history: columns epoch, from 0, train_loss, valid_loss, auroc, f1.
    """
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3))
    epochs = history["epoch"] + 1  # as the lines that training prints count them
    shown = (
        ("loss", {"train_loss": "training", "valid_loss": "validation"}),
        ("score", {"auroc": "AUROC", "f1": "F1 at 0.5"}),
    )
    for axis, (label, columns) in zip(panels, shown):
        for name, words in columns.items():
            axis.plot(epochs, history[name], marker="o", markersize=3, label=words)
        axis.set(xlabel="epoch", ylabel=label, xlim=(epochs.min() - 0.5, epochs.max() + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.legend(frameon=False, fontsize=7)
    panels[1].set_ylim(0, 1.02)
    figure.suptitle(title, fontsize=10)
    return figure


def interval_figure(results: pd.DataFrame, title: str, chance: float | None = None) -> Figure:
    """Values with their 95 % intervals, a line per method, one panel per class, on shared axes. A
    value without an interval is a dot, and the chart says so.

    results: tidy result rows of one metric.
    """
    classes = [name for name in LABELS if name in set(results["class"])]
    names = list(results["method"].unique())
    columns = min(len(classes), PANELS_IN_A_LINE)
    lines = -(-len(classes) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(max(4.6, 1.6 + 1.9 * columns), 0.5 + lines * (0.4 + 0.26 * len(names))),
        sharey=True,
        sharex=True,
        squeeze=False,
    )
    for axis in axes.flat[len(classes) :]:
        axis.set_axis_off()
    for axis, class_name in zip(axes.flat, classes):
        part = results[results["class"] == class_name].set_index("method").reindex(names)
        places, colour = np.arange(len(names)), CLASS_COLOURS[class_name]
        axis.hlines(places, part["ci_low"], part["ci_high"], colour, alpha=0.55, linewidth=2.2)
        axis.plot(part["value"], places, "o", color=colour, markersize=4)
        if chance is not None:
            axis.axvline(chance, color="0.5", linestyle=":", linewidth=1)
        axis.set_title(readable(class_name))
        axis.set_yticks(places, [method_name(name) for name in names])
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)  # the first above, none cut by the edge
    figure.suptitle(title, fontsize=10)
    if (results["value"].notna() & results["ci_low"].isna()).any():
        figure.supxlabel("a dot without a line: too few patients for an interval", fontsize=8.8)
    return figure


def strip_points(axis: Axes, values: pd.DataFrame, **options: Any) -> None:
    """Strip plot whose points are spread the same way each time."""
    import seaborn as sns  # slow to import

    # seaborn draws the spread from NumPy's global stream, which is left as it was
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        sns.stripplot(values, size=3.5, ax=axis, **options)
    finally:
        np.random.set_state(state)  # noqa: NPY002


def distribution_figure(
    values: pd.DataFrame, priors: pd.DataFrame, title: str, unit: str, log: bool
) -> Figure:
    """Measured values per class as points, over the prior's median and 5-95 % range as bars.

    values: columns class, value. priors: columns class, low, median, high.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3.2))
    order = list(priors["class"])
    for place, prior in enumerate(priors.itertuples()):
        axis.fill_betweenx(
            [prior.low, prior.high], place - 0.32, place + 0.32, color="0.85", zorder=0
        )
        axis.hlines(prior.median, place - 0.32, place + 0.32, color="0.35", linewidth=1.6, zorder=1)
    look = {"hue": "class", "palette": CLASS_COLOURS, "legend": False, "zorder": 2}
    strip_points(axis, values, x="class", y="value", order=order, **look)
    axis.set(ylabel=unit, title=title, yscale="log" if log else "linear")
    axis.set_xlabel("a dot: one lesion; grey: 5 to 95 % of the priors; line: their median")
    return figure
