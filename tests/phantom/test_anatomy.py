"""The head without blood: tissues where a radiologist expects them, at the HU of the priors."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.brain import build_brain
from ich_study.phantom.geometry import Lattice, capsule, ellipsoid, smooth_noise
from ich_study.phantom.patient import COARSE_MM, HIGH, LOW
from ich_study.phantom.person import draw_person
from ich_study.phantom.skull import head_shape, paint_skull, refine

SMALL = Lattice.spanning((-20, -20, -20), (20, 20, 20), (1, 1, 1))


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(5)
    person = draw_person(rng, 60)
    coarse = head_shape(Lattice.spanning(LOW, HIGH, COARSE_MM), person, rng)
    shape = refine(coarse, Lattice.spanning(LOW, HIGH, (2.0, 1.5, 1.5)))
    hu = np.full(shape.lattice.shape, -1000, np.float32)
    paint_skull(hu, shape, person, rng, 1.5)
    return build_brain(hu, shape, coarse, person, rng, 1.5), person, shape


def test_ellipsoid_distance_matches_a_sphere():
    z, y, x = np.meshgrid(SMALL.z, SMALL.y, SMALL.x, indexing="ij")
    exact = np.sqrt((x - 2.0) ** 2 + y**2 + z**2) - 9
    found = ellipsoid(SMALL, (2, 0, 0), (9, 9, 9))
    near = np.abs(exact) < 3
    np.testing.assert_allclose(found[near], exact[near], atol=1e-3)


def test_capsule_of_no_length_is_a_sphere():
    found = capsule(SMALL, (0, 0, 0), (0, 0, 1e-4), 5, 5)
    np.testing.assert_allclose(found[20, 20, 20 + 9], 4.0, atol=1e-3)


def test_noise_is_standardised_and_smoother_for_longer_waves():
    long, short = (smooth_noise(np.random.default_rng(0), SMALL, wave) for wave in (40, 8))
    assert abs(long.mean()) < 1e-4
    assert abs(long.std() - 1) < 1e-3
    assert np.diff(long, axis=2).std() < 0.5 * np.diff(short, axis=2).std()


def test_tissues_have_their_hu_in_their_places(head):
    anatomy, person, _ = head

    def at(x, y, z, reach=2.0):
        low, high = (tuple(c + s * reach for c in (z, y, x)) for s in (-1, 1))
        return float(np.median(anatomy.hu[anatomy.lattice.box(low, high)]))

    tissue = person.tissue
    assert abs(at(24, 20, 34) - tissue.white) < 4  # centrum semiovale
    assert at(12, 20, 7) > tissue.white + 2  # thalamus
    assert abs(at(23, 40, 12) - tissue.csf) < 5  # atrium of the lateral ventricle
    assert at(0, 112, 10, 1.5) > 300  # occipital bone


def test_cavity_volume_and_ventricles_are_those_of_adults(head):
    anatomy, person, _ = head
    voxel_ml = np.prod(anatomy.lattice.step) * np.prod(person.scale) / 1000
    assert 1100 < (anatomy.depth > 0).sum() * voxel_ml < 1950
    assert 8 < anatomy.ventricle.sum() * voxel_ml < 90


def test_skull_is_closed_over_the_vault(head):
    anatomy, _, shape = head
    shell = (shape.cavity > 1) & (shape.bone < -1)
    above = shell & (shape.lattice.z[:, None, None] > 0)
    assert (anatomy.hu[above] > 200).mean() > 0.98


def test_brain_is_nearly_symmetric_but_not_exactly(head):
    anatomy, _, _ = head
    inside = (anatomy.depth > 5) & (anatomy.lattice.z[:, None, None] > 10)
    both = inside & inside[..., ::-1]
    left, right = anatomy.hu[both], anatomy.hu[..., ::-1][both]
    assert abs(left.mean() - right.mean()) < 1.0
    assert np.abs(left - right).mean() > 0.5


def test_atrophy_widens_sulci_and_ventricles():
    young, old = (
        np.mean([draw_person(np.random.default_rng(s), age).sulcus for s in range(30)])
        for age in (25, 85)
    )
    assert old > 1.4 * young
