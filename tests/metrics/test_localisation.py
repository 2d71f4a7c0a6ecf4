"""Pointing game and mass inside the truth against plain loops, and their undefined cases."""

import numpy as np
import pytest
from scipy import ndimage

from ich_study.errors import MapError, StudyError
from ich_study.metrics.localisation import mass_inside, pointing_game


def scene(seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.random((12, 20, 24)),
        ndimage.gaussian_filter(rng.random((12, 20, 24)), (0, 3, 3)) > 0.52,
    )


def test_pointing_game_is_a_plain_loop():
    maps, truth = scene()
    truth[3] = False
    oracle = [
        float(t[np.unravel_index(m.argmax(), m.shape)]) if t.any() else np.nan
        for m, t in zip(maps, truth)
    ]
    assert 0 < np.nanmean(oracle) < 1
    np.testing.assert_array_equal(pointing_game(maps, truth), oracle)


def test_tolerance_widens_by_a_disc():
    maps, truth = np.zeros((1, 21, 21)), np.zeros((1, 21, 21), bool)
    truth[0, 10, 10] = True
    maps[0, 10, 13] = 1
    assert pointing_game(maps, truth, 2) == [0] and pointing_game(maps, truth, 3) == [1]


def test_flat_map_scores_by_chance():
    truth = np.zeros((1, 10, 10), bool)
    truth[0, :2] = True
    assert pointing_game(np.ones((1, 10, 10)), truth)[0] == pytest.approx(0.2)


def test_mass_inside():
    maps, truth = scene(1)
    np.testing.assert_allclose(
        mass_inside(maps, truth), [m[t].sum() / m.sum() for m, t in zip(maps, truth)]
    )
    np.testing.assert_allclose(mass_inside(7 * maps, truth), mass_inside(maps, truth))
    np.testing.assert_allclose(mass_inside(maps, truth) + mass_inside(maps, ~truth), 1)
    maps[0], truth[1] = 0, False
    assert np.isnan(mass_inside(maps, truth)[:2]).all()


def test_no_slices_and_errors():
    assert pointing_game(np.zeros((0, 4, 4)), np.zeros((0, 4, 4), bool)).shape == (0,)
    maps, truth = scene()
    with pytest.raises(StudyError, match="tolerance"):
        pointing_game(maps, truth, -1)
    maps[0, 0, 0] = np.nan
    with pytest.raises(MapError, match="NaN"):
        pointing_game(maps, truth)


def test_mass_of_a_negative_map_is_refused():
    with pytest.raises(MapError, match="negative"):
        mass_inside(np.full((1, 2, 2), -1.0), np.ones((1, 2, 2), bool))
