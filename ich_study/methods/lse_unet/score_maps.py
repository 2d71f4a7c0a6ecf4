"""Heatmaps of LSE-UNet without a backward pass (LSE-UNet, Sections 2.2, 2.3 and 3.3).

Grad-CAM of a class' logit at the map that LSE pooling pools weighs that map by the mean of a
softmax over its positions, a positive constant, and every other class' map by 0. So after ReLU and
scaling Grad-CAM is the class' own score map after ReLU and scaling (printed_and_authors, 000.6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ich_study.errors import MapError, StudyError
from ich_study.evaluate.scaling import checked_maps, minmax, resized_maps
from ich_study.inputs.devices import autocast
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.samplers import OrderedBatches
from ich_study.inputs.slices import SliceDataset, SliceLoader, SliceSource
from ich_study.methods.lse_unet.network import LSEUNet

Method = Callable[[nn.Module, Tensor, Sequence[int]], tuple[Tensor, Tensor]]
"""Model, inputs and numbers of logits to raw maps (B, classes, rows, columns) of those logits, and
all logits (B, outputs)."""
FULL_SCALE = 255
"""Mask thresholds of the paper's appendix are on this scale."""


@dataclass(frozen=True)
class LatentMaps:
    """Raw maps, as small as the network makes them, before ReLU and scaling.

    maps: float32 (slices, classes, rows, columns), signed. logits: float64 (slices, classes).
    classes: their names. `scaled` makes heatmaps of them; kept small, those of a whole data set fit
    into memory.
    """

    maps: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.maps.shape[:2] != self.logits.shape or self.maps.shape[1] != len(self.classes):
            raise StudyError(
                f"maps {self.maps.shape}, logits {self.logits.shape}, {len(self.classes)} classes"
                " do not fit each other"
            )
        checked_maps(self.maps, "heatmaps")

    def __len__(self) -> int:
        return len(self.maps)

    def of(self, classes: Sequence[str]) -> LatentMaps:
        """Only `classes`, in this order; MapError for one that the network does not know."""
        unknown = [name for name in classes if name not in self.classes]
        if unknown:
            raise MapError(
                f"no heatmaps of {unknown}; the network's classes are {', '.join(self.classes)}"
            )
        places = [self.classes.index(name) for name in classes]
        return LatentMaps(self.maps[:, places], self.logits[:, places], tuple(classes))

    def scaled(self, size: int, places: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Heatmaps of some slices at `size`, float32 (n, classes, size, size) in [0, 1]."""
        return scaled_heatmaps(torch.from_numpy(self.maps[places]), size).numpy()


def scaled_heatmaps(maps: Tensor, size: int) -> Tensor:
    """Raw maps (..., rows, columns) to heatmaps in [0, 1] at `size`: ReLU, bilinear resizing, each
    over its own range.

    pytorch-grad-cam, which the authors use, scales before and after resizing; the first changes
    only rounding. A map without a positive value gives a heatmap of zeros.
    """
    return minmax(resized_maps(minmax(maps.float().relu()), size))


def bytes_of(heatmaps: Tensor) -> Tensor:
    """Heatmaps in [0, 1] as uint8 0..255, rounded down, as the authors store them."""
    return (heatmaps * FULL_SCALE).to(torch.uint8)


def lse_heatmaps(model: LSEUNet, inputs: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pooled score maps of some classes, float32 (B, classes, H / 4, W / 4), and all logits (B,
    outputs), in one forward pass.

    `model` is in evaluation mode. Raises MapError where a map is not finite.
    """
    maps, logits = model.maps_and_logits(inputs)
    return checked_maps(maps[:, list(classes)], "LSE-UNet's score maps"), logits


def class_places(outputs: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Numbers of `classes` among a network's outputs; MapError for one it does not have."""
    unknown = [name for name in classes if name not in outputs]
    if unknown:
        raise MapError(f"the network has no logit for {unknown}; it has {', '.join(outputs)}")
    return [list(outputs).index(name) for name in classes]


def latent_maps(
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
) -> LatentMaps:
    """Raw maps of `classes` for every row, in order, by `method` (`lse_heatmaps`,
    `head_gradcam.head_gradcam`).

    `outputs` names the model's logits. Raises MapError for a class that the model does not have.
    """
    places = class_places(outputs, classes)
    dataset = SliceDataset(source, rows, classes, preprocessing)
    loader = SliceLoader(
        dataset, OrderedBatches(len(dataset), batch_size), device, num_workers=num_workers
    )
    maps, logits = [], []
    try:
        with torch.no_grad(), autocast(precision, device):
            for inputs, _ in tqdm(
                loader, method.__name__, unit="batch", mininterval=5, leave=False
            ):
                found, all_logits = method(model, inputs, places)
                maps.append(found.float().cpu())
                logits.append(all_logits[:, places].double().cpu())
    finally:
        loader.close()
    return LatentMaps(torch.cat(maps).numpy(), torch.cat(logits).numpy(), tuple(classes))
