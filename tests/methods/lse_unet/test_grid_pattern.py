import numpy as np
import pytest

from ich_study.errors import MapError
from ich_study.methods.lse_unet.grid_pattern import grid_pattern

RNG = np.random.default_rng(0)
ROWS, COLUMNS = np.mgrid[:64, :64]
HILL = 5 * np.exp(-((ROWS - 30) ** 2 + (COLUMNS - 20) ** 2) / (2 * 9**2))


def test_a_repeated_tile_is_all_pattern_and_noise_is_none():
    tile = np.tile(RNG.normal(size=(8, 8)), (8, 8))
    noise = RNG.normal(size=(200, 64, 64))
    assert grid_pattern(tile) == pytest.approx(1)
    # clipped at 0, so its mean lies a little above it
    assert grid_pattern(noise).mean() < 0.01


def test_a_smooth_hill_has_little_and_a_checkerboard_on_it_shows():
    assert grid_pattern(HILL) < 0.1
    checkerboard = 0.5 * (-1.0) ** (ROWS + COLUMNS)
    assert grid_pattern(HILL + checkerboard) > 0.8 > 0.1 > grid_pattern(HILL)


def test_it_grows_with_the_pattern_and_does_not_depend_on_scale_or_offset():
    tile, noise = np.tile(RNG.normal(size=(8, 8)), (8, 8)), RNG.normal(size=(64, 64))
    values = [float(grid_pattern(noise + strength * tile)) for strength in (0, 0.5, 1, 2, 8)]
    assert values == sorted(values) and values[-1] > 0.95
    # energies of equal size: half of the fine structure repeats
    assert values[2] == pytest.approx(0.5, abs=0.06)
    assert np.isclose(grid_pattern(3 * (noise + tile) - 100), grid_pattern(noise + tile))


def test_maps_of_a_batch_are_measured_one_by_one():
    maps = RNG.normal(size=(2, 3, 16, 24))
    assert np.allclose(
        grid_pattern(maps), [[grid_pattern(one) for one in several] for several in maps]
    )


def test_a_flat_or_tilted_map_has_no_fine_structure():
    assert grid_pattern(np.full((16, 16), 4.0)) == 0 and grid_pattern(ROWS * 1.0 + 2 * COLUMNS) == 0


@pytest.mark.parametrize(("shape", "value"), [((20, 16), 0.0), ((8, 8), 0.0), ((16, 16), np.nan)])
def test_maps_it_cannot_judge_are_refused(shape, value):
    with pytest.raises(MapError):
        grid_pattern(np.full(shape, value))
