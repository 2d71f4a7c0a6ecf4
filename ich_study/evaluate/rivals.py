"""Trivial rivals: maps that know nothing of any network. A method that does not beat them has found
nothing.

All are float32 (slices, rows, columns) in [0, 1] and 0 outside the brain where a brain mask is
given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.heat import Index, ReaderHeat
from ich_study.evaluate.scaling import minmax
from ich_study.evaluate.truth import Truth

RIVALS: tuple[str, ...] = ("hu_threshold", "centred_blob", "random_map")
BLOOD_HU: tuple[float, float] = (50.0, 90.0)
"""Range of acute blood above grey matter (40 HU) and below calcification and bone."""
BLOB_SIGMA = 0.25
"""Of the centred blob, in units of the square root of the brain's area."""
SMOOTH_PX = 1.0
"""Sigma of the Gaussian that smooths the HU."""


def hu_threshold_maps(hu: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """1 where the smoothed HU inside the brain lies in BLOOD_HU, else 0.

    hu: (slices, rows, columns). brain: bool, same shape. The brain's own pixels are smoothed; bone
    and air beside the brain take no part, or its whole rim would look like blood.
    """
    smooth = hu.astype(np.float32)
    for target, mask in zip(smooth, brain.astype(np.float32)):
        weight = cv2.GaussianBlur(mask, (0, 0), SMOOTH_PX)
        target[:] = cv2.GaussianBlur(target * mask, (0, 0), SMOOTH_PX) / np.maximum(weight, 1e-6)
    return (brain & (smooth >= BLOOD_HU[0]) & (smooth <= BLOOD_HU[1])).astype(np.float32)


def centred_blob_maps(brain: np.ndarray) -> np.ndarray:
    """A Gaussian at the brain's centre of mass, its sigma a quarter of the square root of the
    brain's area; zeros without brain."""
    maps = np.zeros(brain.shape, np.float32)
    for target, mask in zip(maps, brain):
        rows, columns = np.nonzero(mask)
        if len(rows):
            distance = (np.arange(mask.shape[0])[:, None] - rows.mean()) ** 2 + (
                np.arange(mask.shape[1]) - columns.mean()
            ) ** 2
            target[:] = np.exp(-distance / (2 * BLOB_SIGMA**2 * len(rows))) * mask
    return maps


def rivals(
    truth: Truth, classes: Sequence[str] = ("any",), smoothness_px: float = 8.0, seed: int = 0
) -> list[ReaderHeat]:
    """The three trivial rivals of every method: blood's HU in the brain, a centred blob, noise.

    Their heat is made when it is read, the same for every class, in [0, 1] and 0 outside the brain.
    smoothness_px: grain of the noise, best the method's own. DataError where the brain was not
    read.
    """
    if truth.brain is None:
        raise DataError("trivial rivals need the brain mask; read the truth with brain=True")
    if smoothness_px < 0:
        raise ParameterError(f"smoothness is {smoothness_px} px; expected 0 or more")

    def noise(index: Index) -> np.ndarray:
        maps = np.empty(truth.hu[index].shape, np.float32)
        scans, slices = (truth.rows[name].to_numpy()[index] for name in ("scan_id", "slice_index"))
        for target, scan, number in zip(maps, scans, slices):
            target[:] = random_map(target.shape, smoothness_px, seed, f"{scan}/{int(number)}")
        return maps * truth.brain[index]

    makers: dict[str, Callable[[Index], np.ndarray]] = {
        "hu_threshold": lambda index: hu_threshold_maps(truth.hu[index], truth.brain[index]),
        "centred_blob": lambda index: centred_blob_maps(truth.brain[index]),
        "random_map": noise,
    }

    def heat(name: str) -> ReaderHeat:
        def read(index: Index) -> np.ndarray:
            return np.repeat(makers[name](index)[:, None], len(classes), axis=1)

        return ReaderHeat(name, "printed", None, tuple(classes), len(truth), read)

    return [heat(name) for name in RIVALS]


def random_map(shape: tuple[int, ...], smoothness_px: float, seed: int, key: str) -> np.ndarray:
    """White noise smoothed by a Gaussian, min-max scaled, float32; depends on seed and key alone.

    key: names the slice, so that a slice has the same random map in whatever part it is scored.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    noise = np.random.default_rng((seed, number)).standard_normal(shape).astype(np.float32)
    return minmax(cv2.GaussianBlur(noise, (0, 0), smoothness_px) if smoothness_px else noise)
