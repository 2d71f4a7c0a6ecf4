"""Where slices lie in the head, and what a field of the head is there."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.placement import place, sample, slice_positions
from ich_study.phantom.resample import linear_at
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


@pytest.mark.parametrize(
    "lesion",
    [(slice(20, 23), slice(30, 34), slice(10, 12)), (slice(5, 60), slice(2, 56), slice(3, 42))],
)
def test_passing_over_what_is_empty_changes_no_sample(lesion):
    lattice = Lattice.spanning((-90, -108, -86), (94, 124, 86), (3, 4, 4))
    field = np.zeros(lattice.shape, np.float32)
    field[lesion] = np.random.default_rng(2).random(field[lesion].shape)
    where = place(scanner(), lattice, (0.95, 0.9, 1.0), np.random.default_rng(3))
    found = sample(field, where, MATRIX, 0.0)[:, where.rows, where.columns]
    fine = linear_at(field, where.indices, 0.0).reshape(
        len(where.z_mm), where.sub_slices, *found.shape[1:]
    )
    assert found.any()
    np.testing.assert_array_equal(found, fine.mean(1))


class _NoBend:
    """A generator of zeros, so that the placement is exact."""

    def normal(self, mean, sd, shape):
        return np.zeros(shape)
