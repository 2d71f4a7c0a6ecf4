"""Growing a lesion to a wanted volume, and painting it.

Every lesion is the set where a level (mm, smooth) is below a threshold, inside a fraction field of
the space it may fill; the threshold is the quantile that gives the drawn volume.
"""

from __future__ import annotations

import numpy as np

from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import Box, Lattice, occupancy, paint, smooth_noise


def voxel_ml(lattice: Lattice, scale: tuple[float, float, float]) -> float:
    """Volume of a voxel of the head in mL; `scale` is the person's size against canonical."""
    return float(np.prod(lattice.step) * np.prod(scale) / 1000)


def below(level: np.ndarray, room: np.ndarray, edge: float, width_mm: float) -> np.ndarray:
    """Fraction of each voxel that is blood: `room` where the level is below `edge`, with a border
    of `width_mm`."""
    return occupancy(level - np.float32(edge), width_mm) * room


def in_whole(lattice: Lattice, box: Box, part: np.ndarray) -> np.ndarray:
    """A field of a box on the whole lattice, 0 elsewhere, float32."""
    whole = np.zeros(lattice.shape, np.float32)
    whole[box] = part
    return whole


def threshold(
    level: np.ndarray, room: np.ndarray | float, volume_ml: float, each_ml: float
) -> float:
    """The level below which `room` (fraction of a voxel) adds up to `volume_ml`; all room if it is
    less."""
    weight = np.broadcast_to(np.asarray(room, np.float32), level.shape)
    inside = weight > 0.01
    values, weights = level[inside], weight[inside]
    if values.size == 0:
        return -np.inf
    wanted = volume_ml / each_ml
    histogram, edges = np.histogram(values, bins=4000, weights=weights)
    filled = np.cumsum(histogram)
    return float(np.interp(wanted, filled, edges[1:]))


def paint_lesion(
    anatomy: Anatomy,
    box: Box,
    fraction: np.ndarray,
    density: float,
    texture_hu: float,
    rng: np.random.Generator,
) -> None:
    """Mixes blood of `density` HU with smooth texture into a box of the head, in place."""
    value = density + texture_hu * smooth_noise(rng, anatomy.lattice.part(box), 9.0)
    paint(anatomy.hu[box], fraction, value)
