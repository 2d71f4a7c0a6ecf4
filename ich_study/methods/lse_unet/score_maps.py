"""Heatmaps of LSE-UNet without a backward pass (LSE-UNet, Sections 2.2, 2.3 and 3.3).

Grad-CAM of a class' logit at the map that LSE pooling pools weighs that map by the mean of a
softmax over its positions, a positive constant, and every other class' map by 0. So after ReLU and
scaling Grad-CAM is the class' own score map after ReLU and scaling (printed_and_authors, 000.6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import MapError
from ich_study.evaluate.heat import Index
from ich_study.evaluate.scaling import checked_maps, minmax, resized_maps
from ich_study.inputs.devices import autocast
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceSource, ordered_inputs
from ich_study.methods.lse_unet.network import LSEUNet

Method = Callable[[nn.Module, Tensor, Sequence[int]], tuple[Tensor, Tensor]]
"""Model, inputs and numbers of logits to raw maps (B, classes, rows, columns) of those logits, and
all logits (B, outputs)."""


@dataclass(frozen=True)
class RawHeat:
    """Heat kept as raw maps, as small as the network makes them, and scaled when it is read; those
    of a whole data set fit into memory.

    maps: float32 (slices, classes, rows, columns), signed, before ReLU. size: of the heat that is
    read.
    """

    name: str
    variant: str
    classes: tuple[str, ...]
    size: int
    maps: np.ndarray = field(repr=False)
    layer: str | None = None

    def __len__(self) -> int:
        return len(self.maps)

    def read(self, index: Index) -> np.ndarray:
        """Heat of some slices, float32 (n, classes, size, size) in [0, 1]."""
        return scaled_heatmaps(torch.from_numpy(self.maps[index]), self.size).numpy()


def scaled_heatmaps(maps: Tensor, size: int) -> Tensor:
    """Raw maps (..., rows, columns) to heatmaps in [0, 1] at `size`: ReLU, bilinear resizing, each
    over its own range.

    pytorch-grad-cam, which the authors use, scales before and after resizing; the first changes
    only rounding. A map without a positive value gives a heatmap of zeros.

    >>> scaled_heatmaps(torch.tensor([[-3.0, 0.5], [1.0, 2.0]]), 2)
    tensor([[0.0000, 0.2500],
            [0.5000, 1.0000]])
    """
    return minmax(resized_maps(minmax(maps.float().relu()), size))


def lse_heatmaps(model: LSEUNet, inputs: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pooled score maps of some classes, float32 (B, classes, H / 4, W / 4), and all logits (B,
    outputs), in one forward pass.

    `model` is in evaluation mode. Raises MapError where a map is not finite.
    """
    maps, logits = model.maps_and_logits(inputs)
    return checked_maps(maps[:, list(classes)], "LSE-UNet's score maps"), logits


def gradcam_heatmaps(model: LSEUNet, inputs: Tensor, classes: Sequence[int]) -> np.ndarray:
    """Grad-CAM at the pooled score map by backpropagation (pytorch-grad-cam), float32 (B, classes,
    H, W) in [0, 1]: what `lse_heatmaps` after `scaled_heatmaps` gives without it."""
    from pytorch_grad_cam import GradCAM  # slow to import
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    found = []
    with GradCAM(model=model, target_layers=[model.pooling[0].pooled_maps]) as cam:
        for number in classes:
            targets = [ClassifierOutputTarget(number)] * len(inputs)
            found.append(cam(input_tensor=inputs, targets=targets))
    return np.stack(found, 1)


def class_numbers(outputs: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Numbers of `classes` among a network's outputs; MapError for one it does not have."""
    unknown = [name for name in classes if name not in outputs]
    if unknown:
        raise MapError(f"the network has no logit for {unknown}; it has {', '.join(outputs)}")
    return [list(outputs).index(name) for name in classes]


def raw_maps(
    method: Method,
    model: nn.Module,
    preprocessing: Preprocessing,
    outputs: Sequence[str],
    classes: Sequence[str],
    source: SliceSource,
    rows: pd.DataFrame,
    device: torch.device,
    batch_size: int = 32,
    num_workers: int = 0,
    precision: str = "fp32",
) -> tuple[np.ndarray, np.ndarray]:
    """Raw maps of `classes` for every row, in order, by `method` (`lse_heatmaps`,
    `head_gradcam.head_gradcam`), and their logits.

    outputs: names of the model's logits. Returns float32 (slices, classes, rows, columns), signed,
    and float64 (slices, classes). Raises MapError for a class that the model does not have.
    """
    numbers = class_numbers(outputs, classes)
    seen = (source, rows, preprocessing, batch_size, device)
    maps, logits = [], []
    with torch.no_grad(), autocast(precision, device):
        for inputs in ordered_inputs(*seen, what=method.__name__, num_workers=num_workers):
            found, all_logits = method(model, inputs, numbers)
            maps.append(found.float().cpu())
            logits.append(all_logits[:, numbers].double().cpu())
    return torch.cat(maps).numpy(), torch.cat(logits).numpy()
