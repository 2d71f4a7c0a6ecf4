"""Ventricles: as large as an adult's, two sides apart, wider with atrophy."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.ventricles import lateral_distance, ventricle_fraction

LATTICE = Lattice.spanning((-40, -60, -50), (50, 90, 50), (3, 3, 3))


def test_the_volume_is_that_of_an_adult(head):
    anatomy, person, _ = head
    voxel_ml = np.prod(anatomy.lattice.step) * np.prod(person.scale) / 1000
    assert 8 < anatomy.ventricle.sum() * voxel_ml < 90


def test_a_side_lies_on_its_side(head):
    _, person, _ = head
    for side in (-1, 1):
        inside = lateral_distance(LATTICE, person, side) < 0
        assert inside.any() and (np.nonzero(inside.any((0, 1)))[0].size > 0)
        x = np.broadcast_to(LATTICE.mesh[2], inside.shape)[inside]
        assert (np.sign(x) == side).all()


def test_a_larger_trait_is_a_larger_ventricle(head):
    _, person, _ = head
    midline = np.zeros((len(LATTICE.z), len(LATTICE.y), 1), np.float32)
    small, large = (
        ventricle_fraction(LATTICE, dataclasses.replace(person, ventricle=size), midline, 3.0).sum()
        for size in (0.7, 1.7)
    )
    assert large > 1.5 * small > 0
