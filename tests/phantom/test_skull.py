"""The skull: a cavity as large as an adult's, closed over the vault."""

from __future__ import annotations

import numpy as np

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.skull import CORONAL_Y, LAMBDOID_Y, suture_distance


def test_the_cavity_is_that_of_an_adult(head):
    anatomy, person, _ = head
    voxel_ml = np.prod(anatomy.lattice.step) * np.prod(person.scale) / 1000
    assert 1100 < (anatomy.depth > 0).sum() * voxel_ml < 1950


def test_skull_is_closed_over_the_vault(head):
    anatomy, _, shape = head
    shell = (shape.cavity > 1) & (shape.bone < -1)
    above = shell & (shape.lattice.z[:, None, None] > 0)
    assert (anatomy.hu[above] > 200).mean() > 0.98


def test_sutures_are_where_the_epidural_ends():
    lattice = Lattice.spanning((0, -90, -60), (60, 100, 60), (10, 5, 5))
    distance = suture_distance(lattice)
    middle = np.flatnonzero(lattice.x == 0)[0]
    between = (lattice.y > CORONAL_Y) & (lattice.y < LAMBDOID_Y)
    assert np.abs(distance[:, between, middle]).max() < 1e-4  # the sagittal suture
    assert distance[:, between].max() > 20
