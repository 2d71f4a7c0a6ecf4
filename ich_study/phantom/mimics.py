"""Old and chronic findings that are no acute hemorrhage: infarcts, lacunes, leukoaraiosis, hygroma,
meningioma. They lie in positive and negative scans alike."""

from __future__ import annotations

import numpy as np

from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import (
    Lattice,
    Point,
    ellipsoid,
    occupancy,
    paint,
    smooth_noise,
    smoothstep,
)

LACUNES: tuple[Point, ...] = (
    (27, 0, 2),
    (12, 16, 8),
    (20, -14, 12),
    (24, 2, 22),
    (3, 18, -32),
    (26, -30, 24),
)


def _local(
    anatomy: Anatomy,
    centre: Point,
    axes: Point,
    rough_mm: float,
    wavelength_mm: float,
    rng: np.random.Generator,
) -> tuple:
    box, part = anatomy.lattice.around(centre, axes, 8)
    return box, ellipsoid(part, centre, axes) + rough_mm * smooth_noise(rng, part, wavelength_mm)


def _pair(part: Lattice, centre: Point, axes: Point) -> np.ndarray:
    """`ellipsoid` of the nearer of two, one of them mirrored to the other side of the head."""
    x, y, z = centre
    return np.minimum(ellipsoid(part, centre, axes), ellipsoid(part, (-x, y, z), axes))


def paint_leukoaraiosis(anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Darkens the white matter around the lateral ventricles, more with age, in place."""
    grade = np.clip(rng.normal((anatomy.person.age - 55) / 45, 0.25), 0, 1)
    if grade < 0.15:
        return
    box, part = anatomy.lattice.between((-4, -48, -42), (42, 78, 42))
    horns = _pair(part, (15, -30, 10), (9, 10, 12))
    body = _pair(part, (20, 8, 26), (8, 34, 8))
    back = _pair(part, (28, 56, 14), (8, 14, 10))
    near = smoothstep(
        -np.minimum(np.minimum(horns, body), back) + 3 * smooth_noise(rng, part, 24), -5, 5
    )
    tissue = anatomy.hu[box]
    white = smoothstep(-np.abs(tissue - anatomy.person.tissue.white), -5, -1)
    tissue -= near * white * np.float32(9 * grade)


def paint_old_lesions(anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paints lacunes and old territorial infarcts of low density, in place."""
    atrophy, csf = anatomy.person.atrophy, anatomy.person.tissue.csf
    for centre in LACUNES:
        if rng.random() < 0.10 * atrophy + 0.02:
            side, size = rng.choice([-1, 1]), rng.uniform(2.0, 5.5)
            place = (
                centre[0] * side + rng.normal(0, 2),
                centre[1] + rng.normal(0, 4),
                centre[2] + rng.normal(0, 3),
            )
            box, distance = _local(anatomy, place, (size, size * 1.3, size), 0.6, 6, rng)
            inside = occupancy(distance, anatomy.width_mm + 1.5) * (anatomy.depth[box] > 4)
            paint(anatomy.hu[box], inside, csf + 4 + rng.uniform(0, 10))
    if rng.random() < 0.08 + 0.08 * atrophy:
        side = rng.choice([-1, 1])
        place = (rng.uniform(34, 56) * side, rng.uniform(-40, 80), rng.uniform(-6, 45))
        axes = (rng.uniform(10, 24), rng.uniform(12, 28), rng.uniform(10, 20))
        box, distance = _local(anatomy, place, axes, 3.0, 18, rng)
        wet = (
            smoothstep(-distance, -3, 3) * (anatomy.depth[box] > 0.5) * (anatomy.tentorium[box] > 2)
        )
        paint(anatomy.hu[box], wet * (anatomy.hu[box] < 50), rng.uniform(csf + 2, 22))


def paint_hygroma(anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Widens the subarachnoid space over one or both frontal lobes, in place."""
    if rng.random() > 0.05 + 0.06 * anatomy.person.atrophy:
        return
    z, y, x = anatomy.lattice.mesh
    side = rng.choice([-1, 0, 1])
    width = rng.uniform(2.5, 7) * np.exp(-(((y + 30) / 48) ** 4) - ((z - 28) / 34) ** 4)
    width = width * (smoothstep(side * x, 2, 10) if side else smoothstep(np.abs(x), 3, 10))
    layer = (
        np.clip(0.5 + (width - anatomy.depth) / 1.5, 0, 1)
        * smoothstep(anatomy.depth, -0.5, 0.5)
        * (width > 0.8)
    )
    paint(anatomy.hu, layer, anatomy.person.tissue.csf + rng.uniform(0, 5))


def paint_meningioma(anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paints a rare round extra-axial tumour, a little denser than grey matter, in place."""
    if rng.random() > 0.02:
        return
    side, size = rng.choice([-1, 1]), rng.uniform(7, 15)
    place = [(58, 10, 30), (8, -30, 56), (40, -34, -2), (30, 70, 40)][rng.integers(4)]
    box, distance = _local(
        anatomy, (place[0] * side, place[1], place[2]), (size, size, size), 0.8, 14, rng
    )
    inside = occupancy(distance, anatomy.width_mm + 0.5) * (anatomy.depth[box] > 0.3)
    paint(anatomy.hu[box], inside, anatomy.person.tissue.grey + rng.uniform(3, 9))


def paint_mimics(anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paints all of this module's findings that the person has, in place."""
    paint_leukoaraiosis(anatomy, rng)
    paint_old_lesions(anatomy, rng)
    paint_hygroma(anatomy, rng)
    paint_meningioma(anatomy, rng)
