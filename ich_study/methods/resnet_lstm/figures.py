"""Pictures of ResNet-LSTM: one slice through the method, Figure 3, and the volumes behind Table
2."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ich_study.evaluate.truth import Truth
from ich_study.figures.heatmaps import MapColumn, heatmap_grid
from ich_study.figures.names import readable
from ich_study.figures.steps import TRUTH_COLOUR, Step, steps_figure
from ich_study.figures.style import strip_points
from ich_study.methods.resnet_lstm.class_activation import cam_region
from ich_study.methods.resnet_lstm.fold_masks import FoldMasks
from ich_study.methods.resnet_lstm.pseudo_masks import PseudoLabeller
from ich_study.methods.resnet_lstm.settings import ClusterRecipe


def sequence_figure(predictions: Mapping[str, pd.DataFrame], scan: str, gate: float) -> Figure:
    """Probability of hemorrhage along the slices of one scan, by network; slices whose label is
    positive are shaded."""
    figure, axis = plt.subplots(figsize=(6.4, 2.3))
    for name, table in predictions.items():
        rows = table[table["scan_id"] == scan].sort_values("slice_index")
        shown = rows["slice_index"], rows["probability"]
        axis.plot(*shown, "o-", markersize=3, label=readable(name))
    for number in rows.loc[rows["label"].fillna(False).astype(bool), "slice_index"]:
        axis.axvspan(number - 0.5, number + 0.5, color=TRUTH_COLOUR, alpha=0.15, linewidth=0)
    axis.axhline(gate, color="0.5", linewidth=0.8, linestyle="--")
    axis.set(xlabel="slice", ylabel="probability", ylim=(-0.02, 1.02))
    axis.set_title(f"Slices of {scan}: what each network says (shaded: hemorrhage)", fontsize=9)
    axis.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def explored_slice(
    truth: Truth,
    labeller: PseudoLabeller,
    recipes: Mapping[str, ClusterRecipe],
    *,
    number: int,
    recipe: str,
    threshold: float,
) -> Figure:
    """Stage 1 on slice `number` of `truth` with another recipe or another threshold of the CAM."""
    row, inside = truth.rows.loc[number], truth.mask("any", np.array([number]))[0]
    scan, slices = str(row["scan_id"]), np.array([row["slice_index"]])
    channels = labeller.channels(scan, slices)
    heat, image = labeller.maps(scan, slices, channels)[0], channels[0].cpu().numpy()
    region = heat > threshold
    label = labeller.label(image, region, recipes[recipe])
    dice = 2 * (label.mask & inside).sum() / max(label.mask.sum() + inside.sum(), 1)
    steps = [
        Step("slice, truth", truth.hu[number], "hu", truth=inside),
        Step("CAM", heat, "heat", outline=region, truth=inside),
        Step("clusters", label.clusters, "clusters"),
        Step(f"pseudo-mask, Dice {dice:.2f}", image[0], outline=label.mask, truth=inside),
    ]
    named = f"{row['scan_id']} / {row['slice_index']}, {recipe}, CAM > {threshold:g}"
    return steps_figure(steps, named, columns=4)


def figure_3(
    truth: Truth,
    index: np.ndarray,
    masks: FoldMasks,
    segmentations: Mapping[str, np.ndarray],
    recipe: ClusterRecipe,
    title: str,
) -> Figure:
    """Figure 3 for slices of `truth`: slice, truth (mask, or boxes), CAM without and with the LSTM,
    clusters, pseudo-mask, segmentation.

    CAMs and clusters are shown wherever the slice's label is positive; segmentations (scan -> bool
    on the grid of the pseudo-masks) are the U-Net's.
    """
    rows = truth.rows.iloc[index]
    slices = list(zip(rows["scan_id"].astype(str), rows["slice_index"].astype(int)))
    without, with_lstm = (heat.read(index)[:, 0] for heat in masks.heats(truth.rows))
    labeller, clusters = masks.labellers["resnet_lstm"], []
    for (scan, number), cam in zip(slices, with_lstm):
        image = labeller.channels(scan, np.array([number]))[0].cpu().numpy()
        label = labeller.label(image, cam_region(cam, labeller.cam), recipe)
        clusters.append(label.clusters / recipe.clusters)
    pseudo = masks.test("resnet_lstm", "kmeans", by="label")
    columns = [
        MapColumn("CAM, ResNet", heatmaps=without),
        MapColumn("CAM, ResNet-LSTM", heatmaps=with_lstm),
        MapColumn("clusters, dark to bright", heatmaps=np.stack(clusters)),
        MapColumn("pseudo-mask", codes=np.stack([pseudo[scan][number] for scan, number in slices])),
        MapColumn(
            "3-D U-Net", codes=np.stack([segmentations[scan][number] for scan, number in slices])
        ),
    ]
    return heatmap_grid(
        truth.hu[index],
        columns,
        title,
        truth.codes[index] if truth.kind == "masks" else None,
        [truth.annotated[number] for number in index] if truth.kind == "boxes" else None,
        row_titles=[f"{scan} / {number}" for scan, number in slices],
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
    axis.set(ylabel="", xlabel=readable(metric), title=title)
    axis.set_yticks(range(len(order)), [readable(name) for name in order])
    axis.legend(frameon=False, fontsize=7)
    return figure
