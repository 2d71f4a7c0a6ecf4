"""Subarachnoid hemorrhage: blood instead of CSF in the sulci of a region (trauma) or in the basal
cisterns and fissures (aneurysm)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import Point, smooth_noise, smoothstep
from ich_study.phantom.hemorrhage.growth import below, in_whole, paint_lesion, threshold, voxel_ml

BASAL: tuple[Point, ...] = (
    (0, 0, -18),
    (24, -8, -14),
    (-24, -8, -14),
    (40, -8, 2),
    (-40, -8, 2),
    (2, -45, 5),
    (0, 20, -16),
)
"""Where a ruptured aneurysm fills the cisterns first (x, y, z)."""


SHOWN = 1.5
"""Blood drawn per blood that the mask shows: the rest is spread too thinly to fill half a voxel."""


def draw_centre(rng: np.random.Generator) -> Point:
    """Centre of the bleeding: a basal cistern, or a place on the convexity."""
    if rng.random() < 0.45:
        return BASAL[rng.integers(len(BASAL))]
    angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(0, 62)
    ring = np.sqrt(max(1 - (height / 80) ** 2, 0.05))
    return float(62 * ring * np.cos(angle)), float(16 + 80 * ring * np.sin(angle)), float(height)


def paint_subarachnoid_blood(
    anatomy: Anatomy,
    volume_ml: float,
    density: float,
    centre: Point,
    rng: np.random.Generator,
) -> np.ndarray:
    """Replaces CSF by blood around `centre`, in place; returns its fraction of each voxel.

    The sulci that it fills are 1 mm wider on either side than those with CSF.
    """
    reach = 30 + 12 * volume_ml ** (1 / 3)
    box, part = anatomy.lattice.around(centre, (2 * reach,) * 3)
    z, y, x = part.mesh
    level = np.sqrt((x - centre[0]) ** 2 + 0.6 * (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    level = level * (1 + 0.28 * smooth_noise(rng, part, 22))
    swollen = ndimage.maximum_filter(anatomy.csf[box], size=(1, 3, 3))
    room = (
        np.clip(1.3 * swollen, 0, 1)
        * smoothstep(anatomy.depth[box], 0.2, 1.2)
        * (anatomy.ventricle[box] < 0.3)
    )
    edge = threshold(
        level,
        np.where(room > 0.5, room, 0),
        SHOWN * volume_ml,
        voxel_ml(anatomy.lattice, anatomy.person.scale),
    )
    filled = below(level, room, edge, 4.0)
    paint_lesion(anatomy, box, filled, density, 3.0, rng)
    return in_whole(anatomy.lattice, box, filled)
