"""Trivial rivals: maps that know nothing of any network. A method that does not beat them has found
nothing.

All are float32 (slices, rows, columns) in [0, 1] and 0 outside the brain where a brain mask is
given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.heat import Index
from ich_study.evaluate.scaling import minmax
from ich_study.evaluate.truth import Truth

RIVALS: tuple[str, ...] = ("hu_threshold", "centred_blob", "random_map")
BLOOD_HU: tuple[float, float] = (50.0, 90.0)
"""Range of acute blood above grey matter (40 HU) and below calcification and bone."""
BLOB_SIGMA = 0.25
"""Of the centred blob, in units of the square root of the brain's area."""


def hu_threshold_maps(hu: np.ndarray, brain: np.ndarray, smooth_px: float = 1.0) -> np.ndarray:
    """1 where the smoothed HU inside the brain lies in BLOOD_HU, else 0.

    hu: (slices, rows, columns). brain: bool, same shape. smooth_px: sigma of a Gaussian over the
    brain's own pixels, 0 for none; bone and air beside the brain take no part, or its whole rim
    would look like blood.
    """
    hu, brain = np.asarray(hu), _brain(brain, np.asarray(hu).shape)
    smooth = hu.astype(np.float32)
    if smooth_px:
        for target, mask in zip(smooth, brain.astype(np.float32)):
            weight = cv2.GaussianBlur(mask, (0, 0), smooth_px)
            target[:] = cv2.GaussianBlur(target * mask, (0, 0), smooth_px) / np.maximum(
                weight, 1e-6
            )
    return (brain & (smooth >= BLOOD_HU[0]) & (smooth <= BLOOD_HU[1])).astype(np.float32)


def centred_blob_maps(brain: np.ndarray) -> np.ndarray:
    """A Gaussian at the brain's centre of mass, its sigma a quarter of the square root of the
    brain's area; zeros without brain."""
    brain = _brain(brain, np.asarray(brain).shape)
    maps = np.zeros(brain.shape, np.float32)
    for target, mask in zip(maps, brain):
        rows, columns = np.nonzero(mask)
        if len(rows):
            distance = (np.arange(mask.shape[0])[:, None] - rows.mean()) ** 2 + (
                np.arange(mask.shape[1]) - columns.mean()
            ) ** 2
            target[:] = np.exp(-distance / (2 * BLOB_SIGMA**2 * len(rows))) * mask
    return maps


def _brain(brain: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    brain = np.asarray(brain)
    if brain.dtype != bool or brain.ndim != 3 or brain.shape != shape:
        raise ParameterError(
            f"brain mask is {brain.dtype} {brain.shape}; expected bool of the slices' shape {shape}"
        )
    return brain


@dataclass(frozen=True)
class RivalHeat:
    """Heat of a trivial rival, made when it is read, the same for every class; see `rivals`."""

    name: str
    classes: tuple[str, ...]
    truth: Truth = field(repr=False)
    smoothness_px: float
    seed: int
    variant: str = "printed"
    layer: str | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def read(self, index: Index) -> np.ndarray:
        """Heat of some slices, float32 (n, classes, size, size) in [0, 1], 0 outside the brain."""
        brain = self.truth.brain[index]
        if self.name == "hu_threshold":
            maps = hu_threshold_maps(self.truth.hu[index], brain)
        elif self.name == "centred_blob":
            maps = centred_blob_maps(brain)
        else:
            maps = self._noise(index) * brain
        return np.repeat(maps[:, None], len(self.classes), axis=1)

    def _noise(self, index: Index) -> np.ndarray:
        rows = self.truth.rows
        noise = np.zeros((len(np.arange(len(self))[index]), *[self.truth.size] * 2), np.float32)
        scans, slices = (rows[name].to_numpy()[index] for name in ("scan_id", "slice_index"))
        for target, scan, number in zip(noise, scans, slices):
            target[:] = random_map(
                target.shape, self.smoothness_px, self.seed, f"{scan}/{int(number)}"
            )
        return noise


def rivals(
    truth: Truth, classes: Sequence[str] = ("any",), smoothness_px: float = 8.0, seed: int = 0
) -> list[RivalHeat]:
    """The three trivial rivals of every method: blood's HU in the brain, a centred blob, noise.

    smoothness_px: grain of the noise, best the method's own. DataError where the brain was not
    read.
    """
    if truth.brain is None:
        raise DataError("trivial rivals need the brain mask; read the truth with brain=True")
    if smoothness_px < 0:
        raise ParameterError(f"smoothness is {smoothness_px} px; expected 0 or more")
    return [RivalHeat(name, tuple(classes), truth, smoothness_px, seed) for name in RIVALS]


def random_map(shape: tuple[int, ...], smoothness_px: float, seed: int, key: str) -> np.ndarray:
    """White noise smoothed by a Gaussian, min-max scaled, float32; depends on seed and key alone.

    key: names the slice, so that a slice has the same random map in whatever part it is scored.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    noise = np.random.default_rng((seed, number)).standard_normal(shape).astype(np.float32)
    return minmax(cv2.GaussianBlur(noise, (0, 0), smoothness_px) if smoothness_px else noise)
