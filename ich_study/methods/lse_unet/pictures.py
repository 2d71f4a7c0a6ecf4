"""Pictures of notebook 02: one slice through the method, training, and heat of several methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ich_study.ct.windows import WINDOWS
from ich_study.evaluate.rivals import rivals as trivial_rivals
from ich_study.evaluate.scaling import HEAT_MAXIMUM, minmax
from ich_study.evaluate.truth import Truth, largest_lesions
from ich_study.figures.bland_altman import bland_altman_figure
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.names import method_name
from ich_study.figures.steps import Step, steps_figure
from ich_study.figures.style import COLOURS
from ich_study.methods.lse_unet.algorithm1 import label_maps
from ich_study.methods.lse_unet.report import MaskReport
from ich_study.methods.lse_unet.study import MethodMaps, labels_of, masks_of
from ich_study.schema import MASK_CODES

CHANNELS = 3
"""Input channels that are shown; the paper's network has as many."""


@dataclass(frozen=True)
class Walk:
    """What one network makes of some slices, step by step.

    scores: class scores of the four levels, finest first, (n, classes, rows, columns). logits: (n,
    classes). heat, gradcam: in [0, 1], (n, classes, S, S). whole: the heat as 0..255, uint8.
    """

    scores: list[np.ndarray] = field(repr=False)
    logits: np.ndarray
    heat: np.ndarray = field(repr=False)
    gradcam: np.ndarray = field(repr=False)
    whole: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class SliceView:
    """One slice through the method, with settings that a reader can move.

    truth: of the slices. shown: `class, index`, a row per slice of the walks. inputs: what the
    network sees, (n, channels, S, S); channels: their names. present: which classes get a mask,
    bool (n, classes). classes: of the walks. walks: by variant.
    """

    truth: Truth
    shown: pd.DataFrame
    inputs: np.ndarray = field(repr=False)
    channels: tuple[str, ...]
    present: np.ndarray
    classes: tuple[str, ...]
    walks: Mapping[str, Walk]

    def draw(self, number: int, variant: str, threshold: float) -> Figure:
        """The first row: input channels, truth, trivial rivals. A row per variant: coarsest and
        finest score map, heat, pytorch-grad-cam, heat above the mask threshold, Algorithm 1's
        label map, its mask of the row's class.

        number: row of `shown`. variant: of `walks`, or "all". threshold: on the heat 0..255.
        """
        name, index = self.shown["class"].iloc[number], int(self.shown["index"].iloc[number])
        lesion, hu = self.truth.mask(name, np.array([index]))[0], self.truth.hu[index]
        inputs = zip(self.channels, minmax(self.inputs[number][:CHANNELS]))
        steps = [Step(f"input: {channel}\n", image) for channel, image in inputs]
        # A network with fewer channels leaves room for windows that a reader knows.
        for window in ("subdural", "bone")[: CHANNELS - len(steps)]:
            steps.append(Step(f"slice, {window} window\n", hu, "hu", window=WINDOWS[window]))
        steps.append(Step(f"slice and true {_said(name)}\n", hu, "hu", truth=lesion))
        for rival in trivial_rivals(self.truth, (name,), self.truth.size / 32):
            heat = rival.read(np.array([index]))[0, 0]
            steps.append(Step(f"rival:\n{rival.name}", heat, "heat", truth=lesion, under=hu))
        for key, walk in self.walks.items():
            if variant in ("all", key):
                steps += self._row(number, name, key, walk, threshold, hu, lesion)
        row = self.truth.rows.iloc[index]
        place = f"{row['scan_id']}, slice {row['slice_index']}"
        return steps_figure(steps, f"{place}: {_said(name)}, mask threshold {threshold}")

    def _row(
        self,
        number: int,
        name: str,
        variant: str,
        walk: Walk,
        threshold: float,
        hu: np.ndarray,
        lesion: np.ndarray,
    ) -> list[Step]:
        own = number, self.classes.index(name)
        heat, gradcam, whole = walk.heat[own], walk.gradcam[own], walk.whole[own]
        finest, apart = walk.scores[0][own], np.abs(heat - gradcam).max()
        cuts = [threshold] * len(self.classes)
        labels = label_maps(walk.whole[[number]], self.present[[number]], cuts)[0]
        mask = labels == own[1] + 1
        left = f"{(heat > 0).mean():.0%} of the slice above 0"
        pixels = f"{mask.sum()} px\ntruth {lesion.sum()} px"
        above = np.where(whole > threshold, whole / HEAT_MAXIMUM, 0)
        return [
            Step(f"{variant}: f3 of {_said(name)}\nstride 32", walk.scores[-1][own], "signed"),
            Step(f"f0, stride 4\nmaximum {finest.max():.2f}", finest, "signed"),
            Step(f"ReLU, resized, scaled\n{left}", heat, "heat", truth=lesion, under=hu),
            Step(f"pytorch-grad-cam\nat most {apart:.0e} away", gradcam, "heat", under=hu),
            Step(f"heat above {threshold} of 255\n", above, "heat", truth=lesion, under=hu),
            Step("Algorithm 1's label map\n(numbers of classes)", labels, "clusters", truth=lesion),
            Step(f"its {_said(name)}, {pixels}", hu, "hu", mask, lesion),
        ]


def _said(name: str) -> str:
    """A class in a title."""
    return "hemorrhage" if name == "any" else name


