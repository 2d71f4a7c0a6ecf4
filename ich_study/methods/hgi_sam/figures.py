"""HGI-SAM's pictures: one slice step by step, Fig. 3, the maps of every stage, and Fig. 4, the
segmentations of all methods side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor, nn

from ich_study.ct.windows import WINDOWS, apply_window
from ich_study.evaluate.scaling import minmax, resized_maps
from ich_study.evaluate.truth import Truth
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.names import readable
from ich_study.figures.steps import Step, steps_figure
from ich_study.figures.style import mark_sides
from ich_study.methods.hgi_sam.attention_maps import HGI_VARIANTS
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, AttentionHeat, heat_and_logits
from ich_study.metrics.overlap import dice, overlap_counts

AUTOMATIC, TRUTH, BOTH = (213, 94, 0), (0, 114, 178), (240, 228, 66)
OPACITY = 0.6
"""The paper's red, green and yellow in colours that colour-blind readers tell apart."""


def layer_steps(name: str, layers: Mapping[int, Tensor], mask: np.ndarray) -> list[Step]:
    """The map of every stage, (1, rows, columns), interpolated to the slice, the truth outlined."""
    found = []
    for stage, tokens in layers.items():
        image = minmax(resized_maps(tokens, mask.shape))[0].cpu().numpy()
        title = f"{name}, stage {stage + 1}\n{tokens.shape[-2]} x {tokens.shape[-1]} patches"
        found.append(Step(title, image, "heat", truth=mask))
    return found


def weight_steps(head_weights: Mapping[int, Tensor]) -> list[Step]:
    """Weights of the heads of every stage, (blocks, heads), relative to the largest."""
    found = []
    for stage, weights in head_weights.items():
        blocks, heads = weights.shape
        title = f"head weights, stage {stage + 1}\n{blocks} blocks down, {heads} heads"
        found.append(Step(title, (weights / weights.max()).cpu().numpy(), "heat"))
    return found


def heat_steps(name: str, heat: Tensor, truth: Truth, index: int, threshold: float) -> list[Step]:
    """Heat of the slice `index`, (S, S) in [0, 1], and its mask at a threshold, with the Dice."""
    hu, mask = truth.hu[index], truth.mask("any", np.array([index]))[0]
    image = heat.cpu().numpy()
    found = image >= threshold
    score = f"Dice {float(dice(overlap_counts(found, mask))):.2f}" if mask.any() else "no truth"
    return [
        Step(f"{name}\nheat in the brain", image, "heat", truth=mask),
        Step(f"{name}\nat {threshold:g}: {score}", hu, "hu", outline=found, truth=mask),
    ]


def explore_figure(
    truth: Truth,
    networks: Mapping[str, nn.Module],
    view: Callable[[pd.DataFrame], tuple[Tensor, Tensor]],
    index: int,
    method: str,
    threshold: float,
) -> Figure:
    """Heat of one slice by one method in both readings, computed now, and masks at a threshold.

    view: `inputs.slices.network_view` of rows of the test slices.
    """
    _, inputs = view(truth.rows.iloc[[index]])
    brain = torch.from_numpy(truth.brain[[index]])
    model, steps = networks[CLASSIFIER_OF[method]], []
    for variant in HGI_VARIANTS:
        heat, _ = heat_and_logits(method, model, inputs, brain, variant)
        steps += heat_steps(readable(variant), heat[0], truth, index, threshold)
    return steps_figure(steps, f"{readable(method)}, slice {index}", columns=4)


def layer_figure(
    truth: Truth,
    heats: Mapping[str, AttentionHeat],
    masks: Mapping[str, np.ndarray],
    index: np.ndarray,
    title: str,
) -> Figure:
    """Fig. 3: a row per slice and method, a column per stage, then what the method fuses, then its
    mask; the first two slices of `index`, as in the paper.

    masks: bool (n, S, S) of all of them, by method.
    """
    index = index[:2]
    every = {name: heat.every_stage() for name, heat in heats.items()}
    stages = sorted({stage for heat in every.values() for stage in heat.stages})
    columns = []
    for stage in stages:
        maps = [
            minmax(resized_maps(heat.layers(index)[stage], truth.size)).numpy()
            for heat in every.values()
        ]
        columns.append(MapColumn(f"layer {stage + 1}", heatmaps=_by_slice(maps)))
    fused = [heat.read(index)[:, 0] for heat in heats.values()]
    columns.append(MapColumn("fused", heatmaps=_by_slice(fused)))
    drawn = [masks[name][: len(index)] for name in heats]
    columns.append(MapColumn("mask", codes=_by_slice(drawn)))
    repeated = np.repeat(index, len(heats))
    titles = [readable(name) for name in heats] * len(index)
    return heatmap_grid(
        truth.hu[repeated],
        columns,
        f"Layer maps, {title}",
        None if truth.kind == "boxes" else truth.mask("any", repeated),
        [truth.annotated[number] for number in repeated] if truth.kind == "boxes" else None,
        row_titles=titles,
    )


def comparison_figure(
    truth: Truth, masks: Mapping[str, np.ndarray], index: np.ndarray, title: str
) -> Figure:
    """Fig. 4: a row per slice, a column per method; automatic only, truth only and both in three
    colours.

    masks: bool (n, S, S) of the slices `index`, by method.
    """
    hu, real, window = truth.hu[index], truth.mask("any", index), WINDOWS["brain"]
    across = 1 + len(masks)
    size = (1.75 * across, 1.75 * len(hu) + 0.9)
    figure, axes = plt.subplots(len(hu), across, figsize=size, squeeze=False)
    for row, axis_row in enumerate(axes):
        grey = np.repeat(apply_window(hu[row], window)[..., None], 3, -1)
        pictures = {"slice": grey}
        for name, found in masks.items():
            pictures[readable(name)] = _coloured(grey, found[row], real[row])
        for axis, (name, picture) in zip(axis_row, pictures.items()):
            axis.imshow(picture, vmin=0, vmax=1, interpolation="nearest")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(name, fontsize=8)
        mark_sides(axis_row[0])
    said = f"window: level {window.center:g}, width {window.width:g} HU"
    figure.suptitle(f"{title}  ({said})", fontsize=9)
    legend = ((AUTOMATIC, "automatic only"), (TRUTH, "truth only"), (BOTH, "both"))
    handles = [Patch(color=np.array(colour) / 255, label=label) for colour, label in legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def _by_slice(parts: list[np.ndarray]) -> np.ndarray:
    """(methods) of (slices, S, S) to (slices x methods, S, S), methods next to each other."""
    stacked = np.stack(parts, axis=1)
    return stacked.reshape(-1, *stacked.shape[2:])


def _coloured(grey: np.ndarray, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    parts = ((found & ~truth, AUTOMATIC), (truth & ~found, TRUTH), (found & truth, BOTH))
    painted = grey.copy()
    for mask, colour in parts:
        painted[mask] = (1 - OPACITY) * painted[mask] + OPACITY * np.array(colour) / 255
    return painted
