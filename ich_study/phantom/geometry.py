"""Grids, signed distances and smooth random fields for the synthetic head; all lengths in mm.

The head is a function of canonical coordinates: x to the patient's left, y to posterior, z to
superior, origin near the anterior commissure, sizes those of the MNI space. Arrays are (z, y, x).
A signed distance is negative inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ich_study.phantom.resample import apply_weights, cubic_weights, linear_at, resize_weights

SLAB = 4
"""Planes of a volume that are worked on at once."""
Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Lattice:
    """A rectilinear grid: float32 coordinates of its planes along z, y and x."""

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @classmethod
    def spanning(cls, low: Point, high: Point, step: Point) -> Lattice:
        """Grid from `low` to `high` inclusive, (z, y, x) each, with spacing close to `step`."""
        axes = [
            np.linspace(a, b, round((b - a) / s) + 1, dtype=np.float32)
            for a, b, s in zip(low, high, step)
        ]
        return cls(*axes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes along z, y and x."""
        return len(self.z), len(self.y), len(self.x)

    @cached_property
    def mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """z, y and x shaped to broadcast against a volume."""
        return self.z[:, None, None], self.y[None, :, None], self.x[None, None, :]

    @cached_property
    def step(self) -> Point:
        """Spacing along z, y and x."""
        return tuple(float(axis[1] - axis[0]) for axis in (self.z, self.y, self.x))

    def between(self, low: Point, high: Point) -> tuple[Box, Lattice]:
        """Slices of the part between two corners (z, y, x), never without a plane, and its grid."""
        spans = []
        for a, b, axis in zip(low, high, (self.z, self.y, self.x)):
            start, stop = np.searchsorted(axis, (a, b))
            spans.append(slice(max(start - 1, 0), min(stop + 1, len(axis))))
        box = tuple(spans)
        return box, self.part(box)

    def around(self, centre: Point, reach: Point, margin_mm: float = 0.0) -> tuple[Box, Lattice]:
        """`between` of what lies within `reach` of a centre, both (x, y, z), and a margin."""
        middle, half = np.array(centre[::-1]), np.array(reach[::-1]) + margin_mm
        return self.between(middle - half, middle + half)

    def part(self, box: Box) -> Lattice:
        """The grid of a box."""
        return Lattice(self.z[box[0]], self.y[box[1]], self.x[box[2]])


def slabs(distance: np.ndarray, within_mm: float) -> Iterator[Box]:
    """Boxes, `SLAB` planes thick, that hold every voxel whose `distance` (z, y, x) is below
    `within_mm`.

    What is computed of a box stays in the processor's cache.
    """
    for start in range(0, len(distance), SLAB):
        planes = slice(start, min(start + SLAB, len(distance)))
        near = (distance[planes] < within_mm).any(0)
        rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        if len(rows):
            yield (
                planes,
                slice(rows[0], rows[-1] + 1),
                slice(columns[0], columns[-1] + 1),
            )


def ellipsoid(lattice: Lattice, centre: Point, axes: Point) -> np.ndarray:
    """Approximate signed distance to an axis-aligned ellipsoid; centre and semi-axes as (x, y,
    z)."""
    z, y, x = lattice.mesh
    parts = [((v - np.float32(c)) / np.float32(a)) ** 2 for v, c, a in zip((x, y, z), centre, axes)]
    inner = parts[0] + parts[1] + parts[2]
    outer = (
        parts[0] / np.float32(axes[0] ** 2)
        + parts[1] / np.float32(axes[1] ** 2)
        + parts[2] / np.float32(axes[2] ** 2)
    )
    level = np.sqrt(inner)
    return level * (level - 1) / np.sqrt(outer + 1e-12)


