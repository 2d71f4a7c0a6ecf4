"""HGI-SAM's pictures: Fig. 3, the maps of every stage, and Fig. 4, the segmentations of all methods
side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ich_study.ct.windows import WINDOWS, Window, apply_window
from ich_study.errors import StudyError
from ich_study.evaluate.scaling import minmax, resized_maps
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.methods.hgi_sam.maps import FusedMaps
from ich_study.methods.hgi_sam.study import WeakMethod

AUTOMATIC, TRUTH, BOTH = (213, 94, 0), (0, 114, 178), (240, 228, 66)
"""The paper's red, green and yellow in colours that colour-blind readers tell apart."""
TITLES: dict[str, str] = {
    "swin_grad_cam": "Swin-Grad-CAM",
    "swin_sam_multi_label": "Swin-SAM multi-label",
    "swin_sam_binary": "Swin-SAM binary",
    "swin_hgi_sam": "Swin-HGI-SAM",
    "unet": "U-Net (supervised)",
    "swin_unetr": "Swin-UNETR (supervised)",
}


def largest_lesions(rows: pd.DataFrame, area: np.ndarray, count: int) -> np.ndarray:
    """Places of the slices with most hemorrhage, one per patient, at most `count`: a rule, not a
    choice.

    area: pixels or area of each slice's truth, (slices,). StudyError where no slice has any.
    """
    ordered = (
        rows.assign(area=area, place=np.arange(len(rows)))
        .query("area > 0")
        .sort_values(["area", "place"], ascending=[False, True])
    )
    found = ordered.drop_duplicates("patient_id")["place"].to_numpy()[:count]
    if not len(found):
        raise StudyError("no slice holds hemorrhage; there is nothing to show")
    return found


def layer_figure(
    hu: np.ndarray,
    truth: np.ndarray,
    maps: Mapping[str, FusedMaps],
    places: np.ndarray,
    brain: np.ndarray,
    methods: Mapping[str, WeakMethod],
    masks: Mapping[str, np.ndarray],
    title: str,
) -> Figure:
    """Fig. 3: a row per slice and method, a column per stage, then what the method fuses, then its
    mask.

    hu, truth, brain: (N, S, S) of all slices; places: those shown. maps: by method, with every
    stage to show. methods, masks (bool, the first of them being `places`): of the same names.
    """
    size, count = hu.shape[-1], len(places)
    names = list(maps)
    repeated = np.repeat(places, len(names))
    stages = {stage for each in maps.values() for stage in each.stages}
    columns = [
        MapColumn(
            f"layer {stage + 1}",
            heatmaps=_interleaved([_stage(each, stage, places, size) for each in maps.values()]),
        )
        for stage in sorted(stages)
    ]
    fused = _interleaved([methods[name].maps.read(places, brain[places]) for name in names])
    columns += [
        MapColumn("fused", heatmaps=fused),
        MapColumn("mask", codes=_interleaved([masks[name][:count] for name in names])),
    ]
    return heatmap_grid(
        hu[repeated],
        columns,
        title,
        truth=truth[repeated],
        row_titles=[TITLES.get(name, name) for name in names] * count,
    )


def comparison_figure(
    hu: np.ndarray,
    truth: np.ndarray,
    masks: Mapping[str, np.ndarray],
    title: str,
    window: Window = WINDOWS["brain"],
) -> Figure:
    """Fig. 4: a row per slice, a column per method; automatic only, truth only and both in three
    colours.

    hu: (n, S, S) HU. truth: bool (n, S, S). masks: bool (n, S, S) by method.
    """
    if not len(hu) or any(found.shape != truth.shape for found in masks.values()):
        raise StudyError(
            f"figure {title!r}: no slices, or masks whose shape is not that of the truth,"
            f" {truth.shape}"
        )
    figure, axes = plt.subplots(
        len(hu),
        1 + len(masks),
        figsize=(1.75 * (1 + len(masks)), 1.75 * len(hu) + 0.9),
        squeeze=False,
    )
    for row, axis_row in enumerate(axes):
        grey = apply_window(hu[row], window)
        for axis, name in zip(axis_row, [None, *masks]):
            shown = np.repeat(grey[..., None], 3, -1)
            axis.imshow(
                shown if name is None else _coloured(shown, masks[name][row], truth[row]),
                vmin=0,
                vmax=1,
                interpolation="nearest",
            )
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            if row == 0:
                axis.set_title("slice" if name is None else TITLES.get(name, name), fontsize=8)
    figure.suptitle(f"{title}  (window {window.center:g} ± {window.width / 2:g} HU)", fontsize=9)
    legend = ((AUTOMATIC, "automatic only"), (TRUTH, "truth only"), (BOTH, "both"))
    handles = [Patch(color=np.array(colour) / 255, label=label) for colour, label in legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def _stage(maps: FusedMaps, stage: int, places: np.ndarray, size: int) -> np.ndarray:
    """A stage's map in [0, 1] on the slice's grid; zeros where the method does not use the
    stage."""
    if stage not in maps.stages:
        return np.zeros((len(places), size, size), np.float32)
    return minmax(resized_maps(maps.layers(places)[stage], size)).numpy()


def _interleaved(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(methods) of (slices, S, S) to (slices x methods, S, S), methods next to each other."""
    return (
        torch.stack([torch.from_numpy(np.ascontiguousarray(part)) for part in parts], 1)
        .flatten(0, 1)
        .numpy()
    )


def _coloured(
    grey: np.ndarray, found: np.ndarray, truth: np.ndarray, opacity: float = 0.6
) -> np.ndarray:
    painted = grey.copy()
    for mask, colour in (
        (found & ~truth, AUTOMATIC),
        (truth & ~found, TRUTH),
        (found & truth, BOTH),
    ):
        painted[mask] = (1 - opacity) * painted[mask] + opacity * np.array(colour) / 255
    return painted
