"""The detector of the MIL paper, against scikit-image and a plain search."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.morphology import h_maxima
from skimage.transform import resize

from ich_study.errors import ParameterError
from ich_study.methods.mil.peaks import (
    PUBLISHED,
    Centroids,
    Detector,
    detection_steps,
    upsampled,
)


def likelihood(seed, side=48, smooth=2.0, steps=None):
    """A smooth random map; with `steps` it has plateaus and ties."""
    values = (
        ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), smooth) * 5
    )
    return (values if steps is None else np.round(values * steps) / steps).astype(np.float32)


def scikit_image(values, detector):
    points = peak_local_max(
        values,
        min_distance=detector.distance,
        threshold_abs=detector.threshold,
        exclude_border=detector.blind_border,
    )
    if detector.prominence > 0:
        points = points[h_maxima(values, detector.prominence)[tuple(points.T)] != 0]
    return points


# h is 0 or well above the rounding of the map's values, below which scikit-image's own result is
# rounding.
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.just(0.0) | st.floats(1e-6, 2),
    st.floats(-1, 2),
    st.integers(1, 25),
    st.booleans(),
    st.sampled_from([0.0, 1.0, 2.5]),
    st.sampled_from([None, 2, 5]),
)
def test_the_order_of_the_code_equals_scikit_image(
    seed, h, threshold, distance, blind, smooth, steps
):
    values = likelihood(seed, smooth=smooth, steps=steps)
    detector = Detector(h, threshold, distance, "authors", blind)
    np.testing.assert_array_equal(detector.find(values).points, scikit_image(values, detector))


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_the_text_is_maxima_then_h_then_threshold_then_distance(seed):
    values, h, threshold, distance = likelihood(seed), 0.3, 0.1, 9
    maxima = np.argwhere(
        (values == ndimage.maximum_filter(values, 3))
        & (h_maxima(values, h) != 0)
        & (values > threshold)
    )
    kept = []
    for point in maxima[np.argsort(-values[tuple(maxima.T)], kind="stable")]:
        if all(np.abs(point - other).max() >= distance for other in kept):
            kept.append(point)
    found = Detector(h, threshold, distance, "printed", False).find(values)
    np.testing.assert_array_equal(found.points, np.array(kept).reshape(-1, 2))
    np.testing.assert_array_equal(found.values, values[tuple(found.points.T)])


@pytest.mark.parametrize("shape", [(32, 32), (5, 7), (1, 4)])
def test_upsampling_equals_scikit_images_resize(shape):
    maps = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    ours = upsampled(maps, 64)
    for mine, values in zip(ours, maps):
        np.testing.assert_allclose(mine, resize(values, (64, 64)), atol=1e-5)


def test_the_blind_border_loses_what_lies_in_it():
    values = np.zeros((64, 64), np.float32)
    values[5, 30], values[30, 30] = 2.0, 1.0
    detector = Detector(0.1, 0.5, 10)
    assert detector.find(values).points.tolist() == [[30, 30]]
    assert replace(detector, blind_border=False).find(values).points.tolist() == [
        [5, 30],
        [30, 30],
    ]


def test_a_higher_threshold_keeps_the_highest():
    for order in ("printed", "authors"):
        detector = Detector(0.2, -np.inf, 5, order, False)
        everything = detector.find(likelihood(3))
        for threshold in (-0.5, 0.0, 0.4, 9.0):
            np.testing.assert_array_equal(
                everything.points[everything.values > threshold],
                replace(detector, threshold=threshold).find(likelihood(3)).points,
            )


def test_a_flat_map_has_no_peak():
    flat = np.full((16, 16), 3.0, np.float32)
    for order in ("printed", "authors"):
        assert len(Detector(0.0, 0.0, 3, order).find(flat).points) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"prominence": -1.0},
        {"distance": 0},
        {"distance": 2.5},
        {"threshold": np.nan},
        {"order": "code"},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ParameterError, match="detector"):
        Detector(**{"prominence": 0.1, "threshold": 0.1, "distance": 3, **wrong})


def test_centroids_are_scipys():
    values = likelihood(5)
    regions, count = ndimage.label(values > 0.5, np.ones((3, 3)))
    expected = np.rint(ndimage.center_of_mass(values > 0.5, regions, range(1, count + 1)))
    heights = ndimage.maximum(values, regions, range(1, count + 1))
    found = Centroids(0.5).find(values)
    assert sorted(map(tuple, found.points)) == sorted(map(tuple, expected.astype(int)))
    np.testing.assert_allclose(found.values, np.sort(heights)[::-1])
    assert len(Centroids(99.0).find(values).points) == 0


@pytest.mark.parametrize("blind", [False, True])
def test_the_steps_are_in_the_order_of_the_detector_and_lose_points_one_by_one(blind):
    orders = {"printed": ["h_maxima", "distance"], "authors": ["distance", "h_maxima"]}
    for order, last in orders.items():
        steps = detection_steps(likelihood(4), Detector(1.0, -1.0, 6, order, blind))
        assert list(steps) == ["maxima", *(["border"] if blind else []), *last]
        kept = [set(map(tuple, points)) for points in steps.values()]
        assert all(after <= before for before, after in pairwise(kept))
        assert len(kept[-1]) < len(kept[0])


@pytest.mark.parametrize("order", ["printed", "authors"])
def test_a_height_of_exactly_t_is_no_peak(order):
    values = np.zeros((20, 20), np.float32)
    values[10, 10] = 0.5
    at, below = (
        Detector(0.0, threshold, 2, order, False).find(values) for threshold in (0.5, 0.499)
    )
    assert len(at.points) == 0 and below.points.tolist() == [[10, 10]]
    assert len(Centroids(0.5).find(values).points) == 0


def test_of_two_points_exactly_d_apart_both_stay_and_of_two_closer_the_higher():
    values = np.zeros((20, 20), np.float32)
    values[5, 5], values[5, 9] = 1.0, 2.0
    four, five = (
        Detector(0.0, 0.1, d, "printed", False).find(values).points.tolist() for d in (4, 5)
    )
    assert four == [[5, 9], [5, 5]] and five == [[5, 9]]


@pytest.mark.parametrize("order", ["printed", "authors"])
def test_the_blind_border_is_d_pixels_wide(order):
    values = np.zeros((20, 20), np.float32)
    values[3, 5], values[4, 14], values[15, 5], values[16, 14] = 1.0, 2.0, 3.0, 4.0
    found = Detector(0.0, 0.1, 4, order, True).find(values)
    assert found.points.tolist() == [[15, 5], [4, 14]]


def test_the_published_parameters_are_those_of_the_paper():
    assert PUBLISHED["max_pooling"] == Detector(0.024203, 0.75963, 10, "authors", True)
    assert PUBLISHED["attention"] == Detector(0.00378, 0.02417, 58, "authors", True)


def test_h_leaves_out_what_does_not_rise_by_h_above_its_saddle():
    values = np.zeros((9, 30), np.float32)
    values[4, 5:25] = 1.0
    values[4, 8], values[4, 20] = 2.0, 1.3
    low, high = (
        Detector(h, 0.1, 1, "printed", False).find(values).points.tolist() for h in (0.2, 0.4)
    )
    assert low == [[4, 8], [4, 20]] and high == [[4, 8]]
