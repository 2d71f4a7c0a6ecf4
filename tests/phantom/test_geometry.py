"""Signed distances and mixing, against their formulas in float64; parts of the head, against the
whole lattice."""

from __future__ import annotations

import numpy as np

from ich_study.phantom import ventricles
from ich_study.phantom.geometry import (
    Lattice,
    capsule,
    ellipsoid,
    occupancy,
    paint,
    smooth_noise,
    smooth_union,
    smoothstep,
)
from ich_study.phantom.patient import HIGH, LOW
from ich_study.phantom.person import draw_person

RNG = np.random.default_rng(1)
WHOLE = Lattice.spanning(LOW, HIGH, (4, 3, 3))
SMALL = Lattice.spanning((-20, -20, -20), (20, 20, 20), (1, 1, 1))


def random_field(scale=3.0):
    return (scale * RNG.standard_normal((6, 7, 8))).astype(np.float32)


def test_capsule_is_the_distance_to_its_segment():
    lattice = Lattice.spanning((-20, -20, -20), (20, 20, 20), (3, 2, 2.5))
    start, end, r0, r1 = np.array([-5.0, 3.0, 8.0]), np.array([9.0, -7.0, -4.0]), 4.0, 1.5
    points = np.stack(np.broadcast_arrays(*(axis.astype(float) for axis in lattice.mesh[::-1])), -1)
    along = np.clip((points - start) @ (end - start) / np.sum((end - start) ** 2), 0, 1)
    wanted = np.linalg.norm(points - start - along[..., None] * (end - start), axis=-1) - (
        r0 + along * (r1 - r0)
    )
    np.testing.assert_allclose(
        capsule(lattice, tuple(start), tuple(end), r0, r1), wanted, atol=1e-4
    )


def test_smooth_union_is_the_minimum_but_where_both_are_near():
    first, second = random_field(), random_field()
    far = np.abs(first - second) >= 2.5
    found = smooth_union(first, second, 2.5)
    np.testing.assert_allclose(found[far], np.minimum(first, second)[far], atol=1e-5)
    mix = 0.5 + 0.5 * (second.astype(float) - first)[~far] / 2.5
    np.testing.assert_allclose(
        found[~far], mix * first[~far] + (1 - mix) * second[~far] - 2.5 * mix * (1 - mix), atol=1e-5
    )


def test_occupancy_and_smoothstep_are_their_polynomials_and_leave_their_input():
    values = random_field()
    before = values.copy()
    np.testing.assert_allclose(
        occupancy(values, 1.7), np.interp(values, [-0.85, 0.85], [1, 0]), atol=1e-6
    )
    t = np.interp(values, [-1.0, 3.0], [0, 1])
    np.testing.assert_allclose(smoothstep(values, -1, 3), 3 * t**2 - 2 * t**3, atol=1e-6)
    assert np.array_equal(values, before)


def test_paint_mixes_by_fraction_into_the_volume_itself():
    volume, fraction, value = (
        random_field(),
        RNG.random((6, 7, 8)).astype(np.float32),
        random_field(40),
    )
    before, part = volume.copy(), (slice(1, 4), slice(None), slice(2, 6))
    paint(volume[part], fraction[part], value[part])
    wanted = before.astype(float)
    wanted[part] = (1 - fraction[part]) * before[part] + fraction[part] * value[part].astype(float)
    np.testing.assert_allclose(volume, wanted, atol=1e-4)


def test_each_ventricle_is_painted_whole_though_computed_on_its_own_side():
    person = draw_person(np.random.default_rng(2), 85.0)
    midline = np.zeros((len(WHOLE.z), len(WHOLE.y), 1), np.float32)
    found = ventricles.ventricle_fraction(WHOLE, person, midline, 1.5)
    for side in (-1, 1):
        lateral = occupancy(ventricles.lateral_distance(WHOLE, person, side), 1.5)
        assert lateral.max() == 1
        assert (found >= lateral - 1e-5).all()
    middle = np.abs(WHOLE.x) > 12  # beyond the third and the fourth ventricle
    both = np.maximum(
        *(occupancy(ventricles.lateral_distance(WHOLE, person, side), 1.5) for side in (-1, 1))
    )
    np.testing.assert_allclose(found[..., middle], both[..., middle], atol=1e-5)


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
