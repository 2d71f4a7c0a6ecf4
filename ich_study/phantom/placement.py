"""Slices of the head: where they lie, and what a field of the head is there, partial volume
included.

Scan coordinates are physical mm: u to the patient's left (columns), v to posterior (rows), w to
superior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ich_study.phantom.acquisition import Scanner
from ich_study.phantom.geometry import Lattice, Point
from ich_study.phantom.resample import (
    apply_weights,
    centred,
    cubic_weights,
    filled_cells,
    linear_at,
    resize_weights,
)

TOP_MM, BOTTOM_MM = 88.0, -68.0
"""Canonical z that a full scan reaches: over the vertex, and the foramen magnum."""
PIVOT = (0.0, 16.0, 0.0)
"""Canonical point (x, y, z) that the head turns about."""


@dataclass(frozen=True)
class Placement:
    """Scan grid on the head: `z_mm` of the slices, the crop (rows, columns) that can hold the head,
    and the indices there into the head's lattice (3, slices, fine sub-slices of each, rows,
    columns)."""

    z_mm: np.ndarray
    rows: slice
    columns: slice
    indices: np.ndarray


def slice_positions(scanner: Scanner, height_scale: float) -> np.ndarray:
    """Z of the slice centres, mm, ascending; the whole head unless `slices` fixes their number."""
    low, high = BOTTOM_MM * height_scale + scanner.low_mm, TOP_MM * height_scale
    count = scanner.slices or max(3, int(np.ceil((high - low) / scanner.thickness_mm)))
    step = (
        scanner.thickness_mm
        if scanner.slices is None
        else max(scanner.thickness_mm, (high - low) / count)
    )
    return np.round(low + step * (np.arange(count) + 0.5), 3)


def place(scanner: Scanner, lattice: Lattice, scale: Point, rng: np.random.Generator) -> Placement:
    """Where each sample of the scan lies in the head, a smooth random deformation of 1.5 mm
    included.

    With a positive gantry tilt the rows descend towards posterior, as the writers state in the
    headers.
    """
    z_mm = slice_positions(scanner, scale[2])
    sub = int(np.clip(round(scanner.thickness_mm / 1.25), 1, 8))
    w = (z_mm[:, None] + scanner.thickness_mm * ((np.arange(sub) + 0.5) / sub - 0.5)).ravel()
    axis = centred(scanner.matrix) * scanner.pixel_mm
    turn = Rotation.from_euler("xyz", scanner.angles, degrees=True).as_matrix()
    tilt = np.deg2rad(scanner.gantry_tilt)
    u, v = axis - scanner.shift_mm[0], axis - scanner.shift_mm[1]
    rows, columns = _crop(v, 118 * max(scale)), _crop(u, 104 * max(scale))
    u, v = u[columns], v[rows]
    indices = np.empty((3, len(w), len(v), len(u)), np.float32)
    for out, head_axis, grid in zip((2, 1, 0), (0, 1, 2), (lattice.x, lattice.y, lattice.z)):
        pull = turn[:, head_axis] / scale[head_axis]
        along_v = pull[1] * np.cos(tilt) - pull[2] * np.sin(tilt)
        step = float(grid[1] - grid[0])
        start = (PIVOT[head_axis] - float(grid[0])) / step
        terms = (start + pull[2] * w / step, along_v * v / step, pull[0] * u / step)
        a, b, c = (t.astype(np.float32) for t in terms)
        indices[out] = _bend(rng, step, indices.shape[1:])
        indices[out] += b[:, None] + c
        indices[out] += a[:, None, None]
    return Placement(z_mm, rows, columns, indices.reshape(3, len(z_mm), sub, len(v), len(u)))


def _bend(rng: np.random.Generator, step_mm: float, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth random displacement in lattice steps: 1.5 mm over the head and 0.7 mm over its
    parts."""
    bends = []
    for values in (rng.normal(0, 2.2, (5, 5, 5)), rng.normal(0, 1.6, (8, 11, 10))):
        weights = [
            resize_weights(5 * old, new) @ cubic_weights(old, 5 * old)
            for old, new in zip(values.shape, shape)
        ]
        bends.append(apply_weights((values / step_mm).astype(np.float32), weights))
    bends[0] += bends[1]
    return bends[0]


def _crop(axis: np.ndarray, reach_mm: float) -> slice:
    inside = np.flatnonzero(np.abs(axis) <= reach_mm)
    return slice(inside[0], inside[-1] + 1)


def sample(field: np.ndarray, placement: Placement, matrix: int, outside: float) -> np.ndarray:
    """A field of the head as slices, float32 (slices, rows, columns): each the mean of its
    sub-slices."""
    result = np.full((len(placement.z_mm), matrix, matrix), outside, np.float32)
    filled = filled_cells(field, outside)
    for k, image in enumerate(result):
        where = placement.indices[:, k]
        if filled[max(int(where[0].min()), 0) : int(where[0].max()) + 1].any():
            fine = linear_at(field, where, outside, filled)
            image[placement.rows, placement.columns] = fine.mean(0)
    return result
