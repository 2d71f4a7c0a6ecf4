"""The shortcut of `score_maps` beside Grad-CAM by backpropagation (pytorch-grad-cam)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from ich_study.methods.lse_unet.network import LSEUNet
from ich_study.methods.lse_unet.score_maps import lse_heatmaps, scaled_heatmaps


def gradcam_heatmaps(model: LSEUNet, inputs: Tensor, classes: Sequence[int]) -> np.ndarray:
    """Grad-CAM at the pooled score map by backpropagation, float32 (B, classes, H, W) in [0, 1]."""
    found = []
    with GradCAM(model=model, target_layers=[model.pooling[0].pooled_maps]) as cam:
        for number in classes:
            targets = [ClassifierOutputTarget(number)] * len(inputs)
            found.append(cam(input_tensor=inputs, targets=targets))
    return np.stack(found, 1)


def shortcut_error(model: LSEUNet, inputs: Tensor, classes: Sequence[int]) -> float:
    """Largest difference, over slices and classes, of LSE-UNet's heatmaps in [0, 1] from
    Grad-CAM."""
    with torch.no_grad():
        maps = lse_heatmaps(model, inputs, classes)[0]
    ours = scaled_heatmaps(maps, inputs.shape[-1]).cpu().numpy()
    return float(np.abs(ours - gradcam_heatmaps(model, inputs, classes)).max())
