"""Dura, venous sinuses, arteries, and the calcifications that every radiologist knows.

The falx and the tentorium are thin sheets of dura; the sinuses hold venous blood. All are denser
than brain, and so are calcified choroid plexus, pineal gland, pallidum and falx: none is a
hemorrhage.
"""

from __future__ import annotations

import numpy as np

from ich_study.phantom import tables
from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import (
    Box,
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

VENOUS_CONTRAST, ARTERIAL_CONTRAST, DURAL_CONTRAST = 130.0, 200.0, 25.0
"""What an iodinated agent adds a minute after it is given, HU."""
SINUSES, ARTERIES = (tables.read_rows("vessels", group) for group in ("sinus", "artery"))
CALCIFICATIONS = tables.read_rows("calcifications")
"""How often each occurs at 30 (`young`) and at 80 years (`old`); mirrored unless x is 0."""


def _tube(
    anatomy: Anatomy,
    row: tables.Row,
    grow: float,
    value: float,
    width_mm: float,
) -> None:
    start, end = tables.centre(row), tables.end(row)
    low = tuple(min(a, b) - 6 for a, b in zip(start[::-1], end[::-1]))
    high = tuple(max(a, b) + 6 for a, b in zip(start[::-1], end[::-1]))
    box = anatomy.lattice.box(low, high)
    part = anatomy.lattice.part(box)
    if 0 in part.shape:
        return
    inside = occupancy(
        capsule(part, start, end, row["radius"] * grow, row["end_radius"] * grow), width_mm
    )
    paint(anatomy.hu[box], inside * (anatomy.depth[box] > -0.5), np.float32(value))


def paint_dura(
    anatomy: Anatomy,
    person: Person,
    rng: np.random.Generator,
    width_mm: float,
    contrast: bool = False,
) -> None:
    """Paints falx, tentorium and venous sinuses, in place; brighter with a contrast agent."""
    lattice = anatomy.lattice
    dura = person.tissue.dura + (DURAL_CONTRAST if contrast else 0)
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
    paint(anatomy.hu[box], sheet, np.float32(dura))
    sagittal = np.hypot(across, np.maximum(anatomy.depth[box] - 0.5, 0) * 0.8) - np.float32(
        rng.uniform(2.6, 4.2)
    )
    along = smoothstep(z, -16, -6) * ((y > 16) | (z > 8))
    venous = person.tissue.blood + rng.normal(9, 3) + (VENOUS_CONTRAST if contrast else 0)
    paint(anatomy.hu[box], occupancy(sagittal, width_mm + 0.5) * along * inside, np.float32(venous))
    for part in slabs(np.abs(anatomy.tentorium), 0.7 + max(width_mm, 1.0)):
        paint(
            anatomy.hu[part],
            _tentorium(anatomy, part, max(width_mm, 1.0)),
            np.float32(dura - 2),
        )
    for row in SINUSES:
        _tube(anatomy, row, rng.uniform(0.75, 1.15), venous, width_mm)


def _tentorium(anatomy: Anatomy, box: Box, width_mm: float) -> np.ndarray:
    """The sheet as a fraction of each voxel, but for the notch that the brain stem passes
    through."""
    _, y, x = anatomy.lattice.part(box).mesh
    sheet = occupancy(
        np.abs(anatomy.tentorium[box]) * 0.86 - np.float32(0.6), width_mm
    ) * smoothstep(anatomy.depth[box], -0.5, 1.0)
    return sheet * ((np.abs(x) > 12 + 0.25 * np.clip(60 - y, 0, 60)) | (y > 46)) * (y > 24)


def paint_arteries(
    anatomy: Anatomy,
    person: Person,
    rng: np.random.Generator,
    width_mm: float,
    contrast: bool = False,
) -> None:
    """Paints the large arteries of the base, in place; one may be abnormally dense (a clot), all
    are with a contrast agent."""
    dense = int(rng.integers(len(ARTERIES))) if rng.random() < 0.06 else -1
    for k, row in enumerate(ARTERIES):
        value = person.tissue.blood + 2 + (rng.uniform(14, 24) if k == dense else 0)
        value += ARTERIAL_CONTRAST if contrast else 0
        _tube(anatomy, row, rng.uniform(0.8, 1.15), value, width_mm)


def paint_calcifications(
    anatomy: Anatomy, person: Person, rng: np.random.Generator, width_mm: float
) -> None:
    """Paints calcified pineal, choroid plexus, pallidum, falx and arteries as age allows, in
    place."""
    years = np.clip((person.age - 30) / 50, 0, 1)
    for spot in CALCIFICATIONS:
        present = rng.random() < spot["young"] + (spot["old"] - spot["young"]) * years
        density, size = rng.uniform(75, 420), rng.uniform(0.5, 1.25)
        x, y, z = tables.centre(spot)
        axes = tuple(axis * size for axis in tables.axes(spot))
        for side in (-1, 1) if x else (1,):
            jitter = rng.normal(0, 1.2, 3)
            if present and rng.random() < 0.88:
                centre = (x * side + jitter[0], y + jitter[1], z + jitter[2])
                _spot(anatomy, centre, axes, density * rng.uniform(0.6, 1.2), width_mm, rng)


def _spot(
    anatomy: Anatomy,
    centre: Point,
    axes: Point,
    density: float,
    width_mm: float,
    rng: np.random.Generator,
) -> None:
    box = anatomy.lattice.around(centre, axes, 4)
    part = anatomy.lattice.part(box)
    uneven = ellipsoid(part, centre, axes) + 0.5 * smooth_noise(rng, part, 4.0)
    paint(
        anatomy.hu[box], occupancy(uneven, width_mm) * (anatomy.depth[box] > 0), np.float32(density)
    )
