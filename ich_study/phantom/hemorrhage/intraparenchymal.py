"""Intraparenchymal hemorrhage: deep (putamen, thalamus), lobar, cerebellar or pontine, with oedema
and mass effect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.phantom import tables
from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import Box, Lattice, Point, paint, smooth_noise, smoothstep
from ich_study.phantom.hemorrhage.growth import below, in_whole, paint_lesion, threshold, voxel_ml
from ich_study.phantom.person import Person

SITES = tables.read_rows("hematoma_sites")
"""Typical places: share of cases, spread around the centre, proportions of the axes, largest mL."""


@dataclass(frozen=True)
class Hematoma:
    """One drawn hematoma. `radius_mm` is that of the sphere of its volume in canonical mm."""

    centre: Point
    axes: Point
    turn: float
    radius_mm: float
    volume_ml: float
    density: float
    oedema_mm: float
    push: float
    roughness: float


def draw_hematoma(
    rng: np.random.Generator, person: Person, volume_ml: float, density: float
) -> Hematoma:
    """Draws site, shape and oedema of a hematoma of `volume_ml`."""
    possible = [site for site in SITES if site["most_ml"] >= volume_ml]
    shares = np.array([site["share"] for site in possible])
    site = possible[rng.choice(len(possible), p=shares / shares.sum())]
    side = int(rng.choice([-1, 1]))
    spread = [site[f"spread_{axis}"] for axis in "xyz"]
    place = np.array(tables.centre(site)) + np.clip(rng.standard_normal(3), -1.6, 1.6) * spread
    axes = np.array(tables.axes(site)) * np.exp(rng.normal(0, 0.12, 3))
    radius = (3 * volume_ml * 1000 / (4 * np.pi * np.prod(person.scale))) ** (1 / 3)
    return Hematoma(
        centre=(float(place[0] * side), float(place[1]), float(place[2])),
        axes=tuple(float(a) for a in axes / np.prod(axes) ** (1 / 3)),
        turn=side * rng.normal(0.15, 0.3),
        radius_mm=float(radius),
        volume_ml=volume_ml,
        density=density,
        oedema_mm=float(rng.uniform(0.8, 3.5) + 0.22 * radius * rng.uniform(0.2, 1.4)),
        push=rng.uniform(0.25, 0.6),
        roughness=rng.uniform(0.08, 0.30),
    )


def _radius(lattice: Lattice, lesion: Hematoma) -> np.ndarray:
    z, y, x = lattice.mesh
    dx, dy, dz = (v - c for v, c in zip((x, y, z), lesion.centre))
    cos, sin = np.cos(lesion.turn), np.sin(lesion.turn)
    along, across = dy * cos - dx * sin, dx * cos + dy * sin
    parts = [(v / a) ** 2 for v, a in zip((across, along, dz), lesion.axes)]
    return np.sqrt(parts[0] + parts[1] + parts[2])


def displacement(lattice: Lattice, lesion: Hematoma) -> np.ndarray:
    """Where tissue at each point came from, as a step (3: z, y, x; then the lattice), mm: the blood
    pushes its surroundings outwards, less with the distance squared."""
    radius = np.maximum(_radius(lattice, lesion), 1.0)
    reach = lesion.radius_mm
    pushed = (
        lesion.push
        * np.minimum(reach**3 / radius**2, radius)
        * smoothstep(-radius, -(3.5 * reach + 12), -reach)
    )
    z, y, x = lattice.mesh
    offsets = [v - c for v, c in zip((z, y, x), lesion.centre[::-1])]
    length = np.sqrt(sum(o**2 for o in offsets)) + 1e-3
    return np.stack([-pushed * o / length for o in offsets])


def paint_hematoma(anatomy: Anatomy, lesion: Hematoma, rng: np.random.Generator) -> np.ndarray:
    """Paints oedema and blood into the head, in place; returns the blood's fraction of each
    voxel."""
    reach = 2.4 * lesion.radius_mm + 3 * lesion.oedema_mm + 4
    box, part = anatomy.lattice.around(lesion.centre, (reach,) * 3)
    bumps = smooth_noise(rng, part, 1.6 * lesion.radius_mm + 5) + 0.45 * smooth_noise(
        rng, part, 0.6 * lesion.radius_mm + 4
    )
    level = _radius(part, lesion) * (1 + lesion.roughness * bumps)
    same_side = smoothstep(
        np.sign(lesion.centre[0]) * (part.mesh[2] - anatomy.midline[box[0], box[1]]), -1.5, 0.5
    )
    same_side = same_side if abs(lesion.centre[0]) > 8 else 1.0
    same_level = (
        (anatomy.tentorium[box] > 1)
        if lesion.centre[2] > -15
        else (anatomy.tentorium[box] < -1) | (np.abs(part.mesh[2]) < 17)
    )
    room = smoothstep(anatomy.depth[box], 1.0, 3.0) * same_side * same_level
    edge = threshold(level, room, lesion.volume_ml, voxel_ml(anatomy.lattice, anatomy.person.scale))
    blood = below(level, room, edge, anatomy.width_mm + 0.8)
    _paint_oedema(anatomy, lesion, box, level - edge, rng)
    paint_lesion(anatomy, box, blood, lesion.density + 1.0, 4.2, rng)
    return in_whole(anatomy.lattice, box, blood)


def _paint_oedema(
    anatomy: Anatomy,
    lesion: Hematoma,
    box: Box,
    beyond: np.ndarray,
    rng: np.random.Generator,
) -> None:
    part = anatomy.lattice.part(box)
    spread = lesion.oedema_mm * np.clip(1 + 0.55 * smooth_noise(rng, part, 18), 0.2, 2.5)
    tissue = anatomy.person.tissue
    softness = np.clip(
        (tissue.grey + 2 - anatomy.hu[box]) / (tissue.grey - tissue.white), 0.35, 1.2
    )
    wet = smoothstep(-beyond / np.maximum(spread * softness, 0.3), -1.5, -0.55)
    parenchyma = (1 - anatomy.csf[box]) * (1 - anatomy.ventricle[box]) * (anatomy.depth[box] > 1)
    low = tissue.white - rng.uniform(5, 11)
    paint(anatomy.hu[box], wet * parenchyma * (anatomy.hu[box] > low), low)
