"""Skull base and face: petrous bones, air cells, paranasal sinuses, orbits, jaw, cervical spine.

Tables of simple solids in canonical mm (x, y, z); `x` is mirrored to both sides unless it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.phantom.geometry import (
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


BONE_SOLIDS: tuple[Solid, ...] = (
    Solid((13, 19, -31), (6.5, 10, 0), 1150, end=(60, 44, -29)),  # petrous pyramid
    Solid((34, 29, -31), (6, 6, 5), 1850),  # otic capsule
    Solid((54, 44, -44), (12, 15, 17), 900),  # mastoid
    Solid((0, -12, -31), (17, 22, 13), 500),  # sphenoid body
    Solid((0, 10, -30), (10, 6, 0), 650, end=(0, 28, -55)),  # clivus
    Solid((14, -20, -18), (3, 2.5, 0), 1000, end=(52, -30, -10)),  # lesser wing
    Solid((9, 4, -17), (2.2, 2.2, 3), 900),  # posterior clinoid
    Solid((22, 42, -66), (8, 12, 9), 700),  # occipital condyle
    Solid((0, 22, -88), (5, 6, 16), 800),  # dens
    Solid((22, 36, -88), (10, 9, 9), 650),  # atlas
    Solid((52, 2, -48), (5, 6, 0), 1000, end=(50, -14, -95)),  # ramus of the jaw
    Solid((58, -48, -50), (4, 3, 0), 1100, end=(66, 2, -46)),  # zygomatic arch
    Solid((50, -64, -44), (6, 5, 0), 1000, end=(46, -62, -62)),  # zygoma
    Solid((0, -82, -48), (6, 4, 0), 800, end=(0, -92, -60)),  # nasal bones
    Solid((0, -76, -86), (26, 10, 7), 900),  # alveolar ridge
    Solid((18, -28, -72), (2.5, 3, 0), 900, end=(17, -26, -95)),  # pterygoid plates
)

ORBIT_SOLIDS: tuple[Solid, ...] = (
    Solid(
        (31, -53, -34),
        (17.5, 16, 0),
        -85,
        end=(14, -20, -30),
        wall_mm=1.8,
        wall_hu=850,
        open_front=-58.0,
    ),
)
ORBIT_CONTENT: tuple[Solid, ...] = (
    Solid((32, -52, -35), (2.2, 1.8, 0), 35, end=(13, -24, -29)),  # optic nerve
    Solid((20, -54, -35), (1.8, 1.6, 0), 58, end=(13, -26, -30)),  # medial rectus
    Solid((45, -50, -35), (1.8, 1.6, 0), 58, end=(17, -26, -30)),  # lateral rectus
    Solid((33, -52, -22), (2.6, 1.6, 0), 58, end=(16, -26, -24)),  # superior rectus
    Solid((33, -62, -35), (11.8, 11.8, 11.8), 12, wall_mm=-1.8, wall_hu=52),  # globe
    Solid((33, -71, -35), (4.3, 2.1, 4.3), 88),  # lens
)

AIR_SOLIDS: tuple[Solid, ...] = (
    Solid((8, -44, -36), (9.5, 24, 13), AIR, wall_mm=1.3, cells=1.05),  # ethmoid
    Solid((7, -14, -33), (8.5, 12, 9), AIR, wall_mm=1.0),  # sphenoid sinus
    Solid((28, -58, -68), (14, 16, 17), AIR, wall_mm=1.6),  # maxillary sinus
    Solid((8, -52, -68), (5.5, 34, 18), AIR, wall_mm=1.0, cells=1.0),  # nasal cavity
    Solid((0, -16, -76), (13, 10, 22), AIR),  # nasopharynx
    Solid((52, 40, -42), (11, 14, 15), AIR, cells=0.25),  # mastoid cells
    Solid((40, 26, -34), (4, 4, 5), AIR, cells=0.3),  # tympanic cavity
    Solid((46, 20, -38), (3, 3.5, 0), AIR, end=(84, 20, -40)),  # ear canal
)


def _distance(lattice: Lattice, solid: Solid, side: int) -> np.ndarray:
    centre = (solid.centre[0] * side, *solid.centre[1:])
    if solid.end is None:
        return ellipsoid(lattice, centre, solid.axes)
    return capsule(
        lattice, centre, (solid.end[0] * side, *solid.end[1:]), solid.axes[0], solid.axes[1]
    )


def _corners(solid: Solid, side: int, margin_mm: float) -> tuple[Point, Point]:
    points = [solid.centre, solid.end or solid.centre]
    reach = [max(solid.axes[:2])] * 3 if solid.end else list(solid.axes)
    low = [
        min(p[i] * (side if i == 0 else 1) for p in points) - reach[i] - margin_mm for i in range(3)
    ]
    high = [
        max(p[i] * (side if i == 0 else 1) for p in points) + reach[i] + margin_mm for i in range(3)
    ]
    return tuple(reversed(low)), tuple(reversed(high))


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
        box = lattice.box(*_corners(solid, side, 3.0 + abs(solid.wall_mm)))
        part = lattice.part(box)
        if 0 in part.shape:
            continue
        distance = _distance(part, solid, side) + np.float32((1 - grow) * max(solid.axes))
        limit = 1 if allowed is None else allowed[box]
        if solid.wall_mm:
            wall = occupancy(distance - max(solid.wall_mm, 0), width_mm) * limit
            if solid.open_front is not None:
                wall = wall * (part.mesh[1] > solid.open_front)
            paint(hu[box], wall, solid.wall_hu)
        inside = occupancy(distance - min(solid.wall_mm, 0), width_mm)
        if solid.cells is not None and field is not None:
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
    for solid in (*BONE_SOLIDS, *ORBIT_SOLIDS, *ORBIT_CONTENT):
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
    paint_ears(hu, lattice, person, width_mm)


def paint_ears(hu: np.ndarray, lattice: Lattice, person: Person, width_mm: float) -> None:
    """Paints the auricles, soft tissue with an air-filled concha."""
    auricle = Solid((77, 30, -32), (4, 17, 26), 40.0)
    concha = Solid((79, 22, -36), (3, 6, 9), AIR)
    paint_solid(hu, lattice, auricle, width_mm)
    paint_solid(hu, lattice, concha, width_mm)
