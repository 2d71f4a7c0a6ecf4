"""One head without blood for all tests of its parts."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.brain import build_brain
from ich_study.phantom.geometry import Lattice
from ich_study.phantom.patient import COARSE_MM, HIGH, LOW
from ich_study.phantom.person import draw_person
from ich_study.phantom.skull import head_shape, paint_skull, refine


@pytest.fixture(scope="session")
def head():
    """Anatomy, person and surfaces; tests leave them as they are."""
    rng = np.random.default_rng(5)
    person = draw_person(rng, 60)
    coarse = head_shape(Lattice.spanning(LOW, HIGH, COARSE_MM), person, rng)
    shape = refine(coarse, Lattice.spanning(LOW, HIGH, (2.0, 1.5, 1.5)))
    hu = np.full(shape.lattice.shape, -1000, np.float32)
    paint_skull(hu, shape, person, rng, 1.5)
    return build_brain(hu, shape.lattice, shape.cavity, coarse, person, rng, 1.5), person, shape
