"""All hemorrhage of one patient: drawn first, then what it displaces, then the blood itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ich_study.phantom.brain import Anatomy
from ich_study.phantom.geometry import smoothstep
from ich_study.phantom.hemorrhage import (
    extra_axial,
    intraparenchymal,
    intraventricular,
    subarachnoid,
)
from ich_study.phantom.hemorrhage.extra_axial import Layer, Membranes
from ich_study.phantom.hemorrhage.intraparenchymal import Hematoma
from ich_study.phantom.person import Person
from ich_study.phantom.priors import draw_density, draw_volume
from ich_study.phantom.resample import linear_at, resize_linear
from ich_study.phantom.skull import HeadShape


@dataclass(frozen=True)
class Plan:
    """What will bleed: volumes (mL) and densities (HU) per subtype, and the drawn lesions."""

    volume_ml: dict[str, float]
    density: dict[str, float]
    hematomas: tuple[Hematoma, ...]
    layers: dict[str, Layer]
    subarachnoid_centre: tuple[float, float, float]


def draw_plan(
    rng: np.random.Generator, person: Person, subtypes: tuple[str, ...], lesions: str = "priors"
) -> Plan:
    """Draws the lesions of the named subtypes; lesions: a name of `priors.LESIONS`."""
    volumes = {name: draw_volume(rng, name, lesions) for name in subtypes}
    densities = {name: draw_density(rng, name, lesions) for name in subtypes}
    hematomas, layers = [], {}
    if "IPH" in subtypes:
        parts = [1.0] if rng.random() < 0.88 or volumes["IPH"] < 2 else [0.75, 0.25]
        hematomas = [
            intraparenchymal.draw_hematoma(rng, person, volumes["IPH"] * p, densities["IPH"])
            for p in parts
        ]
    for name, draw in (("SDH", extra_axial.draw_subdural), ("EDH", extra_axial.draw_epidural)):
        if name in subtypes:
            layers[name] = draw(rng, volumes[name], densities[name])
    return Plan(volumes, densities, tuple(hematomas), layers, subarachnoid.draw_centre(rng))


def fitted_person(person: Person, plan: Plan) -> Person:
    """The person with ventricles and sulci wide enough for the blood that the plan puts there."""
    if "IVH" in plan.volume_ml:
        needed = (plan.volume_ml["IVH"] / 14) ** 0.5
        person = replace(person, ventricle=float(np.clip(max(person.ventricle, needed), 0.8, 2.1)))
    if "SAH" in plan.volume_ml:
        person = replace(
            person,
            sulcus=max(person.sulcus, 1.9),
            gap=max(person.gap, 1.0),
            atrophy=max(person.atrophy, 0.35),
        )
    return person


def displace(anatomy: Anatomy, plan: Plan, coarse: HeadShape) -> None:
    """Moves the brain by the mass effect of all blood, in place; the skull stays where it is."""
    if not plan.hematomas and not plan.layers:
        return
    lattice, depth = coarse.lattice, -coarse.cavity
    step = np.zeros((3, *lattice.shape), np.float32)
    for lesion in plan.hematomas:
        step += intraparenchymal.displacement(lattice, lesion)
    tentorium = resize_linear(anatomy.tentorium, lattice.shape)
    midline = resize_linear(anatomy.midline, (*lattice.shape[:2], 1))
    on = Membranes(lattice, depth, -coarse.wall, tentorium, midline)
    for layer in plan.layers.values():
        step += extra_axial.displacement(on, layer, anatomy.person)
    step *= smoothstep(depth, -0.5, 1.0) if plan.layers else smoothstep(depth, 0.0, 10.0)
    _warp(anatomy, step)


def _warp(anatomy: Anatomy, step: np.ndarray) -> None:
    lattice = anatomy.lattice
    moved = np.argwhere(np.abs(step).max(0) > 0.05)
    if not len(moved):
        return
    ratio = [(new - 1) / (old - 1) for new, old in zip(lattice.shape, step.shape[1:])]
    low = [int(m * r) for m, r in zip(moved.min(0), ratio)]
    high = [int(np.ceil((m + 1) * r)) + 1 for m, r in zip(moved.max(0), ratio)]
    box = tuple(slice(a, b) for a, b in zip(low, high))
    places = np.mgrid[box].astype(np.float32)
    for place, part, spacing in zip(places, step, lattice.step):
        place += resize_linear(part, lattice.shape, box[0])[:, box[1], box[2]] / spacing
    inside = np.clip(anatomy.depth[box] - 0.2, 0, 1)
    moving = inside > 0
    pulled = anatomy.hu[box]
    pulled[moving] += inside[moving] * (
        np.minimum(linear_at(anatomy.hu, places[:, moving]), 300) - pulled[moving]
    )
    for field in (anatomy.csf, anatomy.ventricle):
        field[box] = linear_at(field, places)


def paint_blood(anatomy: Anatomy, plan: Plan, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Paints all blood into the head, in place; returns per subtype its fraction of each voxel."""
    fractions = {}
    volumes, densities = plan.volume_ml, plan.density
    for lesion in plan.hematomas:
        blood = intraparenchymal.paint_hematoma(anatomy, lesion, rng)
        fractions["IPH"] = np.maximum(fractions.get("IPH", 0), blood)
    if "IVH" in volumes:
        source = (
            plan.hematomas[0].centre
            if plan.hematomas and plan.hematomas[0].centre[2] > -15
            else None
        )
        fractions["IVH"] = intraventricular.paint_ventricular_blood(
            anatomy, volumes["IVH"], densities["IVH"], source, rng
        )
    if "SAH" in volumes:
        fractions["SAH"] = subarachnoid.paint_subarachnoid_blood(
            anatomy, volumes["SAH"], densities["SAH"], plan.subarachnoid_centre, rng
        )
    for name, layer in plan.layers.items():
        fractions[name] = extra_axial.paint_layer(anatomy, layer, rng)
    return fractions
