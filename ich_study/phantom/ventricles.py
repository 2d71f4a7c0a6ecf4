"""The ventricles: lateral with frontal, occipital and temporal horns, third, aqueduct and
fourth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ich_study.phantom import tables
from ich_study.phantom.geometry import Lattice, Point, capsule, occupancy, smooth_union
from ich_study.phantom.person import Person

WALL_MM = 1.0
"""From the midline to a lateral ventricle: half the septum pellucidum."""


def _tube(lattice: Lattice, group: str, side: int, scale: float) -> np.ndarray:
    """Signed distance to a tube along the points of one group of `tables/ventricles.csv`."""
    distance = None
    for start, end in pairwise(tables.read_rows("ventricles", group)):
        ends = [(row["x"] * side, row["y"], row["z"]) for row in (start, end)]
        piece = capsule(lattice, *ends, start["radius"] * scale, end["radius"] * scale)
        distance = piece if distance is None else smooth_union(distance, piece, 2.5)
    return distance


def lateral_distance(lattice: Lattice, person: Person, side: int) -> np.ndarray:
    """Signed distance to one lateral ventricle (side -1 right, 1 left), mm."""
    scale = person.ventricle * person.ventricle_side[(side + 1) // 2]
    body = _tube(lattice, "body", side, scale)
    horn = _tube(lattice, "temporal horn", side, 0.35 + 0.65 * scale)
    wall = WALL_MM - side * lattice.mesh[2]
    return np.maximum(smooth_union(body, horn, 2.5), wall)


def _slab(lattice: Lattice, centre: Point, half: Point, rounding_mm: float) -> np.ndarray:
    z, y, x = lattice.mesh
    parts = [
        np.maximum(np.abs(v - c) - (h - rounding_mm), 0) for v, c, h in zip((x, y, z), centre, half)
    ]
    return np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2) - rounding_mm


def ventricle_fraction(
    lattice: Lattice, person: Person, midline: np.ndarray, width_mm: float
) -> np.ndarray:
    """Share of each voxel that lies in a ventricle, float32 in [0, 1]."""
    field = np.zeros(lattice.shape, np.float32)
    box, part = lattice.between((-48, -46, -45), (38, 86, 45))
    shifted = Lattice(part.z, part.y, part.x - 0.5 * float(midline.mean()))
    half = 0.9 + 2.2 * max(person.ventricle - 0.5, 0)
    third = _slab(shifted, (0, 9, -2), (half, 16, 9), half * 0.9)
    fourth = smooth_union(
        _slab(shifted, (0, 43, -33), (5.5 + 2 * person.ventricle, 4.2, 8), 3.5),
        capsule(shifted, (0, 36, -22), (0, 33, -8), 1.6, 0.9),
        3,
    )
    lateral = (lateral_distance(shifted, person, side) for side in (-1, 1))
    field[box] = occupancy(np.minimum(np.minimum(third, fourth), np.minimum(*lateral)), width_mm)
    return field
