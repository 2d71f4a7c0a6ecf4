"""Surface distances against MONAI, with anisotropic spacing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy.spatial.distance import directed_hausdorff
from skimage.segmentation import find_boundaries

from ich_study.ct.planes import PixelGrid
from ich_study.errors import StudyError
from ich_study.metrics.surface import surface_measures

pytestmark = pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges")
SPACING = (5.0, 0.5, 0.7)


def blobs(seed: int, shape=(6, 24, 26)):
    rng = np.random.default_rng(seed)
    grid = np.indices(shape).astype(float)
    balls = []
    for _ in range(2):
        centre = np.array(shape) * rng.uniform(0.3, 0.7, 3)
        balls.append(
            sum(((grid[axis] - centre[axis]) / (shape[axis] * 0.28)) ** 2 for axis in range(3)) < 1
        )
    return balls


def hausdorff(prediction, truth, spacing):
    return surface_measures(prediction, truth, PixelGrid.even(len(truth), spacing), 1.0)[0]


def surface_dice(prediction, truth, spacing, tolerance):
    grid = PixelGrid.even(len(truth), spacing)
    return surface_measures(prediction, truth, grid, tolerance)[1]


def one_hot(mask):
    return torch.tensor(mask)[None, None].float()


@pytest.mark.parametrize("seed", range(3))
def test_hausdorff_is_monais(seed):
    prediction, truth = blobs(seed)
    oracle = compute_hausdorff_distance(
        one_hot(prediction), one_hot(truth), include_background=True, spacing=list(SPACING)
    )
    assert hausdorff(prediction, truth, SPACING) == pytest.approx(float(oracle), rel=1e-5)


def test_a_voxel_at_the_tolerance_is_within_it():
    truth = np.zeros((1, 1, 9), bool)
    truth[0, 0, 2] = True
    moved = np.roll(truth, 2, axis=2)
    assert surface_dice(moved, truth, (5.0, 0.5, 0.5), 1.0) == 1
    assert surface_dice(moved, truth, (5.0, 0.5, 0.5), 0.99) == 0


@pytest.mark.parametrize("tolerance", [0.4, 1.5, 6.0])
def test_surface_dice_is_monais(tolerance):
    prediction, truth = blobs(5)
    oracle = compute_surface_dice(
        one_hot(prediction),
        one_hot(truth),
        [tolerance],
        include_background=True,
        spacing=list(SPACING),
    )
    assert surface_dice(prediction, truth, SPACING, tolerance) == pytest.approx(
        float(oracle), rel=1e-5
    )


def test_hausdorff_is_scipys_over_the_points_of_scikit_images_boundaries():
    prediction, truth = blobs(7)
    points = [
        np.argwhere(find_boundaries(mask, connectivity=1, mode="inner")) * SPACING
        for mask in (prediction, truth)
    ]
    oracle = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
    assert oracle > 0
    assert hausdorff(prediction, truth, SPACING) == pytest.approx(oracle)


def test_each_slice_lies_where_it_lies():
    truth = np.zeros((3, 1, 9), bool)
    truth[0, 0, 2] = True
    moved = np.zeros_like(truth)
    moved[2, 0, 2] = True
    first_mm = np.array([[0, 0, 0], [2, 0, 1], [9, 0, 4]], float)
    grid = PixelGrid(first_mm, np.ones(3), (0.5, 0.5))
    assert surface_measures(moved, truth, grid, 1.0)[0] == pytest.approx(np.hypot(9, 4))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 8))
def test_symmetry_bounds_and_shift(seed, tolerance):
    prediction, truth = blobs(seed)
    assert hausdorff(prediction, truth, SPACING) == pytest.approx(
        hausdorff(truth, prediction, SPACING)
    )
    score = surface_dice(prediction, truth, SPACING, tolerance)
    assert 0 <= score <= 1
    assert surface_dice(truth, prediction, SPACING, tolerance) == pytest.approx(score)
    assert surface_dice(truth, truth, SPACING, 0) == 1 and hausdorff(truth, truth, SPACING) == 0
    doubled = tuple(2 * side for side in SPACING)
    assert hausdorff(prediction, truth, doubled) == pytest.approx(
        2 * hausdorff(prediction, truth, SPACING)
    )


def test_mask_at_the_border_has_a_surface():
    full = np.ones((3, 4, 5), bool)
    assert surface_dice(full, full, SPACING, 0) == 1


def test_empty_cases_and_errors():
    prediction, truth = blobs(0)
    empty = np.zeros_like(truth)
    assert np.isnan(hausdorff(empty, truth, SPACING)) and np.isnan(hausdorff(empty, empty, SPACING))
    assert surface_dice(prediction, empty, SPACING, 1) == 0 and np.isnan(
        surface_dice(empty, empty, SPACING, 1)
    )
    with pytest.raises(StudyError, match="tolerance"):
        surface_dice(prediction, truth, SPACING, -1)
