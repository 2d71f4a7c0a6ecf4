"""Subdural and epidural hemorrhage: a layer under the inner table whose thickness varies over it.

Subdural: a crescent over one hemisphere, across sutures, never across the midline; or a layer along
falx or tentorium. Epidural: a biconvex lens that ends before the sutures. The thickness is a
profile (1 in the middle) times a factor that gives the volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import Lattice, Point, occupancy, smooth_noise, smoothstep
from ich_study.phantom.hemorrhage.growth import below, paint_lesion, threshold, voxel_ml
from ich_study.phantom.person import Person
from ich_study.phantom.resample import resize_linear
from ich_study.phantom.skull import suture_distance

DURA_MM = 0.7
"""Blood starts this far under the inner table."""
FAR_MM = 60.0
"""A level that no layer of blood reaches."""


@dataclass(frozen=True)
class Layer:
    """A drawn extra-axial hematoma: kind (convexity, falx, tentorium, lens), side, centre on the
    inner table (x, y, z), its reach along the table in mm, the seed of its outline."""

    kind: str
    side: int
    centre: Point
    reach: tuple[float, float]
    volume_ml: float
    density: float
    mixed: float
    seed: int


@dataclass(frozen=True)
class Membranes:
    """What a layer of blood lies on, mm on `lattice`: depth under the inner table, and under the
    lateral table wherever the base lies; height above the tentorium; x of the midline."""

    lattice: Lattice
    depth: np.ndarray
    wall: np.ndarray
    tentorium: np.ndarray
    midline: np.ndarray


def draw_subdural(rng: np.random.Generator, volume_ml: float, density: float) -> Layer:
    """Draws a subdural hematoma; larger ones are wider."""
    side = int(rng.choice([-1, 1]))
    kinds = ["convexity", "falx", "tentorium"]
    kind = str(rng.choice(kinds, p=[1, 0, 0] if volume_ml > 12 else [0.76, 0.14, 0.10]))
    thickness = (2.4 + 1.9 * volume_ml**0.4) * rng.uniform(0.75, 1.3)
    height = np.sqrt(volume_ml * 1000 / (0.7 * thickness) / (3.2 * 1.7))
    centre = (62.0 * side, rng.uniform(-22, 48), rng.uniform(5, 42))
    stretch = rng.uniform(0.85, 1.2)
    reach = (
        float(np.clip(1.7 * height * stretch, 14, 90)),
        float(np.clip(height / stretch, 9, 52)),
    )
    return Layer(
        kind,
        side,
        centre,
        reach,
        volume_ml,
        density,
        rng.uniform(8, 22) if rng.random() < 0.25 else 0.0,
        int(rng.integers(2**31)),
    )


def draw_epidural(rng: np.random.Generator, volume_ml: float, density: float) -> Layer:
    """Draws an epidural hematoma under the temporal, parietal or frontal bone, away from the
    sutures."""
    side = int(rng.choice([-1, 1]))
    places = [(64, 16, -6), (64, 26, 12), (60, 30, 36), (38, -56, 14), (30, 96, -2)]
    centre = places[rng.choice(5, p=[0.35, 0.27, 0.18, 0.13, 0.07])]
    radius = (volume_ml * 1000 / 0.62) ** (1 / 3) * rng.uniform(0.92, 1.15)
    return Layer(
        "lens",
        side,
        (centre[0] * side, *centre[1:]),
        (radius, radius),
        volume_ml,
        density,
        0.0,
        int(rng.integers(2**31)),
    )


def _profile(lattice: Lattice, layer: Layer) -> np.ndarray:
    """Thickness relative to the middle, by position seen from the head's centre, (0, 1]."""
    z, y, x = lattice.mesh
    if layer.kind == "falx":
        along = (np.abs(y - layer.centre[1]) / layer.reach[0]) ** 3
        return np.exp(-along - (np.abs(z - 45) / 32) ** 4)
    if layer.kind == "tentorium":
        return np.exp(-((np.abs(y - 62) / 26) ** 4)) * smoothstep(-np.abs(x), -44, -25)
    wavy = 1 + 0.16 * smooth_noise(np.random.default_rng(layer.seed), lattice, 60)
    if layer.kind == "lens":
        square = (
            ((x - layer.centre[0]) * 0.55) ** 2
            + (y - layer.centre[1]) ** 2
            + (z - layer.centre[2]) ** 2
        )
        cap = np.clip(1 - square * wavy / layer.reach[0] ** 2, 0, 1)
        return cap * smoothstep(suture_distance(lattice), 1.0, 4.0)
    spread = (np.abs(y - layer.centre[1]) / layer.reach[0]) ** 2.6 + (
        np.abs(z - layer.centre[2]) / layer.reach[1]
    ) ** 2.6
    return np.exp(-spread * wavy**2) * smoothstep(layer.side * x, 2.0, 9.0)


