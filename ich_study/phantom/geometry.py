"""Grids, signed distances and smooth random fields for the synthetic head; all lengths in mm.

The head is a function of canonical coordinates: x to the patient's left, y to posterior, z to
superior, origin near the anterior commissure, sizes those of the MNI space. Arrays are (z, y, x).
A signed distance is negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

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
        axes = [np.linspace(a, b, round((b - a) / s) + 1, dtype=np.float32) for a, b, s in zip(low, high, step)]
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

    def index(self, point: Point) -> tuple[float, float, float]:
        """Fractional index of a point (z, y, x)."""
        return tuple((p - float(axis[0])) / s for p, axis, s in zip(point, (self.z, self.y, self.x), self.step))

    def box(self, low: Point, high: Point) -> Box:
        """Slices of the part between two corners (z, y, x)."""
        spans = []
        for a, b, axis in zip(low, high, (self.z, self.y, self.x)):
            start, stop = np.searchsorted(axis, (a, b))
            spans.append(slice(int(max(start - 1, 0)), int(min(stop + 1, len(axis)))))
        return tuple(spans)

    def part(self, box: Box) -> Lattice:
        """The grid of a box."""
        return Lattice(self.z[box[0]], self.y[box[1]], self.x[box[2]])


def ellipsoid(lattice: Lattice, centre: Point, axes: Point) -> np.ndarray:
    """Approximate signed distance to an axis-aligned ellipsoid; centre and semi-axes as (x, y, z)."""
    z, y, x = lattice.mesh
    parts = [((v - np.float32(c)) / np.float32(a)) ** 2 for v, c, a in zip((x, y, z), centre, axes)]
    inner = parts[0] + parts[1] + parts[2]
    outer = parts[0] / np.float32(axes[0] ** 2) + parts[1] / np.float32(axes[1] ** 2) + parts[2] / np.float32(axes[2] ** 2)
    level = np.sqrt(inner)
    return level * (level - 1) / np.sqrt(outer + np.float32(1e-12))


def capsule(lattice: Lattice, start: Point, end: Point, start_radius: float, end_radius: float) -> np.ndarray:
    """Signed distance to a segment (points as (x, y, z)) whose radius changes linearly along it."""
    z, y, x = lattice.mesh
    ax, ay, az = (np.float32(v) for v in start)
    bx, by, bz = (np.float32(e - s) for s, e in zip(start, end))
    along = ((x - ax) * bx + (y - ay) * by + (z - az) * bz) / (bx * bx + by * by + bz * bz + np.float32(1e-6))
    along = np.clip(along, 0, 1)
    square = (x - ax - along * bx) ** 2 + (y - ay - along * by) ** 2 + (z - az - along * bz) ** 2
    return np.sqrt(square) - (np.float32(start_radius) + along * np.float32(end_radius - start_radius))


def smooth_union(first: np.ndarray, second: np.ndarray, blend_mm: float) -> np.ndarray:
    """Minimum of two signed distances, rounded over `blend_mm`."""
    mix = np.clip(0.5 + 0.5 * (second - first) / np.float32(blend_mm), 0, 1)
    return second + (first - second) * mix - np.float32(blend_mm) * mix * (1 - mix)


def occupancy(distance: np.ndarray, width_mm: float) -> np.ndarray:
    """Fraction of a voxel inside a surface: 1 inside, 0 outside, linear over `width_mm`."""
    return np.clip(np.float32(0.5) - distance / np.float32(width_mm), 0, 1)


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at and below `low`, 1 at and above `high`, smooth between."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def paint(volume: np.ndarray, fraction: np.ndarray, value: np.ndarray | float) -> None:
    """Mixes `value` into `volume` in place, by fraction in [0, 1]."""
    volume += fraction * (np.asarray(value, dtype=np.float32) - volume)


def resize_linear(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`field` on a grid of another shape with the same corners, linearly interpolated."""
    for axis in np.argsort([new / old for new, old in zip(shape, field.shape)]):
        old, new = field.shape[axis], shape[axis]
        if old == new:
            continue
        position = np.linspace(0, old - 1, new)
        below = np.minimum(position.astype(int), old - 2)
        weight = (position - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(field.ndim)])
        lower = np.take(field, below, axis)
        field = lower + weight * (np.take(field, below + 1, axis) - lower)
    return field


def resize_cubic(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cubic B-spline with the coefficients `field` (4 or more per axis), sampled on `shape`."""
    for axis, new in enumerate(shape):
        position = np.linspace(1, field.shape[axis] - 2, new)
        below = np.minimum(position.astype(int), field.shape[axis] - 3)
        t = (position - below).reshape([-1 if a == axis else 1 for a in range(field.ndim)]).astype(np.float32)
        weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        field = sum(w * np.take(field, below + k - 1, axis) for k, w in enumerate(weights)) / np.float32(6)
    return field


def smooth_noise(rng: np.random.Generator, lattice: Lattice, wavelength_mm: float) -> np.ndarray:
    """Gaussian field, float32 of the lattice's shape, mean 0, SD 1, correlated over half a wavelength."""
    spans = [float(axis[-1] - axis[0]) for axis in (lattice.z, lattice.y, lattice.x)]
    knots = [max(4, round(2.2 * span / wavelength_mm) + 3) for span in spans]
    coarse = rng.standard_normal(knots).astype(np.float32)
    middle = tuple(min(n, 5 * k) for n, k in zip(lattice.shape, knots))
    field = resize_linear(resize_cubic(coarse, middle), lattice.shape)
    return ((field - field.mean()) / field.std()).astype(np.float32)


def lookup(field: np.ndarray, lattice: Lattice, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`field` of `lattice` at other coordinates, linearly interpolated, the border repeated."""
    places = [(v - axis[0]) / np.float32(s) for v, axis, s in zip((z, y, x), (lattice.z, lattice.y, lattice.x), lattice.step)]
    return ndimage.map_coordinates(field, np.stack(places), order=1, mode="nearest", output=np.float32)


def gradient_norm(field: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Length of the gradient, per mm."""
    return np.sqrt(sum(part**2 for part in np.gradient(field, *lattice.step))).astype(np.float32)
