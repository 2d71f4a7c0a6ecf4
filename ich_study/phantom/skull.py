"""Shape of the head: intracranial cavity, skull with sutures and air cells, skin.

Signed distances are computed on a coarse lattice (2 mm) and refined linearly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.phantom.geometry import (
    Box,
    Lattice,
    capsule,
    ellipsoid,
    gradient_norm,
    occupancy,
    paint,
    slabs,
    smooth_noise,
    smooth_union,
    smoothstep,
)
from ich_study.phantom.person import Person
from ich_study.phantom.resample import resize_linear

CENTRE = (0.0, 16.0, 6.0)
"""Centre of the vault (x, y, z), mm."""
CORONAL_Y, LAMBDOID_Y = -22.0, 74.0
"""Where the coronal and the lambdoid suture cross the lateral convexity, mm."""


@dataclass(frozen=True)
class Surfaces:
    """Signed distances (mm, negative inside) on `lattice`: intracranial cavity, outer table,
    skin."""

    lattice: Lattice
    cavity: np.ndarray
    bone: np.ndarray
    skin: np.ndarray

    def part(self, box: Box) -> Surfaces:
        """The surfaces in a box of the lattice."""
        return Surfaces(self.lattice.part(box), self.cavity[box], self.bone[box], self.skin[box])


@dataclass(frozen=True)
class HeadShape(Surfaces):
    """The same, and of the vault carried on downwards (`wall`, whose lateral wall has no base);
    `level`, the vault's norm (1 on its surface, 0 in its centre)."""

    wall: np.ndarray
    level: np.ndarray


def vault_level(lattice: Lattice, person: Person, down_mm: float) -> np.ndarray:
    """Norm whose unit surface is the vault, closed `down_mm` below its centre; egg-shaped in
    plan."""
    z, y, x = lattice.mesh
    dy, dz = y - CENTRE[1], z - CENTRE[2]
    front, back = np.clip(-dy / 88, 0, 1), np.clip(dy / 92, 0, 1)
    half_width = 70 * (1 - person.front_taper * front**1.6 - 0.07 * back**2)
    plan = (
        np.abs(x / half_width) ** person.squareness
        + np.abs(dy / np.where(dy < 0, 88.0, 92.0)) ** 2.15
    )
    height = np.abs(dz / np.where(dz > 0, 75.0, down_mm)) ** 2.2
    return ((plan ** np.float32(2.2 / 2.25) + height) ** np.float32(1 / 2.2)).astype(np.float32)


def _distance(level: np.ndarray, lattice: Lattice) -> np.ndarray:
    return (level - 1) / np.maximum(gradient_norm(level, lattice), 1 / 95)


def _cavity(lattice: Lattice, vault: np.ndarray) -> np.ndarray:
    z, y, x = lattice.mesh
    below_floor = z - (-19 + 0.12 * np.clip(-20 - y, 0, 50) - 0.006 * np.abs(x) ** 1.5)
    before_clivus = y - (4 + 0.68 * np.clip(-18 - z, 0, 60))
    distance = np.maximum(vault, -np.maximum(below_floor, before_clivus))
    for side in (-1, 1):
        middle = ellipsoid(lattice, (41 * side, 8, -24), (25, 34, 23))
        distance = smooth_union(distance, middle, 5)
    posterior = ellipsoid(lattice, (0, 62, -34), (55, 42, 31))
    distance = smooth_union(distance, np.maximum(posterior, -before_clivus), 6)
    canal = capsule(lattice, (0, 40, -56), (0, 46, -100), 15, 11)
    distance = smooth_union(distance, canal, 4)
    for side in (-1, 1):
        petrous = capsule(lattice, (13 * side, 20, -31), (60 * side, 44, -27), 6.0, 9.0)
        distance = np.maximum(distance, -petrous)
    return distance


