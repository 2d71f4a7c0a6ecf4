"""Where slices lie in the head, and what a field of the head is there."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.placement import place, sample, slice_positions
from tests.phantom.test_acquisition import MATRIX, scanner


def test_slices_cover_the_head_or_are_as_many_as_asked():
    positions = slice_positions(scanner(), 0.95)
    assert np.diff(positions) == pytest.approx(5.0)
    assert positions[-1] - positions[0] > 120
    assert len(slice_positions(scanner(slices=12), 0.95)) == 12


def test_partial_volume_averages_over_the_slice():
    lattice = Lattice.spanning((-90, -108, -86), (94, 124, 86), (1, 4, 4))
    ramp = np.broadcast_to(lattice.mesh[0], lattice.shape).astype(np.float32)
    where = place(scanner(), lattice, (1.0, 1.0, 1.0), np.random.default_rng(0))
    straight = place(scanner(), lattice, (1.0, 1.0, 1.0), _NoBend())
    assert where.indices.shape == straight.indices.shape
    slices = sample(ramp, straight, MATRIX, -999)
    np.testing.assert_allclose(slices[:, 64, 64], straight.z_mm, atol=0.01)


def test_rows_descend_towards_posterior_with_a_positive_gantry_tilt():
    lattice = Lattice.spanning((-90, -108, -86), (94, 124, 86), (1, 4, 4))
    height = np.broadcast_to(lattice.mesh[0], lattice.shape).astype(np.float32)
    where = place(scanner(gantry_tilt=15.0), lattice, (1.0, 1.0, 1.0), _NoBend())
    image = sample(height, where, MATRIX, -999)[len(where.z_mm) // 2]
    slope = (image[80, 64] - image[50, 64]) / (30 * 240 / MATRIX)
    assert slope == pytest.approx(-np.sin(np.deg2rad(15)), abs=0.01)


class _NoBend:
    """A generator of zeros, so that the placement is exact."""

    def normal(self, mean, sd, shape):
        return np.zeros(shape)
