"""Stage 2 of ResNet-LSTM: a 3-D U-Net on skull-stripped, equalised volumes, taught by pseudo-masks.

Paper (Section 2, Equation 2): BCE plus Dice, Adam at 0.001, batch 4, output threshold 0.5. Depth,
width, patch and epsilon are not printed (printed_and_authors, 002.8). The network is MONAI's, and
so is the sliding window that takes volumes of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional

from ich_study.errors import DataError, WeightsError
from ich_study.hashing import sha256_bytes, sha256_lines
from ich_study.inputs.seeds import seeded_generator
from ich_study.methods.resnet_lstm.settings import UNetSettings
from ich_study.methods.resnet_lstm.skull_removal import equalised, stripped_slice
from ich_study.models.weights import load_weights, read_metadata
from ich_study.training.epoch_loop import LoopRun, LoopSettings, fit

Batch = tuple[Tensor, Tensor]


def create_unet(settings: UNetSettings, seed: int = 0) -> UNet:
    """MONAI's 3-D U-Net, (B, 1, D, S, S) to logits of the same shape; initialised from `seed`
    alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet(
            3, 1, 1, settings.channels, settings.strides, num_res_units=settings.residual_units
        )


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


def prepared_volume(hu: np.ndarray, size: int, equalise: bool = True) -> np.ndarray:
    """HU (slices, rows, columns) to the U-Net's grey volume, uint8 (slices, size, size).

    Skull removal and equalisation run on the scan's own grid, then the slice is resized by area
    means.
    """
    return prepared_variants(hu, size, (equalise,))[equalise]


def prepared_variants(
    hu: np.ndarray, size: int, variants: Collection[bool]
) -> dict[bool, np.ndarray]:
    """The grey volume with (True) or without (False) equalisation, for all of `variants`; the skull
    is looked for once."""
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


class SegmentationTask:
    """Patches of volumes with their masks for `epoch_loop.fit`.

    volumes: scan -> uint8 (N, S, S). masks: scan -> bool of the same shape. parts: scans to train
    and to validate on. Raises DataError for a scan without mask, another shape, or a training part
    whose masks are all empty.
    """

    def __init__(
        self,
        volumes: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        parts: tuple[Sequence[str], Sequence[str]],
        settings: UNetSettings,
        device: torch.device,
        seed: int = 0,
    ) -> None:
        self._volumes, self._masks, self.parts, self.settings = volumes, masks, parts, settings
        self._device, self._seed = device, seed
        self._check()

    def _check(self) -> None:
        if not self.parts[0] or not self.parts[1]:
            raise DataError(
                f"{len(self.parts[0])} scans to train and {len(self.parts[1])} to validate on;"
                " expected at least one of each"
            )
        for scan in (*self.parts[0], *self.parts[1]):
            if (
                scan not in self._volumes
                or scan not in self._masks
                or self._volumes[scan].shape != self._masks[scan].shape
            ):
                shapes = [
                    getattr(group.get(scan), "shape", None)
                    for group in (self._volumes, self._masks)
                ]
                raise DataError(
                    f"scan {scan}: volume of shape {shapes[0]}, mask of shape {shapes[1]}; expected"
                    " both, of one shape"
                )
            if self._volumes[scan].shape[1:] != (self.settings.size, self.settings.size):
                raise DataError(
                    f"scan {scan} has slices of {self._volumes[scan].shape[1:]}; the network takes"
                    f" {self.settings.size} px"
                )
        if not any(self._masks[scan].any() for scan in self.parts[0]):
            raise DataError(
                f"no pseudo-mask of the {len(self.parts[0])} training scans holds a voxel; there is"
                " nothing to learn from"
            )

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Patches (B, 1, D, S, S) of every training scan in an order, and at places, drawn from
        (seed, epoch)."""
        generator = seeded_generator(self._seed, epoch)
        scans = [scan for scan in self.parts[0] for _ in range(self.settings.patches)]
        order = torch.randperm(len(scans), generator=generator).tolist()
        for start in range(0, len(order), self.settings.batch_size):
            patches = [
                self._patch(scans[place], generator)
                for place in order[start : start + self.settings.batch_size]
            ]
            yield tuple(torch.stack(part).to(self._device) for part in zip(*patches))

    def _patch(self, scan: str, generator: torch.Generator) -> Batch:
        room = max(0, len(self._volumes[scan]) - self.settings.depth)
        drawn = int(torch.randint(room + 1, (), generator=generator))
        first = drawn if self.settings.crop == "random" else 0
        parts = []
        for group, scale in ((self._volumes, 255), (self._masks, 1)):
            patch = (
                torch.from_numpy(
                    group[scan][first : first + self.settings.depth].astype(np.float32)
                )
                / scale
            )
            parts.append(
                functional.pad(patch, (0, 0, 0, 0, 0, self.settings.depth - len(patch)))[None]
            )
        return tuple(parts)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Equation 2 over the batch."""
        return combined_loss(model(batch[0]).float(), batch[1], self.settings.epsilon)

    def validation_loss(self, model: nn.Module) -> float:
        """Equation 2, the mean over the validation part's whole volumes, against their
        pseudo-masks."""
        losses = []
        for scan in self.parts[1]:
            logits = _slid(model, self._volumes[scan], self.settings, self._device)
            losses.append(
                float(
                    combined_loss(
                        logits,
                        torch.from_numpy(self._masks[scan].astype(np.float32)),
                        self.settings.epsilon,
                    )
                )
            )
        return sum(losses) / len(losses)

    def marks(self) -> dict[str, str]:
        """Hash of settings, volumes and masks."""
        hashes = [
            sha256_lines(line for scan in part for line in self._hashes(scan))
            for part in self.parts
        ]
        settings = {
            "stage": "unet",
            "unet": repr(self.settings.model_dump()),
            "seed": repr(self._seed),
        }
        return {**settings, "training volumes": hashes[0], "validation volumes": hashes[1]}

    def _hashes(self, scan: str) -> list[str]:
        return [
            scan,
            *(
                sha256_bytes(np.ascontiguousarray(group[scan]).tobytes())
                for group in (self._volumes, self._masks)
            ),
        ]


