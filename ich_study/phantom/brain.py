"""The brain and its spaces: cortex folded into sulci, white matter, deep nuclei, ventricles,
cisterns, Sylvian fissures, falx, tentorium, cerebellum and brain stem; canonical mm.

Sulci are the zero level of a smooth field on the brain's surface, carried inwards along rays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ich_study.phantom import tables
from ich_study.phantom.geometry import (
    Lattice,
    ellipsoid,
    gradient_norm,
    lookup,
    occupancy,
    paint,
    slabs,
    smooth_noise,
    smoothstep,
)
from ich_study.phantom.person import Person
from ich_study.phantom.resample import resize_linear
from ich_study.phantom.skull import CENTRE, HeadShape
from ich_study.phantom.ventricles import ventricle_fraction

TOUCHING_MM = 2.5
"""No voxel of any lattice is as wide: beyond this distance from the cavity, none holds a part of
it."""
FAR_MM = 20.0
"""Distances to sulci and fissures end here: nothing depends on them so far away."""


@dataclass(frozen=True)
class Anatomy:
    """What the lesions need of the head of `person`, on `lattice`.

    width_mm: over which a surface is blurred. hu: float32, noiseless. depth: mm under the inner
    table (negative outside). csf: fraction of subarachnoid space per voxel; ventricle: of
    ventricle; tentorium: mm above the tentorium; midline: its x. coarse_wall: mm outside the
    lateral table, wherever the base lies, on a coarse lattice with the same corners.
    """

    person: Person
    lattice: Lattice
    width_mm: float
    hu: np.ndarray
    depth: np.ndarray
    csf: np.ndarray
    ventricle: np.ndarray
    tentorium: np.ndarray
    midline: np.ndarray
    coarse_wall: np.ndarray


def tentorium_height(lattice: Lattice) -> np.ndarray:
    """Height in mm above the tentorium (z, y, x); the sheet rises to the splenium in the
    midline."""
    z, y, x = lattice.mesh
    slope = np.clip(0.52 - 0.003 * (y - 25), 0.32, 0.56)
    return (z - (4 - 0.32 * np.clip(y - 38, 0, 80) - slope * np.abs(x))).astype(np.float32)


def _folds(
    lattice: Lattice,
    level: np.ndarray,
    near: np.ndarray,
    rng: np.random.Generator,
    wavelength_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the sulcal walls' middle (mm) and a smooth field that says how deep each sulcus
    goes.

    near: bool, where they are wanted; they hold but one voxel inside it.
    """
    planes, rows, columns = np.nonzero(near)
    z, y, x = lattice.z[planes], lattice.y[rows], lattice.x[columns]
    core_y = np.clip(y, -38, 66) * 0.75 + 4
    core_z = CENTRE[2] + 4
    jitter = [2.2 * smooth_noise(rng, lattice, 34)[near] for _ in range(3)]
    outward = 1 / np.maximum(level[near], 0.25)
    where = (
        core_z + (z - core_z) * outward + jitter[0],
        core_y + (y - core_y) * outward + jitter[1],
        x * outward + jitter[2],
    )
    pattern, deepness = np.zeros(lattice.shape, np.float32), np.zeros(lattice.shape, np.float32)
    pattern[near] = lookup(smooth_noise(rng, lattice, wavelength_mm), lattice, *where)
    deepness[near] = lookup(smooth_noise(rng, lattice, 38), lattice, *where)
    return np.abs(pattern) / np.maximum(gradient_norm(pattern, lattice), 0.035), deepness


