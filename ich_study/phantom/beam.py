"""Beam hardening and photon starvation, from projections of the slices at low resolution.

A water correction leaves an error that grows with the square of the path through bone: its
back-projection darkens the band between two dense bones (the Hounsfield bar between the petrous
pyramids). Noise of the rays grows with their attenuation and gives streaks at the skull base.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage, sparse

from ich_study.phantom.resample import centred, linear_weights

GRID, ANGLES, FIELD_MM = 80, 60, 256.0
"""Side of the low-resolution image in pixels, number of views, width of the image in mm."""
WATER_PER_MM = 0.0195
"""Attenuation of water at the effective energy of a 120 kVp head scan, per mm."""


@lru_cache(maxsize=1)
def projector() -> sparse.csr_matrix:
    """Parallel-beam projection (views x bins, pixels), in mm of path, by linear interpolation."""
    axis = centred(GRID)
    u, v = np.meshgrid(axis, axis)
    bins = GRID + 34
    rows, columns, weights = [], [], []
    for k in range(ANGLES):
        angle = np.pi * k / ANGLES
        place = (u * np.cos(angle) + v * np.sin(angle)).ravel() + (bins - 1) / 2
        below = np.floor(place).astype(int)
        for offset, weight in ((0, 1 - (place - below)), (1, place - below)):
            rows.append(k * bins + below + offset)
            columns.append(np.arange(GRID**2))
            weights.append(weight)
    entries = np.concatenate(weights) * FIELD_MM / GRID
    return sparse.csr_matrix(
        (entries.astype(np.float32), (np.concatenate(rows), np.concatenate(columns))),
        shape=(ANGLES * bins, GRID**2),
    )


def _back_project(sinogram: np.ndarray) -> np.ndarray:
    """Images (slices, GRID, GRID) in units of the projections (views, bins, slices) per mm, after a
    ramp filter that is smooth at the highest frequencies."""
    _, bins, slices = sinogram.shape
    frequency = np.fft.rfftfreq(2 * bins)
    ramp = 2 * frequency * np.cos(np.pi * frequency) ** 2
    spectrum = np.fft.rfft(sinogram, 2 * bins, axis=1) * ramp[:, None]
    filtered = np.fft.irfft(spectrum, 2 * bins, axis=1)[:, :bins]
    step, flat = FIELD_MM / GRID, filtered.reshape(-1, slices).astype(np.float32)
    image = projector().T @ flat * (np.pi / (2 * ANGLES) / step**2)
    return image.T.reshape(slices, GRID, GRID)


def beam_hardening(
    hu: np.ndarray, pixel_mm: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fields of the shape of `hu`: beam hardening of unit strength (HU), the glow of nearby bone (0
    to about 1; scatter and off-focal radiation), and starvation noise (HU).

    hu: float32 (slices, rows, columns), noiseless. The fields are 0 in the air around the head.
    """
    slices, matrix = len(hu), hu.shape[1]
    span = matrix * pixel_mm
    zoomed = _to_grid(hu, span)
    bone = np.clip(zoomed - 150, 0, None) / 1000
    tissue = np.clip(zoomed + 1000, 0, 1100) / 1000
    project = projector()
    bins = project.shape[0] // ANGLES
    bone_path = (project @ bone.reshape(slices, -1).T).reshape(ANGLES, bins, slices) * WATER_PER_MM
    total_path = (project @ tissue.reshape(slices, -1).T).reshape(
        ANGLES, bins, slices
    ) * WATER_PER_MM + bone_path
    error = -0.012 * bone_path**2 - 0.008 * bone_path * (total_path - bone_path) + 0.062 * bone_path
    rays = (
        rng.standard_normal(total_path.shape, dtype=np.float32)
        * np.exp(0.5 * (total_path - 5.0))
        * 0.0022
    )
    images = _back_project(np.concatenate([error, rays], axis=2)) / WATER_PER_MM * 1000
    inside = ndimage.gaussian_filter(np.clip((zoomed + 600) / 500, 0, 1), (0, 0.5, 0.5))
    glow = ndimage.gaussian_filter(np.clip(bone, 0, 1), (0, 4.0, 4.0)) * inside
    return tuple(
        _from_grid(field, span, matrix)
        for field in (images[:slices] * inside, glow, images[slices:] * inside)
    )


def _to_grid(hu: np.ndarray, span_mm: float) -> np.ndarray:
    matrix = hu.shape[1]
    factor = max(1, matrix // GRID)
    usable = matrix // factor * factor
    small = (
        hu[:, :usable, :usable]
        .reshape(len(hu), usable // factor, factor, usable // factor, factor)
        .mean((2, 4))
    )
    axis = (centred(GRID) * FIELD_MM / GRID / (span_mm * usable / matrix) + 0.5) * small.shape[
        1
    ] - 0.5
    return _interpolate(small, axis, -1000.0)


def _from_grid(images: np.ndarray, span_mm: float, matrix: int) -> np.ndarray:
    axis = centred(matrix) * span_mm / matrix / (FIELD_MM / GRID) + (GRID - 1) / 2
    return _interpolate(images.astype(np.float32), axis, 0.0)


def _interpolate(images: np.ndarray, axis: np.ndarray, outside: float) -> np.ndarray:
    """Images (n, side, side) at fractional rows and columns `axis`, `outside` beyond the border."""
    side = images.shape[1]
    weights = linear_weights(axis, side).astype(np.float32)
    both = weights @ images @ weights.T
    beyond = (axis < -0.5) | (axis > side - 0.5)
    both[:, beyond] = outside
    both[:, :, beyond] = outside
    return both
