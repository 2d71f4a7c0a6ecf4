"""Interpolation against scipy's and numpy's own, edges included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ich_study.phantom.geometry import Lattice, lookup, smooth_noise
from ich_study.phantom.resample import (
    CHUNK,
    apply_weights,
    cubic_weights,
    filled_cells,
    linear_at,
    linear_weights,
    resize_linear,
)

RNG = np.random.default_rng(3)


def grid(starts, stops, shape):
    return np.stack(
        np.meshgrid(*(np.linspace(a, b, n) for a, b, n in zip(starts, stops, shape)), indexing="ij")
    )


def random_field(shape):
    return RNG.standard_normal(shape).astype(np.float32)


SHAPES = [
    ((5, 6, 7), (11, 9, 20)),
    ((11, 9, 20), (5, 6, 7)),
    ((4, 9, 3), (9, 4, 3)),
    ((6, 5, 1), (3, 8, 1)),
]


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_linear_resize_is_scipys_with_the_same_corners(old, new):
    field = random_field(old)
    wanted = ndimage.map_coordinates(
        field, grid((0, 0, 0), np.array(old) - 1, new), order=1, mode="nearest", output=np.float64
    )
    found = resize_linear(field, new)
    assert found.shape == new and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    np.testing.assert_allclose(
        found[[0, -1]][:, [0, -1]][..., [0, -1]],
        field[[0, -1]][:, [0, -1]][..., [0, -1]],
        atol=1e-6,
    )


def test_cubic_weights_are_scipys_spline_from_the_second_to_the_last_but_one_coefficient():
    old, new = (4, 6, 9), (8, 30, 17)
    field = random_field(old)
    wanted = ndimage.map_coordinates(
        field, grid((1, 1, 1), np.array(old) - 2, new), order=3, prefilter=False, output=np.float64
    )
    found = apply_weights(field, [cubic_weights(a, b) for a, b in zip(old, new)])
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_linear_weights_are_numpys_and_repeat_the_border():
    samples = RNG.standard_normal(12)
    positions = np.concatenate([[-5, -0.5, -1e-9, 0, 11, 11.4, 90], RNG.uniform(-2, 13, 200)])
    np.testing.assert_allclose(
        linear_weights(positions, 12) @ samples,
        np.interp(positions, np.arange(12), samples),
        atol=1e-12,
    )


def scattered(shape):
    """Places inside, on the first and last samples, just within and just beyond them, and far away;
    more than one chunk."""
    inside = RNG.uniform(-1.5, np.array(shape) + 0.5, (CHUNK + 1000, 3))
    edges = [
        [-40, -1, -0.5, -1e-4, 0, 1e-4, n - 1 - 1e-4, n - 1, n - 1 + 1e-4, n - 0.5, n, n + 40]
        for n in shape
    ]
    corners = np.stack(np.meshgrid(*edges, indexing="ij"), -1).reshape(-1, 3)
    return np.concatenate([inside, corners]).T.astype(np.float32)


@pytest.mark.parametrize(
    ("outside", "mode"), [(None, "nearest"), (-1000.0, "constant"), (0.0, "constant")]
)
def test_scattered_samples_are_scipys_at_and_beyond_every_edge(outside, mode):
    field = random_field((5, 8, 11))
    places = scattered(field.shape)
    wanted = ndimage.map_coordinates(
        field, places, order=1, mode=mode, cval=outside or 0.0, output=np.float64
    )
    np.testing.assert_allclose(linear_at(field, places, outside), wanted, atol=3e-6)


@pytest.mark.parametrize("outside", [-1000.0, 0.0])
def test_passing_over_what_is_empty_changes_no_bit(outside):
    field = np.full((9, 12, 14), outside, np.float32)
    field[3:5, 4:8, 6:9] = random_field((2, 4, 3))
    field[-1, -1, -1] = 7
    places = scattered(field.shape)
    filled = filled_cells(field, outside)
    assert 0 < filled.mean() < 0.2
    wanted = linear_at(field, places, outside)
    assert (wanted != outside).any()
    np.testing.assert_array_equal(linear_at(field, places, outside, filled), wanted)
    nothing = linear_at(field, places, outside, np.zeros_like(filled))
    assert (nothing == outside).all(), "nothing is interpolated where `filled` says so"


def test_scattered_samples_keep_the_shape_of_their_places_and_take_views():
    field = random_field((8, 10, 12))[::2, :, ::-1]
    places = RNG.uniform(0, 3, (3, 4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(
        linear_at(field, places), ndimage.map_coordinates(field, places, order=1), atol=3e-6
    )


def test_lookup_finds_the_lattices_own_coordinates():
    lattice = Lattice.spanning((-4, -6, -3), (4, 6, 3), (2, 1.5, 0.5))
    field = random_field(lattice.shape)
    z, y, x = np.broadcast_arrays(*lattice.mesh)
    np.testing.assert_allclose(lookup(field, lattice, z, y, x), field, atol=1e-5)
    np.testing.assert_allclose(
        lookup(field, lattice, z, y, x + 100),
        np.broadcast_to(field[..., -1:], field.shape),
        atol=1e-5,
    )


@pytest.mark.parametrize("wavelength", [60.0, 9.0, 3.0])
def test_smooth_noise_is_a_spline_then_linear_then_standardised(wavelength):
    lattice = Lattice.spanning((-20, -20, -20), (20, 20, 20), (2.5, 2, 1.25))
    knots = [max(4, round(2.2 * 40 / wavelength) + 3)] * 3
    coefficients = np.random.default_rng(8).standard_normal(knots)
    middle = [min(n, 5 * k) for n, k in zip(lattice.shape, knots)]
    spline = ndimage.map_coordinates(
        coefficients, grid((1, 1, 1), np.array(knots) - 2, middle), order=3, prefilter=False
    )
    wanted = ndimage.map_coordinates(
        spline, grid((0, 0, 0), np.array(middle) - 1, lattice.shape), order=1, mode="nearest"
    )
    found = smooth_noise(np.random.default_rng(8), lattice, wavelength)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (wanted - wanted.mean()) / wanted.std(), atol=2e-5)
