"""Skull base and face: petrous bones, air cells, paranasal sinuses, orbits, jaw, cervical spine.

Simple solids in canonical mm (x, y, z) from `tables/solids.csv`; `x` is mirrored to both sides
unless it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.phantom import tables
from ich_study.phantom.geometry import (
    Box,
    Lattice,
    Point,
    capsule,
    ellipsoid,
    occupancy,
    paint,
    smooth_noise,
)
from ich_study.phantom.person import Person

AIR = -1000.0


@dataclass(frozen=True)
class Solid:
    """An ellipsoid (`axes`) or capsule (`end`, radii in `axes[:2]`) of one HU, with an optional
    wall.

    cells: > 0 mixes in bony septa by a random field, as in air cells; the value is its level.
    open_front: y in front of which there is no wall.
    """

    centre: Point
    axes: Point
    hu: float
    end: Point | None = None
    wall_mm: float = 0.0
    wall_hu: float = 900.0
    cells: float | None = None
    open_front: float | None = None


def _solids(group: str) -> tuple[Solid, ...]:
    found = []
    for row in tables.read_rows("solids", group):
        named = {name: row[name] for name in ("hu", "wall_mm", "wall_hu", "cells", "open_front")}
        found.append(Solid(tables.centre(row), tables.axes(row), end=tables.end(row), **named))
    return tuple(found)


BONE_SOLIDS, ORBIT_SOLIDS, AIR_SOLIDS = _solids("bone"), _solids("orbit"), _solids("air")


def _near(lattice: Lattice, solid: Solid, side: int) -> tuple[Box, Lattice, np.ndarray]:
    """The part of a lattice around a solid on one side of the head, and the signed distance to it
    there."""
    start, end = ((x * side, y, z) for x, y, z in (solid.centre, solid.end or solid.centre))
    reach = np.array(solid.axes) if solid.end is None else max(solid.axes[:2])
    reach = reach + 3.0 + abs(solid.wall_mm)
    points = np.array([start, end])
    box, part = lattice.between((points.min(0) - reach)[::-1], (points.max(0) + reach)[::-1])
    if solid.end is None:
        return box, part, ellipsoid(part, start, solid.axes)
    return box, part, capsule(part, start, end, *solid.axes[:2])


def paint_solid(
    hu: np.ndarray,
    lattice: Lattice,
    solid: Solid,
    width_mm: float,
    allowed: np.ndarray | None = None,
    field: np.ndarray | None = None,
    grow: float = 1.0,
) -> None:
    """Paints a solid on both sides, in place. `allowed`: fraction where it may stand; `field`: the
    random field of its cells; `grow`: factor of its size."""
    for side in (-1, 1) if solid.centre[0] else (1,):
        box, part, distance = _near(lattice, solid, side)
        distance += (1 - grow) * max(solid.axes)
        limit = 1 if allowed is None else allowed[box]
        if solid.wall_mm:
            wall = occupancy(distance - max(solid.wall_mm, 0), width_mm) * limit
            if solid.open_front is not None:
                wall = wall * (part.mesh[1] > solid.open_front)
            paint(hu[box], wall, solid.wall_hu)
        inside = occupancy(distance - min(solid.wall_mm, 0), width_mm)
        if solid.cells is not None:
            inside = inside * occupancy(field[box] - solid.cells, 0.6)
        paint(hu[box], inside * limit, solid.hu)


def paint_face(
    hu: np.ndarray,
    lattice: Lattice,
    person: Person,
    outside_brain: np.ndarray,
    rng: np.random.Generator,
    width_mm: float,
) -> None:
    """Paints skull base, sinuses, orbits and spine where `outside_brain` (fraction of a voxel)
    allows."""
    field = smooth_noise(rng, lattice, 9.0)
    septa = np.abs(field)
    for solid in (*BONE_SOLIDS, *ORBIT_SOLIDS):
        paint_solid(hu, lattice, solid, width_mm, outside_brain)
    for solid in AIR_SOLIDS:
        mastoid = solid.cells is not None and solid.cells < 0.5
        cells = field * person.mastoid_air if mastoid else 1.25 - septa
        paint_solid(
            hu,
            lattice,
            solid,
            width_mm,
            outside_brain,
            cells,
            grow=float(np.clip(rng.normal(1, 0.05), 0.85, 1.1)),
        )
    frontal = Solid((11, -77, -2), (15, 4.2, 17), AIR)
    paint_solid(
        hu, lattice, frontal, width_mm, outside_brain, grow=0.55 + 0.4 * person.sinus_frontal
    )
    auricle, concha = Solid((77, 30, -32), (4, 17, 26), 40.0), Solid((79, 22, -36), (3, 6, 9), AIR)
    paint_solid(hu, lattice, auricle, width_mm)
    paint_solid(hu, lattice, concha, width_mm)