def head_shape(lattice: Lattice, person: Person, rng: np.random.Generator) -> HeadShape:
    """Cavity, outer table and skin of one person on a coarse lattice."""
    z, y, x = lattice.mesh
    wobble = 0.9 * smooth_noise(rng, lattice, 110) + 0.35 * smooth_noise(rng, lattice, 40)
    closed = _distance(vault_level(lattice, person, 46.0), lattice) + wobble
    open_level = vault_level(lattice, person, 125.0)
    hull = _distance(open_level, lattice) + wobble
    cavity = _cavity(lattice, closed)
    temporal = np.exp(-(((y + 18) / 26) ** 2) - ((z + 12) / 30) ** 2) * smoothstep(
        np.abs(x), 35, 60
    )
    thickness = person.bone * (1 + 0.12 * smooth_noise(rng, lattice, 50)) * (1 - 0.5 * temporal)
    thickness = thickness + 2.5 * np.exp(
        -(((y - 108) / 14) ** 2) - (x / 14) ** 2 - ((z + 14) / 14) ** 2
    )
    thickness = thickness + 5.0 * np.exp(
        -((x / 24) ** 2) - ((y + 74) / 12) ** 2 - ((z - 1) / 15) ** 2
    )
    brow = np.maximum(np.maximum(hull - person.bone, y + 44), -26 - z)
    bone = np.minimum(cavity - thickness, brow)
    skin = hull - person.bone - person.scalp - 4.5 * temporal
    face = ellipsoid(lattice, (0, -28, -60), (63, 61, 74))
    nose = capsule(lattice, (0, -84, -38), (0, -106, -66), 7, 9)
    neck = ellipsoid(lattice, (0, 46, -100), (66, 66, 90))
    skin = smooth_union(
        smooth_union(np.maximum(skin, -75 - z), face, 12),
        smooth_union(neck, nose, 1),
        10,
    )
    return HeadShape(
        lattice, cavity, bone.astype(np.float32), skin.astype(np.float32), hull, open_level
    )


def refine(shape: HeadShape, lattice: Lattice) -> Surfaces:
    """The surfaces of a head on a finer lattice with the same corners."""
    return Surfaces(
        lattice,
        *(resize_linear(field, lattice.shape) for field in (shape.cavity, shape.bone, shape.skin)),
    )


def suture_distance(lattice: Lattice) -> np.ndarray:
    """Distance in mm to the nearest suture plane: sagittal, coronal or lambdoid."""
    z, y, x = lattice.mesh
    coronal = np.abs(y - (CORONAL_Y + 0.10 * np.abs(x) - 0.25 * (z - 30)))
    lambdoid = (
        np.abs(y - (LAMBDOID_Y + 14 - 0.22 * np.abs(x) - 0.35 * np.minimum(z - 20, 30))) / 1.05
    )
    sagittal = np.where((y > CORONAL_Y) & (y < LAMBDOID_Y + 16), np.abs(x), 60)
    return np.minimum(np.minimum(coronal, lambdoid), sagittal).astype(np.float32)


def paint_skull(
    hu: np.ndarray, shape: Surfaces, person: Person, rng: np.random.Generator, width_mm: float
) -> None:
    """Paints skin, scalp, muscle and bone (tables, diploe, sutures) into `hu`, in place."""
    mottle = smooth_noise(rng, shape.lattice, 14)
    for box in slabs(np.minimum(shape.skin, shape.bone), width_mm):
        part = shape.part(box)
        paint(hu[box], occupancy(part.skin, width_mm), _soft_tissue(part, person, mottle[box]))
        shell = np.minimum(part.cavity, -part.bone)
        paint(hu[box], occupancy(-shell, width_mm), _bone(part.lattice, person, shell, mottle[box]))


def _soft_tissue(shape: Surfaces, person: Person, mottle: np.ndarray) -> np.ndarray:
    """HU of skin, fat and muscle."""
    tissue = person.tissue
    z, y, x = shape.lattice.mesh
    lateral = smoothstep(np.abs(x), 30, 50) * smoothstep(-y, -20, 0) * smoothstep(-z, -32, -18)
    low = smoothstep(-z, 22, 40) * smoothstep(-shape.skin, 4, 9)
    muscle = np.maximum(
        lateral * smoothstep(-shape.skin, 3.0, 5.0), low * smoothstep(np.abs(mottle), 0.1, 0.32)
    )
    soft = tissue.fat + (tissue.muscle - tissue.fat) * muscle
    rim = np.maximum(
        smoothstep(shape.skin, -3.0, -2.0), 0.8 * smoothstep(-shape.bone, -2.2, -1.2) * (z > -20)
    )
    return soft + rim * (58 - soft)


def _bone(lattice: Lattice, person: Person, shell: np.ndarray, mottle: np.ndarray) -> np.ndarray:
    """HU of tables, diploe and sutures; `shell`: mm into the bone from its nearer surface."""
    tissue = person.tissue
    marrow = smoothstep(shell, 1.2, 2.4) * (0.75 + 0.25 * mottle)
    bone = tissue.table + (tissue.diploe - tissue.table) * np.clip(marrow, 0, 1)
    vault = slice(np.searchsorted(lattice.z, -15, side="right"), None)
    suture = np.exp(
        -((suture_distance(Lattice(lattice.z[vault], lattice.y, lattice.x)) / 0.9) ** 2)
    )
    bone[vault] *= 1 - 0.55 * suture
    return bone
