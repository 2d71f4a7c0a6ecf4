"""Dura, venous sinuses, arteries, and the calcifications that every radiologist knows.

The falx and the tentorium are thin sheets of dura; the sinuses hold venous blood. All are denser
than brain, and so are calcified choroid plexus, pineal gland, pallidum and falx: none is a
hemorrhage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import (
    Box,
    Lattice,
    Point,
    capsule,
    ellipsoid,
    occupancy,
    paint,
    slabs,
    smooth_noise,
    smoothstep,
)
from ich_study.phantom.person import Person

SINUSES: tuple[tuple[Point, Point, float, float], ...] = (
    ((0, 38, 2), (0, 96, -13), 1.9, 2.3),  # straight: ends (x, y, z) and radii, mm
    ((0, 98, -14), (44, 76, -22), 3.6, 3.6),  # transverse
    ((0, 98, -14), (-44, 76, -22), 3.6, 3.2),
    ((46, 74, -23), (54, 50, -32), 3.4, 3.4),
    ((-46, 74, -23), (-54, 50, -32), 3.2, 3.2),
    ((54, 50, -32), (40, 34, -50), 3.4, 3.2),  # sigmoid
    ((-54, 50, -32), (-40, 34, -50), 3.2, 3.0),
    ((0, 34, 4), (0, 38, 3), 1.6, 1.8),  # vein of Galen
)
ARTERIES: tuple[tuple[Point, Point, float, float], ...] = (
    ((0, 6.5, -42), (0, 3, -20), 1.8, 1.6),  # basilar
    ((7, -2, -24), (9, -3, -17), 2.2, 1.8),  # internal carotid
    ((-7, -2, -24), (-9, -3, -17), 2.2, 1.8),
    ((9, -3, -17), (30, -8, -14), 1.5, 1.2),  # middle cerebral
    ((-9, -3, -17), (-30, -8, -14), 1.5, 1.2),
    ((8, 12, -50), (1, 7, -43), 1.5, 1.5),  # vertebral
    ((-8, 12, -50), (-1, 7, -43), 1.5, 1.5),
)


@dataclass(frozen=True)
class Calcification:
    """Where it may stand (x, y, z; mirrored), its semi-axes, and how often, at 30 and at 80
    years."""

    centre: Point
    axes: Point
    young: float
    old: float


CALCIFICATIONS: tuple[Calcification, ...] = (
    Calcification((0, 33, 2), (2.2, 2.4, 2.4), 0.45, 0.85),  # pineal
    Calcification((23, 41, 12), (2.2, 4.0, 3.6), 0.25, 0.85),  # choroid plexus of the atria
    Calcification((19, 3, -1), (2.4, 4.0, 2.0), 0.02, 0.25),  # pallidum
    Calcification((0, -45, 44), (1.0, 7.0, 6.0), 0.03, 0.2),  # falx
    Calcification((9, -3, -19), (1.5, 1.8, 1.6), 0.02, 0.5),  # carotid wall
    Calcification((24, 66, -40), (2.0, 3.0, 2.0), 0.01, 0.06),  # dentate nucleus
)


def _tube(
    anatomy: Anatomy,
    line: tuple[Point, Point, float, float],
    grow: float,
    value: float,
    width_mm: float,
) -> None:
    start, end, r0, r1 = line
    low = tuple(min(a, b) - 6 for a, b in zip(start[::-1], end[::-1]))
    high = tuple(max(a, b) + 6 for a, b in zip(start[::-1], end[::-1]))
    box = anatomy.lattice.box(low, high)
    part = anatomy.lattice.part(box)
    if 0 in part.shape:
        return
    inside = occupancy(capsule(part, start, end, r0 * grow, r1 * grow), width_mm)
    paint(anatomy.hu[box], inside * (anatomy.depth[box] > -0.5), np.float32(value))


def paint_dura(anatomy: Anatomy, person: Person, rng: np.random.Generator, width_mm: float) -> None:
    """Paints falx, tentorium and venous sinuses, in place."""
    lattice, tissue = anatomy.lattice, person.tissue
    z, y, x = lattice.mesh
    near = slice(*np.searchsorted(lattice.x, (-9, 9)))
    box = (slice(None), slice(None), near)
    inside = smoothstep(anatomy.depth[box], -0.5, 1.0)
    lowest = np.where(y < 4, 30 - ((y + 66) / 70) * -6, 30 - 0.42 * (y - 4))
    across = np.abs(x[..., near] - anatomy.midline)
    free = smoothstep(z - lowest * np.ones_like(z), -2, 4) * smoothstep(z, -8, 0)
    sheet = (
        occupancy(across - np.float32(rng.uniform(0.05, 0.45)), max(width_mm, 1.0)) * free * inside
    )
    paint(anatomy.hu[box], sheet, np.float32(tissue.dura))
    sagittal = np.hypot(across, np.maximum(anatomy.depth[box] - 0.5, 0) * 0.8) - np.float32(
        rng.uniform(2.6, 4.2)
    )
    along = smoothstep(z, -16, -6) * ((y > 16) | (z > 8))
    venous = tissue.blood + rng.normal(9, 3)
    paint(anatomy.hu[box], occupancy(sagittal, width_mm + 0.5) * along * inside, np.float32(venous))
    for part in slabs(np.abs(anatomy.tentorium), 0.7 + max(width_mm, 1.0)):
        paint(
            anatomy.hu[part],
            _tentorium(anatomy, part, max(width_mm, 1.0)),
            np.float32(tissue.dura - 2),
        )
    for line in SINUSES:
        _tube(anatomy, line, rng.uniform(0.75, 1.15), venous, width_mm)


def _tentorium(anatomy: Anatomy, box: Box, width_mm: float) -> np.ndarray:
    """The sheet as a fraction of each voxel, but for the notch that the brain stem passes
    through."""
    _, y, x = anatomy.lattice.part(box).mesh
    sheet = occupancy(
        np.abs(anatomy.tentorium[box]) * 0.86 - np.float32(0.6), width_mm
    ) * smoothstep(anatomy.depth[box], -0.5, 1.0)
    return sheet * ((np.abs(x) > 12 + 0.25 * np.clip(60 - y, 0, 60)) | (y > 46)) * (y > 24)


def paint_arteries(
    anatomy: Anatomy, person: Person, rng: np.random.Generator, width_mm: float
) -> None:
    """Paints the large arteries of the base, in place; one may be abnormally dense (a clot)."""
    dense = int(rng.integers(len(ARTERIES))) if rng.random() < 0.06 else -1
    for k, line in enumerate(ARTERIES):
        value = person.tissue.blood + 2 + (rng.uniform(14, 24) if k == dense else 0)
        _tube(anatomy, line, rng.uniform(0.8, 1.15), value, width_mm)


def paint_calcifications(
    anatomy: Anatomy, person: Person, rng: np.random.Generator, width_mm: float
) -> None:
    """Paints calcified pineal, choroid plexus, pallidum, falx and arteries as age allows, in
    place."""
    years = np.clip((person.age - 30) / 50, 0, 1)
    for spot in CALCIFICATIONS:
        present = rng.random() < spot.young + (spot.old - spot.young) * years
        density, size = rng.uniform(75, 420), rng.uniform(0.5, 1.25)
        for side in (-1, 1) if spot.centre[0] else (1,):
            jitter = rng.normal(0, 1.2, 3)
            if present and rng.random() < 0.88:
                centre = tuple(
                    c * (side if i == 0 else 1) + j
                    for i, (c, j) in enumerate(zip(spot.centre, jitter))
                )
                _spot(
                    anatomy,
                    centre,
                    tuple(a * size for a in spot.axes),
                    density * rng.uniform(0.6, 1.2),
                    width_mm,
                    rng,
                )


def _spot(
    anatomy: Anatomy,
    centre: Point,
    axes: Point,
    density: float,
    width_mm: float,
    rng: np.random.Generator,
) -> None:
    low, high = (tuple(c + s * (a + 4) for c, a in zip(centre[::-1], axes[::-1])) for s in (-1, 1))
    box = anatomy.lattice.box(low, high)
    part: Lattice = anatomy.lattice.part(box)
    uneven = ellipsoid(part, centre, axes) + 0.5 * smooth_noise(rng, part, 4.0)
    paint(
        anatomy.hu[box], occupancy(uneven, width_mm) * (anatomy.depth[box] > 0), np.float32(density)
    )
