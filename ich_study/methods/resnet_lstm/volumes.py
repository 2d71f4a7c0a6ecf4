"""Stage 2 of ResNet-LSTM: a 3-D U-Net on skull-stripped, equalised volumes, taught by pseudo-masks.

Paper (Section 2, Equation 2): BCE plus Dice, Adam at 0.001, batch 4, output threshold 0.5. Depth,
width, patch and epsilon are not printed (printed_and_authors, 002.8). The network is MONAI's, and
so is the sliding window that takes volumes of any length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ich_study.errors import DataError
from ich_study.hashing import sha256_bytes, sha256_lines
from ich_study.inputs.seeds import first_weights_from, seeded_generator
from ich_study.methods.resnet_lstm.settings import UNetSettings
from ich_study.methods.resnet_lstm.skull_removal import equalised, stripped_slice
from ich_study.models.registry import Network, register
from ich_study.training.config import LoopSettings
from ich_study.training.loop import Run, fit
from ich_study.training.task import (
    Batch,
    BatchLoader,
    Task,
    ordered_batches,
    shuffled_batches,
)


class VolumeUNet(nn.Module):
    """MONAI's 3-D U-Net, (B, 1, D, S, S) to logits of the same shape.

    In training mode D is that of a patch. In evaluation mode a window of a patch's size slides over
    volumes of any length, and overlapping logits are averaged.
    """

    def __init__(self, settings: UNetSettings) -> None:
        from monai.networks.nets import UNet  # MONAI takes seconds to import

        super().__init__()
        self.unet = UNet(
            3, 1, 1, settings.channels, settings.strides, num_res_units=settings.residual_units
        )
        self._window = (settings.depth, settings.size, settings.size)
        self._overlap = settings.overlap

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits."""
        from monai.inferers import sliding_window_inference

        if self.training:
            return self.unet(volumes)
        return sliding_window_inference(volumes, self._window, 1, self.unet, overlap=self._overlap)


@register("unet_3d")
@dataclass(frozen=True)
class VolumeNetwork(Network):
    """A 3-D U-Net as training and the checkpoints know one."""

    model: VolumeUNet = field(repr=False)
    settings: UNetSettings

    def arguments(self) -> dict[str, Any]:
        """The settings."""
        return self.settings.describe()

    @classmethod
    def rebuild(cls, arguments: Mapping[str, Any]) -> VolumeNetwork:
        """A U-Net of these settings, with random weights."""
        return create_unet(UNetSettings.read(arguments))


def create_unet(settings: UNetSettings, seed: int = 0) -> VolumeNetwork:
    """A 3-D U-Net initialised from `seed` alone."""
    with first_weights_from(seed):
        return VolumeNetwork(VolumeUNet(settings), settings)


def combined_loss(logits: Tensor, targets: Tensor, epsilon: float = 1.0) -> Tensor:
    """Equation 2: 1 - (2 sum(y p) + eps) / (sum y + sum p + eps), sums over all voxels given, plus
    mean BCE."""
    probabilities = logits.sigmoid()
    overlap = 2 * (targets * probabilities).sum() + epsilon
    return (
        1
        - overlap / (targets.sum() + probabilities.sum() + epsilon)
        + functional.binary_cross_entropy_with_logits(logits, targets)
    )


def prepared_variants(
    hu: np.ndarray, size: int, variants: Collection[bool]
) -> dict[bool, np.ndarray]:
    """HU (slices, rows, columns) to the U-Net's grey volumes, uint8 (slices, size, size), with
    (True) or without (False) equalisation.

    Skull removal and equalisation run on the scan's own grid, then the slice is resized by area
    means. The skull is looked for once for all of `variants`.
    """
    stripped = [stripped_slice(image) for image in np.asarray(hu)]
    return {
        equalise: np.stack(
            [_resized(equalised(image) if equalise else image, size) for image in stripped]
        )
        for equalise in variants
    }


def _resized(grey: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA)