def _distance(on: Membranes, layer: Layer) -> np.ndarray:
    """Distance in mm from the membrane that the blood lies on, towards the brain."""
    if layer.kind == "falx":
        return layer.side * (on.lattice.mesh[2] - on.midline) - 0.4
    if layer.kind == "tentorium":
        return on.tentorium - 0.5
    return on.wall - DURA_MM


def _room(on: Membranes, layer: Layer, width_mm: float) -> np.ndarray:
    z, y, x = on.lattice.mesh
    inside = occupancy(DURA_MM - on.depth, width_mm)
    if layer.kind == "falx":
        return inside * smoothstep(z - (18 + ((y - 4) / 44) ** 2 * 10), 0, 8)
    if layer.kind == "tentorium":
        return inside * smoothstep(layer.side * x, 3, 9) * ((y > 38) & (np.abs(x) < 48))
    if layer.kind == "lens":
        return inside
    return inside * smoothstep(on.tentorium, 0, 3) * smoothstep(z, -34, -22)


def _grown(
    on: Membranes, layer: Layer, person: Person, width_mm: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Distance from the membrane over the profile, the space that blood may fill, and the number
    below which the one is blood."""
    profile, distance = _profile(on.lattice, layer), _distance(on, layer)
    level = np.maximum(distance, 0.05) / np.maximum(profile, 0.02)
    near = (distance > -1.0) & (profile > 0.06)
    level = np.where(near, np.minimum(level, FAR_MM), FAR_MM)
    room = _room(on, layer, width_mm)
    reached = np.where(level < FAR_MM, room, 0)
    edge = threshold(level, reached, layer.volume_ml, voxel_ml(on.lattice, person.scale))
    return level, room, edge


def displacement(on: Membranes, layer: Layer, person: Person) -> np.ndarray:
    """Where tissue came from, as a step (3: z, y, x; then the lattice), mm: the brain gives way to
    the blood, most under it and little beyond the midline."""
    if layer.kind in ("falx", "tentorium"):
        return np.zeros((3, *on.depth.shape), np.float32)
    _, _, most = _grown(on, layer, person, 2.0)
    given = most * _profile(on.lattice, layer) * np.clip(1 - on.depth / 85, 0, 1) ** 1.6
    given = np.clip(np.minimum(given, on.depth - 1.5), 0, None)
    z, y, x = on.lattice.mesh
    out = [z - 8, y - 16, x]
    length = np.sqrt(sum(o**2 for o in out)) + 8
    return np.stack([(given * o / length).astype(np.float32) for o in out])


def paint_layer(anatomy: Anatomy, layer: Layer, rng: np.random.Generator) -> np.ndarray:
    """Paints the blood into the head, in place; returns its fraction of each voxel."""
    lattice, blood = anatomy.lattice, _blood(anatomy, layer)
    whole = (slice(None), slice(None), slice(None))
    paint_lesion(anatomy, whole, blood, layer.density, 3.0, rng)
    if layer.mixed:
        swirl = smoothstep(smooth_noise(rng, lattice, 30) + (16 - lattice.mesh[1]) / 60, -0.2, 0.9)
        anatomy.hu[...] -= blood * swirl * layer.mixed
    return blood


def _blood(anatomy: Anatomy, layer: Layer) -> np.ndarray:
    wall = -resize_linear(anatomy.coarse_wall, anatomy.lattice.shape)
    on = Membranes(anatomy.lattice, anatomy.depth, wall, anatomy.tentorium, anatomy.midline)
    level, room, edge = _grown(on, layer, anatomy.person, anatomy.width_mm)
    return below(level, room, edge, anatomy.width_mm + 0.4).astype(np.float32)
