"""The shortcut of `maps.score_maps` beside pytorch-grad-cam, on slices of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceDataset, SliceSource
from ich_study.methods.lse_unet.network import LSEUNet
from ich_study.methods.lse_unet.score_maps import class_places, lse_heatmaps, scaled_heatmaps


def shortcut_error(
    model: LSEUNet,
    preprocessing: Preprocessing,
    outputs: Sequence[str],
    classes: Sequence[str],
    source: SliceSource,
    rows: pd.DataFrame,
    device: torch.device,
) -> float:
    """Largest difference, over slices and classes, of LSE-UNet's heatmaps in [0, 1] from Grad-CAM
    by backpropagation."""
    dataset = SliceDataset(source, rows, classes, preprocessing)
    inputs = preprocessing.inputs(dataset.__getitems__(list(range(len(dataset))))[0].to(device))
    places, largest = class_places(outputs, classes), 0.0
    with torch.no_grad():
        ours = (
            scaled_heatmaps(lse_heatmaps(model, inputs, places)[0], preprocessing.size)
            .cpu()
            .numpy()
        )
    with GradCAM(model=model, target_layers=[model.pooling[0].pooled_maps]) as cam:
        for number, place in enumerate(places):
            theirs = cam(input_tensor=inputs, targets=[ClassifierOutputTarget(place)] * len(inputs))
            largest = max(largest, float(np.abs(ours[:, number] - theirs).max()))
    return largest
