"""A hematoma is as large as was asked for, lies where such hematomas lie, and pushes outwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.hemorrhage.growth import voxel_ml
from ich_study.phantom.hemorrhage.intraparenchymal import (
    SITES,
    displacement,
    draw_hematoma,
    paint_hematoma,
)
from ich_study.phantom.tables import centre


def test_a_drawn_hematoma_has_its_volume_and_a_site_that_can_hold_it(head):
    _, person, _ = head
    rng = np.random.default_rng(1)
    largest = max(site["most_ml"] for site in SITES)
    able = np.array([centre(site) for site in SITES if site["most_ml"] == largest])
    spread = max(site[f"spread_{axis}"] for site in SITES for axis in "xyz")
    for _ in range(20):
        lesion = draw_hematoma(rng, person, largest, 62.0)
        sphere = 4 / 3 * np.pi * lesion.radius_mm**3 * np.prod(person.scale) / 1000
        assert sphere == pytest.approx(largest) and np.prod(lesion.axes) == pytest.approx(1)
        place = np.array([abs(lesion.centre[0]), *lesion.centre[1:]])
        beside = np.abs(place - np.abs(able * [1, 0, 0]) - able * [0, 1, 1])
        assert (beside.max(1) <= 1.6 * spread + 1e-6).any()


def test_tissue_comes_from_nearer_the_blood_and_from_no_nearer_far_away(head):
    _, person, _ = head
    lesion = draw_hematoma(np.random.default_rng(2), person, 20.0, 62.0)
    x, y, z = lesion.centre
    lattice = Lattice.spanning((x - 90, y - 90, z - 6), (x + 90, y + 90, z + 6), (3, 3, 3))
    step = displacement(lattice, lesion)
    offsets = [v - c for v, c in zip(lattice.mesh, (z, y, x))]
    outwards = sum(one * other for one, other in zip(step, np.broadcast_arrays(*offsets)))
    distance = np.sqrt(sum(offset**2 for offset in offsets))
    beside = (distance > lesion.radius_mm) & (distance < 2 * lesion.radius_mm)
    # a wrong sign would draw the tissue into the blood
    assert (outwards[beside] < 0).all()
    assert np.abs(step[:, distance > 85]).max() < 0.1 * np.abs(step).max()


def test_painted_blood_has_the_volume_and_density_that_were_drawn(head):
    anatomy, person, _ = head
    own = replace(anatomy, hu=anatomy.hu.copy())
    lesion = draw_hematoma(np.random.default_rng(3), person, 15.0, 62.0)
    blood = paint_hematoma(own, lesion, np.random.default_rng(3))
    volume = blood.sum() * voxel_ml(own.lattice, person.scale)
    assert volume == pytest.approx(15.0, rel=0.1)
    assert np.median(own.hu[blood > 0.95]) == pytest.approx(63.0, abs=3)
    # oedema around it is darker than the brain was; nothing far away is touched
    changed = own.hu - anatomy.hu
    assert changed[blood == 0].min() < -5 and changed[blood == 0].max() <= 0
    assert (blood[anatomy.depth < 0.5] < 0.01).all()
