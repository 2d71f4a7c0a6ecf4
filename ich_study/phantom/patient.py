"""A synthetic patient: from a specification and a seed to a head CT with truth masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from ich_study.errors import ParameterError, require_known
from ich_study.phantom.acquisition import AIR_HU, acquire, draw_scanner
from ich_study.phantom.brain import build_brain
from ich_study.phantom.face import paint_face
from ich_study.phantom.geometry import Lattice, occupancy
from ich_study.phantom.hemorrhage.lesions import (
    Plan,
    displace,
    draw_plan,
    fitted_person,
    paint_blood,
)
from ich_study.phantom.mimics import paint_mimics
from ich_study.phantom.person import Person, draw_person
from ich_study.phantom.placement import Placement, place, sample
from ich_study.phantom.priors import LESIONS, draw_subtypes
from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.skull import head_shape, paint_skull, refine
from ich_study.phantom.vessels import paint_arteries, paint_calcifications, paint_dura
from ich_study.schema import MASK_CODES, SUBTYPES

LOW, HIGH = (-90.0, -108.0, -86.0), (94.0, 124.0, 86.0)
"""Corners of the head's lattice (z, y, x), canonical mm."""
COARSE_MM = (2.5, 2.0, 2.0)


@dataclass(frozen=True)
class PatientSpec:
    """A patient to simulate; None is drawn from the seed.

    subtypes: names of `schema.SUBTYPES`. matrix: rows and columns, 64 to 1024. slices: None covers
    foramen magnum to vertex. tilt_degrees: gantry tilt. age in years, fov_mm the width of the
    image. lesions: what volumes and densities are drawn from, a name of `priors.LESIONS`.
    """

    seed: int
    subtypes: tuple[str, ...] = ()
    matrix: int = 256
    thickness_mm: float = 5.0
    slices: int | None = None
    tilt_degrees: float | None = None
    fov_mm: float | None = None
    age: float | None = None
    lesions: str = "priors"

    def __post_init__(self) -> None:
        """Raises ParameterError for a value out of range."""
        unknown = [name for name in self.subtypes if name not in SUBTYPES]
        if unknown:
            raise ParameterError(f"unknown subtypes {unknown}; known: {list(SUBTYPES)}")
        require_known("lesions", self.lesions, LESIONS)
        limits = {
            "matrix": (64, 1024),
            "thickness_mm": (0.5, 12),
            "slices": (1, 400),
            "tilt_degrees": (-30, 30),
            "fov_mm": (150, 500),
            "age": (18, 100),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ParameterError(f"{name} is {value}; expected {low} to {high}")


def draw_spec(
    seed: int,
    positive_fraction: float = 0.5,
    matrix: int = 256,
    lesions: str = "priors",
    picked: bool = False,
    slices: int | None = None,
) -> PatientSpec:
    """Draws age, field of view, thickness and subtypes of a patient of a clinical cohort.

    positive_fraction: probability of hemorrhage. lesions, slices: as of `PatientSpec`. picked: of a
    cohort picked to show every subtype, `priors.PICKED`. Slices are mostly 5 mm thick, as in BHSD.
    Raises ParameterError for unknown lesions.
    """
    require_known("lesions", lesions, LESIONS)
    rng = np.random.default_rng([seed, 1])
    positive = rng.random() < positive_fraction
    subtypes = draw_subtypes(rng, lesions, picked)
    return PatientSpec(
        seed=seed,
        subtypes=subtypes if positive else (),
        matrix=matrix,
        thickness_mm=float(rng.choice([4.0, 4.5, 5.0, 5.0, 5.0, 5.0, 5.5])),
        fov_mm=float(np.round(rng.choice([220, 230, 240, 250, 250, 260]) * rng.normal(1, 0.01), 1)),
        age=float(np.round(np.clip(rng.normal(62 if positive else 58, 16), 18, 95), 1)),
        lesions=lesions,
        slices=slices,
    )


def _head(
    person: Person,
    plan: Plan,
    fine_mm: float,
    rng: np.random.Generator,
    contrast: bool,
) -> tuple[np.ndarray, Lattice, dict[str, np.ndarray]]:
    """The noiseless head on its lattice, and each lesion's fraction of a voxel."""
    lattice = Lattice.spanning(LOW, HIGH, (1.5, fine_mm, fine_mm))
    coarse = head_shape(Lattice.spanning(LOW, HIGH, COARSE_MM), person, rng)
    shape = refine(coarse, lattice)
    width = 1.1 * fine_mm
    hu = np.full(lattice.shape, AIR_HU, np.float32)
    paint_skull(hu, shape, person, rng, width)
    paint_face(hu, lattice, person, occupancy(-shape.cavity, width), rng, width)
    cavity = shape.cavity
    del shape  # here and below: a field of the head takes some 50 MB at 512 px
    anatomy = build_brain(hu, lattice, cavity, coarse, person, rng, width)
    del cavity
    paint_dura(anatomy, rng, contrast)
    paint_arteries(anatomy, rng, contrast)
    paint_calcifications(anatomy, rng)
    paint_mimics(anatomy, rng)
    displace(anatomy, plan, coarse)
    return hu, lattice, paint_blood(anatomy, plan, rng)


def _truth(fractions: dict[str, np.ndarray], where: Placement, matrix: int) -> np.ndarray:
    """uint8 codes: a voxel belongs to the lesion that fills most of it, where blood fills half of
    it or more."""
    mask = np.zeros((len(where.z_mm), matrix, matrix), np.uint8)
    best = np.full(mask.shape, 0.0, np.float32)
    total = np.zeros(mask.shape, np.float32)
    for name, field in fractions.items():
        share = sample(field, where, matrix, 0.0)
        mask[share > best] = MASK_CODES[name]
        np.maximum(best, share, out=best)
        total += share
    mask[total < 0.5] = 0
    return mask


@threadpool_limits.wrap(
    limits=1
)  # more threads would change the rounding, and take the processors of a pool's other processes
def simulate(spec: PatientSpec, contrast: bool = False) -> PhantomScan:
    """The scan of one patient, the same bytes for the same specification.

    contrast: with an iodinated agent in the vessels, about 180 (veins) to 250 HU (arteries).
    """
    rng = np.random.default_rng(spec.seed)
    scanner = draw_scanner(
        rng, spec.matrix, spec.thickness_mm, spec.slices, spec.tilt_degrees, spec.fov_mm
    )
    age = float(np.clip(rng.normal(60, 17), 18, 95))
    person = draw_person(rng, age if spec.age is None else spec.age)
    subtypes = tuple(name for name in SUBTYPES if name in spec.subtypes)
    plan = draw_plan(rng, person, subtypes, spec.lesions)
    person = fitted_person(person, plan)
    fine_mm = float(np.clip(1.15 * scanner.pixel_mm, 0.62, 1.4))
    hu, lattice, fractions = _head(person, plan, fine_mm, rng, contrast)
    where = place(scanner, lattice, person.scale, rng)
    hu, mask = sample(hu, where, spec.matrix, AIR_HU), _truth(fractions, where, spec.matrix)
    z_mm = where.z_mm
    del where, fractions
    return PhantomScan(
        acquire(hu, scanner, rng),
        mask,
        z_mm,
        scanner.pixel_mm,
        spec.thickness_mm,
        scanner.gantry_tilt,
        spec.seed,
    )
