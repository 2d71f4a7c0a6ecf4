"""Slices of the head: where they lie, and what a field of the head is there, partial volume
included.

Scan coordinates are physical mm: u to the patient's left (columns), v to posterior (rows), w to
superior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ich_study.phantom.acquisition import Scanner
from ich_study.phantom.geometry import Lattice, Point
from ich_study.phantom.resample import apply_weights, cubic_weights, linear_at, resize_weights

TOP_MM, BOTTOM_MM = 88.0, -68.0
"""Canonical z that a full scan reaches: over the vertex, and the foramen magnum."""
PIVOT = (0.0, 16.0, 0.0)
"""Canonical point (x, y, z) that the head turns about."""
TILE, BLOCK = 8, 4
"""Sides of the squares of pixels and of the cubes of voxels by which `sample` passes over what is
empty."""
CROWDED = 0.75
"""Share of a slice's squares above which picking out those that are not empty costs more than it
saves."""


@dataclass(frozen=True)
class Placement:
    """Scan grid on the head: `z_mm` of the slices, the number of fine sub-slices of each, the crop
    (rows, columns) that can hold the head, and the indices there into the head's lattice (3, ...).

    slope: for each axis of the lattice, how far the index changes from a pixel to the next at most.
    """

    z_mm: np.ndarray
    sub_slices: int
    rows: slice
    columns: slice
    indices: np.ndarray
    slope: Point


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
    axis = (np.arange(scanner.matrix) - (scanner.matrix - 1) / 2) * scanner.pixel_mm
    turn = Rotation.from_euler("xyz", scanner.angles, degrees=True).as_matrix()
    tilt = np.deg2rad(scanner.gantry_tilt)
    u, v = axis - scanner.shift_mm[0], axis - scanner.shift_mm[1]
    rows, columns = _crop(v, 118 * max(scale)), _crop(u, 104 * max(scale))
    u, v = u[columns], v[rows]
    indices = np.empty((3, len(w), len(v), len(u)), np.float32)
    scratch = np.empty(indices.shape[1:], np.float32)
    slope = [0.0, 0.0, 0.0]
    for out, head_axis, grid in zip((2, 1, 0), (0, 1, 2), (lattice.x, lattice.y, lattice.z)):
        pull = turn[:, head_axis] / scale[head_axis]
        along_v = pull[1] * np.cos(tilt) - pull[2] * np.sin(tilt)
        step = float(grid[1] - grid[0])
        start = (PIVOT[head_axis] - float(grid[0])) / step
        terms = (start + pull[2] * w / step, along_v * v / step, pull[0] * u / step)
        slope[out] = (abs(along_v) + abs(pull[0])) * scanner.pixel_mm / step + _bend(
            rng, step, indices[out], scratch
        )
        a, b, c = (t.astype(np.float32) for t in terms)
        level = b[:, None] + c[None, :]
        for plane, bent, height in zip(
            indices[out], scratch, a
        ):  # by planes, which stay in the processor's cache
            plane += bent
            plane += level
            plane += height
    return Placement(z_mm, sub, rows, columns, indices, tuple(slope))


def _bend(rng: np.random.Generator, step_mm: float, first: np.ndarray, second: np.ndarray) -> float:
    """Smooth random displacement, in lattice steps: 1.5 mm over the head into `first`, 0.7 mm over
    its parts into `second`. Returns the most by which their sum changes from a pixel to the
    next."""
    steepest = 0.0
    for values, out in (
        (rng.normal(0, 2.2, (5, 5, 5)), first),
        (rng.normal(0, 1.6, (8, 11, 10)), second),
    ):
        knots = (values / step_mm).astype(np.float32)
        apply_weights(
            knots,
            [
                resize_weights(5 * old, new) @ cubic_weights(old, 5 * old)
                for old, new in zip(knots.shape, out.shape)
            ],
            out,
        )
        for axis in (1, 2):  # a cubic B-spline is nowhere steeper than its knots
            steepest += (
                float(np.abs(np.diff(knots, axis=axis)).max())
                * (knots.shape[axis] - 3)
                / max(out.shape[axis] - 1, 1)
            )
    return steepest


def _crop(axis: np.ndarray, reach_mm: float) -> slice:
    inside = np.flatnonzero(np.abs(axis) <= reach_mm)
    return slice(int(inside[0]), int(inside[-1]) + 1)


def sample(field: np.ndarray, placement: Placement, matrix: int, outside: float) -> np.ndarray:
    """A field of the head as slices, float32 (slices, rows, columns): each the mean of its
    sub-slices.

    Where all voxels around have the value `outside`, so has the slice; there nothing is
    interpolated.
    """
    result = np.full((len(placement.z_mm), matrix, matrix), outside, np.float32)
    tiles = _tiles(field != np.float32(outside), placement)
    rows, columns = placement.indices.shape[2:]
    for k in np.flatnonzero(tiles.reshape(len(result), -1).any(1)):
        planes = slice(k * placement.sub_slices, (k + 1) * placement.sub_slices)
        where = [of_axis[planes].reshape(-1) for of_axis in placement.indices]
        if tiles[planes].mean() > CROWDED:
            fine = linear_at(field, where, outside).reshape(-1, rows, columns)
        else:
            fine = np.full((placement.sub_slices, rows, columns), outside, np.float32)
            places = np.flatnonzero(
                tiles[planes].repeat(TILE, 1)[:, :rows].repeat(TILE, 2)[:, :, :columns]
            )
            fine.ravel()[places] = linear_at(
                field, [of_axis.take(places) for of_axis in where], outside
            )
        result[k, placement.rows, placement.columns] = fine.mean(0)
    return result


def _tiles(filled: np.ndarray, placement: Placement) -> np.ndarray:
    """Bool (planes, tiles of rows, tiles of columns): which squares of `TILE` pixels may come near
    a voxel of `filled`."""
    from skimage.measure import block_reduce  # slow to import

    blocks = block_reduce(filled, BLOCK, np.any)
    reach = [int((TILE / 2 * slope + 1.5) / BLOCK) + 1 for slope in placement.slope]
    near = ndimage.maximum_filter(blocks, [2 * size + 1 for size in reach], mode="constant")
    _, _, rows, columns = placement.indices.shape
    middle_rows, middle_columns = (
        np.minimum(np.arange(0, size, TILE) + TILE // 2, size - 1) for size in (rows, columns)
    )
    middles = placement.indices[:, :, middle_rows[:, None], middle_columns]
    return near[
        tuple(
            np.clip(part / BLOCK, 0, size - 1).astype(np.intp)
            for part, size in zip(middles, near.shape)
        )
    ]