def losses_figure(losses: Mapping[str, pd.DataFrame]) -> Figure:
    """Training (line) and validation loss (dashed) of every arm by epoch, counted from 1.

    losses: columns train_loss and valid_loss, by epoch from 0.
    """
    figure, axis = plt.subplots(figsize=(8, 3.4))
    for number, (arm, loss) in enumerate(losses.items()):
        look = {"color": COLOURS[number], "marker": "o"}
        axis.plot(loss.index + 1, loss["train_loss"], label=arm.replace("_", " "), **look)
        axis.plot(loss.index + 1, loss["valid_loss"], linestyle="--", **look)
    axis.set(xlabel="epoch", ylabel="loss", title="line: training, dashed: validation")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def chosen_slices(truth: Truth, classes: Sequence[str]) -> pd.DataFrame:
    """Slices to show, by rule: with masks the largest lesion of each class, with boxes, which know
    no class, the largest of six patients. `class, index`."""
    return largest_lesions(truth, tuple(classes), 1 if truth.kind == "masks" else 6)


def more_slices(truth: Truth, classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Slices of the paper's other pictures of several networks, by rule, `class, index`, by the
    number of the figure; those that masks can say.

    "1": where a slice has several subtypes, each subtype once on few slices (`_few_slices`). "6":
    of each class the lesion of middle area.
    """
    if truth.kind != "masks":
        return {}
    areas = pd.DataFrame({name: truth.mask(name).sum((1, 2)) for name in classes})
    areas = areas.where(areas > 0)
    found = {"6": [(name, _middle(areas[name])) for name in classes if areas[name].any()]}
    if areas.count(axis=1).max() > 1:
        found["1"] = _few_slices(areas)
    return {name: pd.DataFrame(own, columns=["class", "index"]) for name, own in found.items()}


def _few_slices(areas: pd.DataFrame) -> list[tuple[str, int]]:
    """Every class once: the slice with most classes, of equal ones that with the largest smallest
    lesion, then the same of the classes that are left. areas: by slice and class, NaN for none."""
    found: list[tuple[str, int]] = []
    left = areas
    while left.notna().any(axis=None):
        several = pd.DataFrame({"number": left.count(axis=1), "smallest": left.min(axis=1)})
        index = int(several.sort_values(["number", "smallest"], kind="stable").index[-1])
        names = list(left.columns[left.loc[index].notna()])
        found += [(name, index) for name in names]
        left = left.drop(columns=names)
    return found


def _middle(areas: pd.Series) -> int:
    """Index of the middle one of the known areas, the lower of two."""
    known = areas.dropna().sort_values(kind="stable").index
    return int(known[(len(known) - 1) // 2])


def map_figures(
    variants: Sequence[MethodMaps],
    networks: Sequence[MethodMaps],
    truth: Truth,
    largest: pd.DataFrame,
    report: MaskReport,
    dataset: str,
) -> Iterator[tuple[str, Figure]]:
    """Name and figure of the paper's pictures: of LSE-UNet's variants on the slices `largest`, and
    of several networks there and on `more_slices`."""
    shown = [("lse_unet", variants, largest, "Figures 4 and 5")]
    shown.append(("methods", networks, largest, "Figure 2"))
    for number, slices in more_slices(truth, variants[0].heat.classes).items():
        shown.append((f"figure_{number}", networks, slices, f"Figure {number}"))
    for name, methods, slices, figure in shown:
        yield name, methods_figure(methods, truth, slices, report, f"{dataset}, as {figure}")


def methods_figure(
    methods: Sequence[MethodMaps],
    truth: Truth,
    shown: pd.DataFrame,
    report: MaskReport,
    title: str,
) -> Figure:
    """A row per slice of `shown`, a column per method: the heat of the row's class, and Algorithm
    1's mask of that class at the true labels where there are masks (Figs. 1, 2, 4 to 6)."""
    index, classes = shown["index"].to_numpy(), shown["class"]
    return heatmap_grid(
        truth.hu[index],
        map_columns(methods, truth, shown, report),
        f"{title}: heat and outlines of each row's class",
        _own_codes(truth.codes[index], classes) if truth.kind == "masks" else None,
        [truth.annotated[number] for number in index] if truth.kind == "boxes" else None,
        [_said(name) for name in classes],
        outlined="Algorithm 1's mask",
    )


def _own_codes(codes: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Mask codes (n, S, S), of each slice those of its class alone; `any` keeps all."""
    own = np.array([MASK_CODES.get(name, 0) for name in classes], np.uint8)[:, None, None]
    return np.where((codes == own) | (own == 0), codes, np.uint8(0))


def map_columns(
    methods: Sequence[MethodMaps], truth: Truth, shown: pd.DataFrame, report: MaskReport
) -> list[MapColumn]:
    """The columns of `methods_figure`. Where a method has several variants, each names its own."""
    names = [method.heat.name for method in methods]
    index, columns = shown["index"].to_numpy(), []
    for method in methods:
        heat = method.heat
        numbers = [heat.classes.index(name) for name in shown["class"]]
        heatmaps = heat.read(index)[np.arange(len(index)), numbers]
        codes = None
        if method.name in report.chosen:
            labels = labels_of(truth.rows, heat.classes)
            found = masks_of(method, report.chosen[method.name], labels, index)
            codes = _own_codes(found, shown["class"]) > 0
        several = names.count(heat.name) > 1
        said = method_name(heat.name)
        variant = heat.variant.replace("_", " ")
        title = said if variant == "printed" and not several else f"{said}\n({variant})"
        columns.append(MapColumn(title, heatmaps, codes))
    return columns


def volume_figure(
    report: MaskReport, methods: Sequence[MethodMaps], rivals: Sequence[MethodMaps]
) -> Figure:
    """Bland and Altman's picture of each method's volumes, all scans; last, of the trivial rivals,
    of the HU threshold, the one that looks for blood."""
    shown = [*methods, *(rival for rival in rivals if rival.name == "hu_threshold")]
    volumes = {method.name: report.volumes[method.name] for method in shown}
    return bland_altman_figure(volumes)