def sulcal_distance(coarse: HeadShape, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Signed distance in mm to the sulci's CSF (negative inside) on the coarse lattice.

    Beyond the voxels that touch the cavity it is `FAR_MM`: there is no brain.
    """
    lattice = coarse.lattice
    touching = ndimage.maximum_filter(coarse.cavity < TOUCHING_MM, 3)
    near = ndimage.maximum_filter(touching, 3)  # with the 26 neighbours of each voxel
    depth = (-coarse.cavity - person.gap)[touching]
    distance = np.full(depth.shape, FAR_MM, np.float32)
    for wavelength, reach, factor in ((27.0, 17.0, 1.0), (17.0, 9.0, 0.85)):
        sheet, deepness = (
            field[touching] for field in _folds(lattice, coarse.level, near, rng, wavelength)
        )
        bottom = reach * np.clip(1 + 0.45 * deepness, 0.15, 1.8)
        half = (
            0.5
            * person.sulcus
            * factor
            * (1 + 0.4 * deepness)
            * np.clip(1.25 - 0.75 * depth / bottom, 0.2, 1.3)
        )
        distance = np.minimum(distance, np.maximum(sheet - half, depth - bottom))
    whole = np.full(lattice.shape, FAR_MM, np.float32)
    whole[touching] = distance
    return whole


def midline_offset(lattice: Lattice, rng: np.random.Generator) -> np.ndarray:
    """X of the midline at each (z, y), mm; broadcastable against a volume."""
    plane = smooth_noise(rng, lattice, 80)[:, :, :1]
    return (1.1 * plane).astype(np.float32)


def fissures(
    lattice: Lattice, person: Person, midline: np.ndarray, wavy: np.ndarray, uneven: np.ndarray
) -> np.ndarray:
    """Signed distance to the interhemispheric fissure and the two Sylvian fissures, mm, `FAR_MM` at
    most.

    wavy, uneven: smooth fields of SD 1 on the lattice, for the course and the width of the Sylvian
    fissures.
    """
    width = np.clip(0.75 + 0.6 * uneven, 0, 2)
    distance = np.minimum(
        _hemispheric(lattice, person, midline), _sylvian(lattice, person, wavy, width)
    )
    return np.minimum(distance, FAR_MM)


def _hemispheric(lattice: Lattice, person: Person, midline: np.ndarray) -> np.ndarray:
    z, y, x = lattice.mesh
    across = np.abs(x - midline)
    callosum = 25 - ((y - 4) / 44) ** 2 * 22
    above = np.maximum(callosum - z, -np.minimum(z + 22, 60.0)) * ((y > -34) & (y < 44))
    half = 0.45 + 0.75 * person.atrophy + 1.2 * smoothstep(-y, 20, 60) * (0.4 + person.atrophy)
    return np.maximum(across - half, above)


def _sylvian(lattice: Lattice, person: Person, wavy: np.ndarray, width: np.ndarray) -> np.ndarray:
    z, y, x = lattice.mesh
    opening = 0.7 + 1.7 * person.atrophy
    aside = np.abs(x)
    insula_x = 37.5 + 3.5 * np.cos((y + 2) / 17) - 0.02 * (z - 4) ** 2 + 1.7 * wavy
    insula = np.maximum(
        np.abs(aside - insula_x) - opening * 0.85 * width,
        np.maximum(np.abs(y + 2) - 22, np.abs(z - 2) - 13),
    )
    sheet_z = 3 + 0.62 * (y + 8) + 0.1 * (aside - 40) + 3.2 * wavy
    cleft = np.abs(z - sheet_z) * 0.8 - opening * width * (0.5 + 0.75 * smoothstep(-y, 2, 20))
    lateral = np.maximum(cleft, np.maximum(insula_x - aside, np.maximum(-26 - y, y - 30)))
    return np.minimum(insula, lateral)


def _ellipsoids(lattice: Lattice, group: str, width_mm: float) -> np.ndarray:
    """Solids of one group of `tables/brain_solids.csv`, as a fraction of each voxel.

    The deep nuclei stand on both sides, each with its share of grey matter.
    """
    field = np.zeros(lattice.shape, np.float32)
    nuclei = group == "nucleus"
    for row in tables.read_rows("brain_solids", group):
        axes, (x, y, z) = tables.axes(row), tables.centre(row)
        for side in (1, -1) if nuclei else (1,):
            centre = (x * side, y, z)
            box, part = lattice.around(centre, axes, 3)
            share = row["grey"] if nuclei else 1
            inside = occupancy(ellipsoid(part, centre, axes), width_mm) * share
            np.maximum(field[box], inside, out=field[box])
    return field


def build_brain(
    hu: np.ndarray,
    lattice: Lattice,
    cavity: np.ndarray,
    coarse: HeadShape,
    person: Person,
    rng: np.random.Generator,
    width_mm: float,
) -> Anatomy:
    """Paints the brain and its spaces into `hu`, in place, and returns the anatomy. cavity: mm
    outside the intracranial cavity, on the lattice."""
    midline = midline_offset(lattice, rng)
    folds = resize_linear(sulcal_distance(coarse, person, rng), lattice.shape)
    wavy, wide = smooth_noise(rng, lattice, 17), smooth_noise(rng, lattice, 20)
    solids = {
        "stem": _ellipsoids(lattice, "stem", width_mm),
        "cistern": _ellipsoids(lattice, "cistern", width_mm),
        "nucleus": _ellipsoids(lattice, "nucleus", 1.8),
    }
    uneven = smooth_noise(rng, lattice, 26)
    ventricles = ventricle_fraction(lattice, person, midline, width_mm)
    anatomy = Anatomy(
        person,
        lattice,
        width_mm,
        hu,
        -cavity,
        np.zeros(lattice.shape, np.float32),
        np.zeros(lattice.shape, np.float32),
        tentorium_height(lattice),
        midline,
        coarse.wall,
    )
    for box in slabs(cavity, width_mm):
        inside = occupancy(cavity[box], width_mm)
        above = anatomy.tentorium[box]
        part = lattice.part(box)
        sulci = np.minimum(
            folds[box], fissures(part, person, midline[box[:2]], wavy[box], wide[box])
        )
        here = {group: field[box] for group, field in solids.items()}
        csf, parenchyma = _spaces(part, cavity[box], sulci, above, here, person, width_mm)
        csf *= inside
        brain = person.tissue.white + 0.5 * uneven[box]
        brain += parenchyma
        ventricle = np.multiply(ventricles[box], inside, out=anatomy.ventricle[box])
        np.multiply(csf, 1 - ventricle, out=anatomy.csf[box])
        paint(brain, np.maximum(anatomy.csf[box], ventricle), person.tissue.csf)
        paint(hu[box], inside, brain)
    return anatomy


def _spaces(
    lattice: Lattice,
    cavity: np.ndarray,
    folds: np.ndarray,
    tentorium: np.ndarray,
    solids: dict[str, np.ndarray],
    person: Person,
    width_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Subarachnoid space as a fraction of each voxel, and by how many HU grey matter exceeds white
    there. solids: fractions of a voxel of brain stem, cisterns, and grey matter of the deep
    nuclei."""
    edge = cavity + person.gap
    infratentorial = (tentorium < 0) & (lattice.mesh[1] > 14)
    if infratentorial.any():
        np.copyto(edge, cavity + (0.4 + 0.4 * person.atrophy), where=infratentorial)
        folds = np.where(infratentorial, np.maximum(_folia(lattice, person), edge + 6) + 1, folds)
    depth = np.minimum(folds, -edge)
    csf = solids["cistern"] * (1 - solids["stem"])
    np.maximum(csf, occupancy(depth, width_mm), out=csf)
    grey = occupancy(depth - 3.0, 2.2)
    np.maximum(grey, 0.62, out=grey, where=infratentorial)
    grey *= 1 - 0.65 * solids["stem"]
    np.maximum(grey, solids["nucleus"], out=grey)
    grey *= person.tissue.grey - person.tissue.white
    return csf, grey


def _folia(lattice: Lattice, person: Person) -> np.ndarray:
    """Signed distance to the fissures between the folia of the cerebellum, mm."""
    z, y, x = lattice.mesh
    return 2.2 + 1.1 * np.cos(1.1 * (z + 0.35 * np.abs(x) + 0.12 * y)) - 0.5 * person.atrophy
