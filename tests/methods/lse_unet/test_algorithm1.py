"""Algorithm 1 against the paper's pseudocode as written, slice by slice; ties, absent classes, bad
heat."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ich_study.errors import MapError, ParameterError, StudyError
from ich_study.methods.lse_unet.algorithm1 import (
    heat_levels,
    label_maps,
    present_classes,
)


def as_printed(heatmaps, present, thresholds):
    """Section 3.3, line by line."""
    maps = []
    for heat, here in zip(heatmaps, present):
        m = np.zeros((len(heat) + 1, *heat.shape[1:]))
        for i in range(len(heat)):
            if here[i]:
                m[i + 1] = np.where(heat[i] > thresholds[i], heat[i], 0)
        maps.append(np.argmax(m, 0))
    return np.array(maps)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.uint8, np.float32, np.float64]),
    st.integers(2, 255),
)
def test_label_maps_are_the_pseudocode(seed, dtype, values):
    rng = np.random.default_rng(seed)
    heatmaps = rng.integers(0, values + 1, (3, 5, 6, 7)).astype(dtype)
    present, thresholds = rng.random((3, 5)) < 0.6, rng.integers(0, values + 1, 5)
    expected = as_printed(heatmaps, present, thresholds)
    found = label_maps(heatmaps, present, thresholds)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_ties_empty_heat_and_absent_classes():
    heatmaps = np.zeros((1, 5, 1, 4), np.uint8)
    heatmaps[0, :, 0] = [
        [90, 0, 75, 0],
        [90, 0, 0, 200],
        [0, 0, 80, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 255],
    ]
    present = np.array([[True, True, True, True, False]])
    thresholds = [75] * 5
    # Equal heat: the earlier subtype. At the threshold itself: not passed. Absent: not read.
    np.testing.assert_array_equal(label_maps(heatmaps, present, thresholds)[0, 0], [1, 0, 3, 2])
    assert not label_maps(heatmaps, np.zeros((1, 5), bool), thresholds).any()
    zero = label_maps(np.zeros((1, 5, 2, 2), np.float32), np.ones((1, 5), bool), np.zeros(5))
    assert not zero.any(), "no heat passes no threshold, not even 0"


def test_fractional_thresholds_on_whole_heat():
    heatmaps = np.array([74, 75, 76], np.uint8).reshape(1, 1, 1, 3)
    for limit, expected in ((74.5, [0, 1, 1]), (75, [0, 0, 1]), (255, [0, 0, 0]), (300, [0, 0, 0])):
        np.testing.assert_array_equal(
            label_maps(heatmaps, np.ones((1, 1), bool), [limit])[0, 0], expected
        )


def test_heat_levels_cut_fractions_off():
    np.testing.assert_array_equal(
        heat_levels(np.array([0, 0.5, 0.999, 1.0], np.float32)), [0, 127, 254, 255]
    )
    for bad in ([0.1, np.nan], [0.0, 1.2], [-0.1, 1.0]):
        with pytest.raises(MapError, match=r"\[0, 1\]"):
            heat_levels(np.array(bad))


def test_a_class_is_present_above_its_own_threshold():
    scores, cuts = np.array([[1.0, -3.0], [0.0, 2.0], [5.0, -2.0]]), [0.0, -2.0]
    # The second slice equals the first class's threshold, the third the second's.
    np.testing.assert_array_equal(present_classes(scores, cuts), [[1, 0], [0, 1], [1, 0]])
    with pytest.raises(StudyError, match="finite"):
        present_classes(np.full((2, 2), np.nan), cuts)
    with pytest.raises(StudyError, match="one threshold per class"):
        present_classes(scores, cuts[:1])


def test_bad_input_is_refused():
    heatmaps, present = np.zeros((2, 5, 4, 4), np.float32), np.ones((2, 5), bool)
    broken = heatmaps.copy()
    broken[1, 2, 0, 0] = np.nan
    with pytest.raises(MapError, match="NaN"):
        label_maps(broken, present, np.zeros(5))
    with pytest.raises(MapError, match="expected"):
        label_maps(heatmaps, present[:, :4], np.zeros(5))
    with pytest.raises(MapError, match="bool"):
        label_maps(heatmaps, np.ones((2, 5)), np.zeros(5))
    for bad in ([1, 2, 3], [-1.0] * 5, [np.nan] * 5):
        with pytest.raises(ParameterError, match="5 numbers >= 0"):
            label_maps(heatmaps, present, bad)
    assert label_maps(heatmaps[:0], present[:0], np.zeros(5)).shape == (0, 4, 4)
