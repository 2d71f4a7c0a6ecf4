"""One synthetic person: size, age, atrophy, asymmetry, thickness of bone and scalp, tissue HU.

Tissue means lie around those of DIDSR/InSilicoICH (CC0): CSF 10, white matter 30, grey matter 40,
dura 50, skull 900 HU; spread between scanners and persons is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """HU of the person's tissues as this scanner shows them."""

    csf: float
    white: float
    grey: float
    blood: float
    dura: float
    fat: float
    muscle: float
    table: float
    diploe: float


@dataclass(frozen=True)
class Person:
    """Traits of the head. Lengths in mm; `scale` multiplies canonical x, y, z; sides are (right,
    left)."""

    age: float
    scale: tuple[float, float, float]
    atrophy: float
    ventricle: float
    ventricle_side: tuple[float, float]
    front_taper: float
    squareness: float
    bone: float
    scalp: float
    gap: float
    sulcus: float
    sinus_frontal: float
    mastoid_air: float
    tissue: Tissue


def draw_tissue(rng: np.random.Generator) -> Tissue:
    """Tissue HU for one scan."""
    white = rng.normal(29.0, 1.5)
    return Tissue(
        csf=rng.normal(7.0, 2.5),
        white=white,
        grey=white + float(np.clip(rng.normal(6.5, 1.2), 4.0, 9.5)),
        blood=rng.normal(42.0, 3.0),
        dura=rng.normal(50.0, 4.0),
        fat=rng.normal(-90.0, 8.0),
        muscle=rng.normal(56.0, 4.0),
        table=rng.normal(1350.0, 130.0),
        diploe=rng.normal(800.0, 130.0),
    )


def draw_person(rng: np.random.Generator, age: float) -> Person:
    """Draws the traits of a person of `age` years."""
    atrophy = float(np.clip((age - 25) / 65 + rng.normal(0, 0.16), 0.02, 1.15))
    size = rng.normal(0.945, 0.03)
    left = float(np.clip(rng.normal(0, 0.09), -0.2, 0.2))
    return Person(
        age=age,
        scale=(
            size * rng.normal(1.0, 0.025),
            size * rng.normal(0.985, 0.025),
            size * rng.normal(1.0, 0.02),
        ),
        atrophy=atrophy,
        ventricle=float(np.clip(0.86 + 0.6 * atrophy**1.3 + rng.normal(0, 0.15), 0.6, 1.9)),
        ventricle_side=(1 - left, 1 + left),
        front_taper=float(np.clip(rng.normal(0.17, 0.04), 0.05, 0.28)),
        squareness=float(np.clip(rng.normal(2.35, 0.1), 2.1, 2.7)),
        bone=float(np.clip(rng.normal(6.6, 1.0), 4.5, 9.5)),
        scalp=float(np.clip(rng.normal(5.0, 1.0), 3.0, 8.0)),
        gap=0.4 + 1.9 * atrophy**1.5 * rng.uniform(0.6, 1.3),
        sulcus=1.0 + 1.5 * atrophy * rng.uniform(0.75, 1.25),
        sinus_frontal=rng.uniform(0.3, 1.25),
        mastoid_air=rng.uniform(0.3, 1.0),
        tissue=draw_tissue(rng),
    )