def capsule(
    lattice: Lattice, start: Point, end: Point, start_radius: float, end_radius: float
) -> np.ndarray:
    """Signed distance to a segment (points as (x, y, z)) whose radius changes linearly along it."""
    z, y, x = lattice.mesh
    ax, ay, az = (np.float32(v) for v in start)
    bx, by, bz = (np.float32(e - s) for s, e in zip(start, end))
    along = (x - ax) * bx + (y - ay) * by + (z - az) * bz
    along /= bx * bx + by * by + bz * bz + 1e-6
    np.clip(along, 0, 1, out=along)
    square = np.zeros_like(along)
    for v, a, b in ((x, ax, bx), (y, ay, by), (z, az, bz)):
        off = along * -b
        off += v - a
        off *= off
        square += off
    np.sqrt(square, out=square)
    along *= np.float32(end_radius - start_radius)
    along += np.float32(start_radius)
    square -= along
    return square


def smooth_union(first: np.ndarray, second: np.ndarray, blend_mm: float) -> np.ndarray:
    """Minimum of two signed distances, rounded over `blend_mm`."""
    apart = first - second
    mix = occupancy(apart, 2 * blend_mm)
    apart -= blend_mm * (1 - mix)
    apart *= mix
    apart += second
    return apart


def occupancy(distance: np.ndarray, width_mm: float) -> np.ndarray:
    """Fraction of a voxel inside a surface: 1 inside, 0 outside, linear over `width_mm`."""
    share = distance / np.float32(-width_mm)
    share += 0.5
    return np.clip(share, 0, 1, out=share)


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at and below `low`, 1 at and above `high`, smooth between."""
    t = values - np.float32(low)
    t /= np.float32(high - low)
    np.clip(t, 0, 1, out=t)
    step = -2 * t
    step += 3
    step *= t
    step *= t
    return step


def paint(volume: np.ndarray, fraction: np.ndarray, value: np.ndarray | float) -> None:
    """Mixes `value` into `volume` in place, by fraction in [0, 1]."""
    change = np.asarray(value, dtype=np.float32) - volume
    change *= fraction
    volume += change


def smooth_noise(rng: np.random.Generator, lattice: Lattice, wavelength_mm: float) -> np.ndarray:
    """Gaussian field, float32 of the lattice's shape, mean 0, SD 1, correlated over half a
    wavelength."""
    spans = [float(axis[-1] - axis[0]) for axis in (lattice.z, lattice.y, lattice.x)]
    knots = [max(4, round(2.2 * span / wavelength_mm) + 3) for span in spans]
    weights = [_noise_weights(old, new) for old, new in zip(knots, lattice.shape)]
    coarse = rng.standard_normal(knots).astype(np.float32)
    mean, deviation = _moments(coarse, weights)
    return apply_weights((coarse - np.float32(mean)) / np.float32(deviation), weights)


def _noise_weights(knots: int, new: int) -> np.ndarray:
    """A cubic B-spline at five places per knot or fewer, and between them linear: (new, knots)."""
    middle = min(new, 5 * knots)
    return resize_weights(middle, new) @ cubic_weights(knots, middle)


def _moments(coarse: np.ndarray, weights: list[np.ndarray]) -> tuple[float, float]:
    """Mean and SD of what `weights` make of `coarse`, without making it."""
    mean = apply_weights(coarse, [of_axis.mean(0, keepdims=True) for of_axis in weights]).item()
    products = apply_weights(coarse, [of_axis.T @ of_axis / len(of_axis) for of_axis in weights])
    return mean, float(np.sqrt(np.vdot(coarse, products) - mean**2))


def lookup(
    field: np.ndarray, lattice: Lattice, z: np.ndarray, y: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """`field` of `lattice` at other coordinates, linearly interpolated, the border repeated."""
    places = [
        (v - axis[0]) / np.float32(s)
        for v, axis, s in zip((z, y, x), (lattice.z, lattice.y, lattice.x), lattice.step)
    ]
    return linear_at(field, np.stack(places))


def gradient_norm(field: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Length of the gradient, per mm."""
    return np.sqrt(sum(part**2 for part in np.gradient(field, *lattice.step))).astype(np.float32)
