"""Volumes and RVD against plain formulas."""

import numpy as np
import pytest

from ich_study.errors import StudyError
from ich_study.metrics.volume import relative_volume_difference, volume_ml


def test_volume_of_a_known_block():
    mask = np.zeros((4, 20, 20), bool)
    mask[1:3, :10, :10] = True
    voxel_ml = 5.0 * 0.5 * 0.5 / 1000
    assert volume_ml(mask, np.full(4, voxel_ml)) == pytest.approx(2 * 100 * voxel_ml)
    assert volume_ml(mask, np.array([1.0, 2.0, 7.0, 1.0]) * 0.5 * 0.5 / 1000) == pytest.approx(
        100 * 9 * 0.25 / 1000
    )


def test_volume_edge_cases():
    empty = np.zeros((2, 3, 3), bool)
    assert volume_ml(empty, np.ones(2)) == 0
    assert np.isnan(volume_ml(~empty, np.full(2, np.nan)))
    with pytest.raises(StudyError, match="positive"):
        volume_ml(empty, np.zeros(2))


def test_relative_volume_difference():
    np.testing.assert_allclose(
        relative_volume_difference([5, 15, 3, 0], [10, 10, 0, 10]), [0.5, 0.5, np.nan, 1]
    )
    assert relative_volume_difference(4, 8) == 0.5