def resized_masks(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks (slices, rows, columns) on another grid, nearest neighbour, bool."""
    if masks.shape[1:] == size:
        return masks.astype(bool)
    resized = functional.interpolate(
        torch.from_numpy(masks.astype(np.uint8))[None], size=size, mode="nearest-exact"
    )[0]
    return resized.numpy().astype(bool)


class VolumeSegmentation(Task):
    """Patches of volumes with their masks, validated on whole volumes.

    volumes: scan -> uint8 (N, S, S). masks: scan -> bool of the same shape. parts: scans to train
    and to validate on. Raises DataError for an empty part, or a training part whose masks are all
    empty.
    """

    def __init__(
        self,
        volumes: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        parts: tuple[Sequence[str], Sequence[str]],
        settings: UNetSettings,
        seed: int = 0,
    ) -> None:
        self._volumes, self._masks, self.parts, self.settings = volumes, masks, parts, settings
        self._seed, self.loss = seed, partial(combined_loss, epsilon=settings.epsilon)
        self._visits = [scan for scan in parts[0] for _ in range(settings.patches)]
        self._check()

    def _check(self) -> None:
        if not self.parts[0] or not self.parts[1]:
            raise DataError(
                f"{len(self.parts[0])} scans to train and {len(self.parts[1])} to validate on;"
                " expected at least one of each"
            )
        if not any(self._masks[scan].any() for scan in self.parts[0]):
            raise DataError(
                f"no pseudo-mask of the {len(self.parts[0])} training scans holds a voxel; there is"
                " nothing to learn from"
            )

    def loaders(self, device: torch.device) -> tuple[BatchLoader, BatchLoader]:
        """Patches (B, 1, D, S, S) of every training scan, and each validation scan as a whole."""
        shuffled = shuffled_batches(lambda epoch: self._plan(epoch)[0], self.settings.batch_size)
        whole = ordered_batches(len(self.parts[1]), 1)
        return (
            BatchLoader(shuffled, partial(self._patches, device)),
            BatchLoader(whole, partial(self._whole, device)),
        )

    def _plan(self, epoch: int) -> tuple[Tensor, dict[int, int]]:
        """Order of an epoch's patches, and the first slice of each, drawn from (seed, epoch)."""
        generator = seeded_generator(self._seed, epoch)
        order = torch.randperm(len(self._visits), generator=generator)
        first = {}
        for visit in order.tolist():
            room = max(0, len(self._volumes[self._visits[visit]]) - self.settings.depth)
            first[visit] = int(torch.randint(room + 1, (), generator=generator))
        return order, first

    def _patches(self, device: torch.device, visits: list[int], epoch: int, _: int) -> Batch:
        first = self._plan(epoch)[1] if self.settings.crop == "random" else dict.fromkeys(visits, 0)
        patches = [self._patch(self._visits[visit], first[visit]) for visit in visits]
        return tuple(torch.stack(part).to(device) for part in zip(*patches))

    def _patch(self, scan: str, first: int) -> Batch:
        """Volume and mask (1, D, S, S) from slice `first` on, padded with zeros."""
        missing = max(0, first + self.settings.depth - len(self._volumes[scan]))
        pixels = self._pixels(scan, slice(first, first + self.settings.depth))
        return tuple(functional.pad(part, (0, 0, 0, 0, 0, missing))[None] for part in pixels)

    def _whole(self, device: torch.device, scans: list[int], _: int, __: int) -> Batch:
        pixels = self._pixels(self.parts[1][scans[0]], slice(None))
        return tuple(part[None, None].to(device) for part in pixels)

    def _pixels(self, scan: str, slices: slice) -> Batch:
        """Volume in [0, 1] and mask, float32 (n, S, S)."""
        mask = torch.from_numpy(self._masks[scan][slices].astype(np.float32))
        return network_input(self._volumes[scan][slices]), mask

    def marks(self) -> dict[str, str]:
        """Hash of settings, volumes and masks."""
        hashes = [
            sha256_lines(line for scan in part for line in self._hashes(scan))
            for part in self.parts
        ]
        drawn = {"patches from": repr(self._seed)}
        return {**drawn, "training volumes": hashes[0], "validation volumes": hashes[1]}

    def _hashes(self, scan: str) -> list[str]:
        return [
            scan,
            *(
                sha256_bytes(np.ascontiguousarray(group[scan]).tobytes())
                for group in (self._volumes, self._masks)
            ),
        ]


def train_unet(
    task: VolumeSegmentation,
    loop: LoopSettings,
    folder: Path,
    metadata: Mapping[str, Any],
) -> Run:
    """A U-Net from random weights; `registry.load` reads its file in `folder` back."""
    network = create_unet(task.settings, loop.seed)
    return fit(network, task, loop, folder, metadata)


def segment(
    model: nn.Module, volume: np.ndarray, settings: UNetSettings, device: torch.device
) -> np.ndarray:
    """Probability of hemorrhage per voxel, float32 (N, S, S), of a prepared volume of any length.

    model: in evaluation mode. volume: uint8 (N, S, S). Raises DataError for slices of another size
    or an empty volume.
    """
    if (
        volume.ndim != 3
        or volume.dtype != np.uint8
        or volume.shape[1:] != (settings.size, settings.size)
        or not len(volume)
    ):
        raise DataError(
            f"volume is {volume.dtype} {volume.shape}; the network takes uint8 (slices,"
            f" {settings.size}, {settings.size})"
        )
    with torch.inference_mode():
        logits = model(network_input(volume)[None, None].to(device))
        return logits[0, 0].float().cpu().sigmoid().numpy()


def network_input(volume: np.ndarray) -> Tensor:
    """Grey values uint8 as float32 in [0, 1]."""
    return torch.from_numpy(volume.astype(np.float32)) / 255