def train_unet(
    task: SegmentationTask,
    loop: LoopSettings,
    folder: Path,
    metadata: Mapping[str, Any],
    report: Callable[[str], None] = print,
    restart_changed: bool = False,
) -> LoopRun:
    """A U-Net from random weights; its file in `folder` is read back by `load_unet`."""
    described = {**metadata, "unet": task.settings.describe()}
    return fit(
        create_unet(task.settings, loop.seed),
        task,
        loop,
        folder,
        task.marks(),
        described,
        report,
        restart_changed,
    )


def load_unet(
    path: Path, device: torch.device, sha256: str | None = None
) -> tuple[UNet, UNetSettings]:
    """A trained U-Net in evaluation mode and its settings; WeightsError where the file is not one
    of `train_unet`."""
    described = read_metadata(path).get("unet")
    if not isinstance(described, dict) or set(described) != set(UNetSettings.model_fields):
        raise WeightsError(f"{path} does not describe a 3-D U-Net of this study")
    settings = UNetSettings(**described)
    model = create_unet(settings)
    load_weights(path, model, sha256)
    return model.to(device).eval(), settings


def segment(
    model: nn.Module, volume: np.ndarray, settings: UNetSettings, device: torch.device
) -> np.ndarray:
    """Probability of hemorrhage per voxel, float32 (N, S, S), of a prepared volume of any length.

    volume: uint8 (N, S, S). Raises DataError for slices of another size or an empty volume.
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
        return _slid(model, volume, settings, device).sigmoid().numpy()


def _slid(
    model: nn.Module, volume: np.ndarray, settings: UNetSettings, device: torch.device
) -> Tensor:
    """Logits (N, S, S), float32, on the CPU."""
    inputs = torch.from_numpy(volume.astype(np.float32) / 255)[None, None].to(device)
    roi = (settings.depth, settings.size, settings.size)
    return (
        sliding_window_inference(inputs, roi, 1, model, overlap=settings.overlap)[0, 0]
        .float()
        .cpu()
    )
