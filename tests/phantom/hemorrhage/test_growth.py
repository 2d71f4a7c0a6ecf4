"""A lesion grows until its space holds the wanted volume."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.hemorrhage.growth import threshold, voxel_ml


def test_threshold_encloses_the_wanted_volume():
    level = np.abs(np.random.default_rng(1).normal(size=(20, 30, 30))).astype(np.float32)
    edge = threshold(level, 1.0, 5.0, 0.001)
    assert (level < edge).sum() * 0.001 == pytest.approx(5.0, rel=0.02)


def test_threshold_of_no_room_is_nothing():
    assert threshold(np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4)), 1.0, 0.001) == -np.inf


def test_a_voxel_is_as_large_as_the_person_makes_it():
    lattice = Lattice.spanning((0, 0, 0), (10, 10, 10), (5, 2, 1))
    assert voxel_ml(lattice, (1.0, 1.0, 1.0)) == pytest.approx(0.01)
    assert voxel_ml(lattice, (1.1, 0.9, 1.0)) == pytest.approx(0.0099)
