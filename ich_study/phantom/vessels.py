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

VENOUS_CONTRAST, ARTERIAL_CONTRAST, DURAL_CONTRAST = 130.0, 200.0, 25.0
"""What an iodinated agent adds a minute after it is given, HU."""
SINUSES, ARTERIES = (tables.read_rows("vessels", group) for group in ("sinus", "artery"))
CALCIFICATIONS = tables.read_rows("calcifications")
"""How often each occurs at 30 (`young`) and at 80 years (`old`); mirrored unless x is 0."""


def _tube(anatomy: Anatomy, row: tables.Row, grow: float, value: float) -> None:
    start, end = tables.centre(row), tables.end(row)
    ends = np.array([start, end])[:, ::-1]
    box, part = anatomy.lattice.between(ends.min(0) - 6, ends.max(0) + 6)
    inside = occupancy(
        capsule(part, start, end, row["radius"] * grow, row["end_radius"] * grow), anatomy.width_mm
    )
    paint(anatomy.hu[box], inside * (anatomy.depth[box] > -0.5), value)


def paint_dura(anatomy: Anatomy, rng: np.random.Generator, contrast: bool = False) -> None:
    """Paints falx, tentorium and venous sinuses, in place; brighter with a contrast agent."""
    tissue, width = anatomy.person.tissue, max(anatomy.width_mm, 1.0)
    dura = tissue.dura + (DURAL_CONTRAST if contrast else 0)
    z, y, x = anatomy.lattice.mesh
    near = slice(*np.searchsorted(anatomy.lattice.x, (-9, 9)))
    box = (slice(None), slice(None), near)
    inside = smoothstep(anatomy.depth[box], -0.5, 1.0)
    lowest = np.where(y < 4, 30 - ((y + 66) / 70) * -6, 30 - 0.42 * (y - 4))
    across = np.abs(x[..., near] - anatomy.midline)
    free = smoothstep(z - lowest, -2, 4) * smoothstep(z, -8, 0)
    sheet = occupancy(across - rng.uniform(0.05, 0.45), width) * free * inside
    paint(anatomy.hu[box], sheet, dura)
    sagittal = np.hypot(across, np.maximum(anatomy.depth[box] - 0.5, 0) * 0.8)
    sinus = occupancy(sagittal - rng.uniform(2.6, 4.2), anatomy.width_mm + 0.5)
    along = smoothstep(z, -16, -6) * ((y > 16) | (z > 8))
    venous = tissue.blood + rng.normal(9, 3) + (VENOUS_CONTRAST if contrast else 0)
    paint(anatomy.hu[box], sinus * along * inside, venous)
    for part in slabs(np.abs(anatomy.tentorium), 0.7 + width):
        paint(anatomy.hu[part], _tentorium(anatomy, part, width), dura - 2)
    for row in SINUSES:
        _tube(anatomy, row, rng.uniform(0.75, 1.15), venous)


def _tentorium(anatomy: Anatomy, box: Box, width_mm: float) -> np.ndarray:
    """The sheet as a fraction of each voxel, but for the notch that the brain stem passes
    through."""
    _, y, x = anatomy.lattice.part(box).mesh
    sheet = occupancy(np.abs(anatomy.tentorium[box]) * 0.86 - 0.6, width_mm) * smoothstep(
        anatomy.depth[box], -0.5, 1.0
    )
    return sheet * ((np.abs(x) > 12 + 0.25 * np.clip(60 - y, 0, 60)) | (y > 46)) * (y > 24)


def paint_arteries(anatomy: Anatomy, rng: np.random.Generator, contrast: bool = False) -> None:
    """Paints the large arteries of the base, in place; one may be abnormally dense (a clot), all
    are with a contrast agent."""
    dense = rng.integers(len(ARTERIES)) if rng.random() < 0.06 else -1
    for k, row in enumerate(ARTERIES):
        value = anatomy.person.tissue.blood + 2 + (rng.uniform(14, 24) if k == dense else 0)
        value += ARTERIAL_CONTRAST if contrast else 0
        _tube(anatomy, row, rng.uniform(0.8, 1.15), value)


def paint_calcifications(anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paints calcified pineal, choroid plexus, pallidum, falx and arteries as age allows, in
    place."""
    years = np.clip((anatomy.person.age - 30) / 50, 0, 1)
    for spot in CALCIFICATIONS:
        present = rng.random() < spot["young"] + (spot["old"] - spot["young"]) * years
        density, size = rng.uniform(75, 420), rng.uniform(0.5, 1.25)
        x, y, z = tables.centre(spot)
        axes = tuple(axis * size for axis in tables.axes(spot))
        for side in (-1, 1) if x else (1,):
            jitter = rng.normal(0, 1.2, 3)
            if present and rng.random() < 0.88:
                centre = (x * side + jitter[0], y + jitter[1], z + jitter[2])
                _spot(anatomy, centre, axes, density * rng.uniform(0.6, 1.2), rng)


def _spot(
    anatomy: Anatomy,
    centre: Point,
    axes: Point,
    density: float,
    rng: np.random.Generator,
) -> None:
    box, part = anatomy.lattice.around(centre, axes, 4)
    uneven = ellipsoid(part, centre, axes) + 0.5 * smooth_noise(rng, part, 4.0)
    inside = occupancy(uneven, anatomy.width_mm) * (anatomy.depth[box] > 0)
    paint(anatomy.hu[box], inside, density)
