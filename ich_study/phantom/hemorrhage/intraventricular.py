"""Intraventricular hemorrhage: layering in the dependent occipital horns, or a cast of the
ventricles."""

from __future__ import annotations

import numpy as np

from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import Point, smooth_noise
from ich_study.phantom.hemorrhage.growth import below, in_whole, paint_lesion, threshold, voxel_ml


def paint_ventricular_blood(
    anatomy: Anatomy,
    volume_ml: float,
    density: float,
    source: Point | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Fills part of the ventricles with blood, in place; returns its fraction of each voxel.

    source: the hematoma (x, y, z) that broke through, or None. The patient lies on the back, so
    blood sinks to posterior; a cast grows from its source instead.
    """
    box, part = anatomy.lattice.between((-46, -46, -48), (42, 90, 48))
    z, y, x = part.mesh
    tilt = rng.normal(0, 0.10)
    one_sided = rng.uniform(-22, 22) if rng.random() < 0.7 else 0.0
    layered = 84 - y - tilt * x + 0.12 * (z - 5) + one_sided * np.sign(x) * (np.abs(x) > 3)
    side = rng.choice([-1, 1])
    start = source or (float(8 * side), rng.uniform(-12, 30), 14.0)
    cast = np.sqrt((x - start[0]) ** 2 + 0.5 * (y - start[1]) ** 2 + 0.7 * (z - start[2]) ** 2)
    share = float(np.clip(0.15 + 0.06 * volume_ml + (0.35 if source else 0.0), 0, 1))
    layering = rng.random() > share
    level = (
        layered if layering else 0.75 * cast + 0.25 * layered + 3.0 * smooth_noise(rng, part, 16)
    )
    room = anatomy.ventricle[box]
    edge = threshold(level, room, volume_ml, voxel_ml(anatomy.lattice, anatomy.person.scale))
    filled = below(level, room, edge, 2.5)
    solid = np.clip(filled * 1.25, 0, 1)  # blood clots against the wall, which hides the rim of CSF
    paint_lesion(anatomy, box, solid, density, 2.6, rng)
    return in_whole(anatomy.lattice, box, filled)
