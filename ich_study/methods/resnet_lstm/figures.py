"""Pictures of the ResNet-LSTM study: the preprocessing's steps, Figure 3, and the volumes behind
Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ich_study.ct.windows import WINDOWS, apply_window, window_uint8
from ich_study.errors import StudyError
from ich_study.evaluate.scored_slices import read_scored_slices
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.style import strip_points
from ich_study.methods.resnet_lstm.class_activation import cam_region
from ich_study.methods.resnet_lstm.pseudo_labels import ClusterRecipe, clustered
from ich_study.methods.resnet_lstm.pseudo_masks import PseudoLabeller
from ich_study.methods.resnet_lstm.skull_removal import enhanced_slice, find_skull
from ich_study.methods.resnet_lstm.study import Fold, FoldMasks

STEPS = (
    "slice",
    "bilateral filter",
    "skull (95th percentile)",
    "convex hull",
    "skull removed",
    "equalised",
)


def preprocessing_figure(
    slices: Sequence[np.ndarray], row_titles: Sequence[str], title: str
) -> Figure:
    """Every step from HU to what the U-Net sees, a row per slice (Section 2, and Figure 2's
    inset)."""
    if not slices:
        raise StudyError(f"figure {title!r} has no slices to show")
    figure, axes = plt.subplots(
        len(slices), len(STEPS), figsize=(1.75 * len(STEPS), 1.8 * len(slices) + 0.5), squeeze=False
    )
    brain = WINDOWS["brain"]
    for row, (hu, name) in enumerate(zip(slices, row_titles)):
        steps = find_skull(hu)
        removed = np.where(steps.inside, window_uint8(hu, brain), 0)
        grey, smoothed = apply_window(hu, brain), apply_window(steps.smoothed, brain)
        shown = (grey, smoothed, steps.skull, steps.hull, removed / 255, enhanced_slice(hu) / 255)
        for column, image in enumerate(shown):
            axes[row, column].imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes[row, column].set(xticks=[], yticks=[])
            axes[row, column].grid(visible=False)
            if row == 0:
                axes[row, column].set_title(STEPS[column], fontsize=8)
        axes[row, 0].set_ylabel(name, fontsize=7)
    figure.suptitle(f"{title}  (window {brain.center:g} ± {brain.width / 2:g} HU)", fontsize=9)
    return figure


def shown_slices(fold: Fold, truths: Mapping[str, np.ndarray], count: int) -> pd.DataFrame:
    """Rows of the test part to show: of each scan the slice with most hemorrhage, scans by that
    area, at most `count`, evenly from the largest to the smallest. Chosen by the truth alone, so
    that a figure cannot flatter."""
    areas = {scan: truth.sum((1, 2)) for scan, truth in truths.items() if truth.any()}
    order = sorted(areas, key=lambda scan: (-int(areas[scan].max()), scan))
    chosen = (
        [
            order[place]
            for place in np.unique(
                np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)
            )
        ]
        if order
        else []
    )
    keys = pd.DataFrame(
        [(scan, int(areas[scan].argmax())) for scan in chosen], columns=["scan_id", "slice_index"]
    )
    rows = fold.rows["test"]
    return keys.merge(
        rows.assign(scan_id=rows["scan_id"].astype(str)), on=["scan_id", "slice_index"]
    )[list(rows.columns)]


def figure_3(
    fold: Fold,
    masks: FoldMasks,
    rows: pd.DataFrame,
    segmentations: Mapping[str, np.ndarray],
    recipe: ClusterRecipe,
    title: str,
) -> Figure:
    """Figure 3 for `rows`: slice, truth (mask, or boxes), CAM without and with the LSTM, clusters,
    pseudo-mask, segmentation.

    CAMs and clusters are shown wherever the slice's label is positive; segmentations (scan -> bool
    on the grid of the pseudo-masks) are the U-Net's.
    """
    labeller = masks.labellers["resnet_lstm"]
    masked = bool(rows["has_mask"].all())
    scored = read_scored_slices(
        fold.store,
        rows,
        labeller.preprocessing,
        brain=False,
        masks=masked,
        boxes=not masked,
        progress=False,
    )
    cams = {name: _stacked(masks.labellers[name], rows) for name in masks.labellers}
    clusters = _clusters(labeller, scored.hu, cams["resnet_lstm"], recipe) / recipe.clusters
    places = list(zip(rows["scan_id"].astype(str), rows["slice_index"].astype(int)))
    pseudo = np.stack(
        [masks.test_labelled["resnet_lstm"]["kmeans"][scan][index] for scan, index in places]
    )
    segmented = np.stack([segmentations[scan][index] for scan, index in places])
    columns = [
        MapColumn("CAM, ResNet", heatmaps=cams["resnet"]),
        MapColumn("CAM, ResNet-LSTM", heatmaps=cams["resnet_lstm"]),
        MapColumn("clusters, dark to bright", heatmaps=clusters),
        MapColumn("pseudo-mask", codes=pseudo),
        MapColumn("3-D U-Net", codes=segmented),
    ]
    boxes = None if masked else scored.boxes
    return heatmap_grid(
        scored.hu,
        columns,
        title,
        scored.codes,
        boxes,
        row_titles=[f"{scan} / {index}" for scan, index in places],
    )


def _stacked(labeller: PseudoLabeller, rows: pd.DataFrame) -> np.ndarray:
    places = zip(rows["scan_id"].astype(str), rows["slice_index"].astype(int))
    return np.concatenate([labeller.heatmaps(scan, np.array([index]))[0] for scan, index in places])


def _clusters(
    labeller: PseudoLabeller, hu: np.ndarray, cams: np.ndarray, recipe: ClusterRecipe
) -> np.ndarray:
    return np.stack(
        [
            clustered(labeller.grey(image), cam_region(cam, labeller.cam), recipe)
            for image, cam in zip(hu, cams)
        ]
    )


def volumes_figure(volumes: pd.DataFrame, metric: str, title: str) -> Figure:
    """One measure of every test volume, a row per method, with means: what the table's mean and SD
    stand for."""
    shown = volumes[volumes[metric].notna()]
    order = list(dict.fromkeys(shown["method"]))
    figure, axis = plt.subplots(figsize=(6.0, 0.8 + 0.32 * len(order)))
    strip_points(axis, shown, x=metric, y="method", order=order, color="0.45", jitter=0.18)
    means = shown.groupby("method")[metric].mean().reindex(order)
    axis.plot(
        means.to_numpy(), np.arange(len(order)), "D", color="#D55E00", markersize=5, label="mean"
    )
    axis.set(ylabel="", xlabel=metric.replace("_", " "), title=title)
    axis.legend(frameon=False, fontsize=7)
    return figure
