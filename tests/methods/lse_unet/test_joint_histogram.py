"""All joint settings against Algorithm 1 one setting after the other: equal to the pixel, ties and
absent classes included."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ich_study.errors import MapError, StudyError
from ich_study.methods.lse_unet.algorithm1 import label_maps
from ich_study.methods.lse_unet.joint_histogram import PAPER_GRID, JointHistogram
from ich_study.metrics.overlap import Counts
from tests.methods.lse_unet.joint_oracle import one_by_one, synthetic
from tests.metrics.label_counts import label_counts


def as_array(counts: Counts) -> np.ndarray:
    return np.array([counts.tp, counts.fp, counts.fn])


def filled(heatmaps, present, truth, names, grid, groups) -> JointHistogram:
    histogram, groups = JointHistogram(names, grid), np.asarray(groups)
    for group in np.unique(groups):
        own = groups == group
        histogram.add(heatmaps[own], present[own], truth[own], str(group))
    return histogram


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True),
    st.integers(1, 14),
    st.sampled_from([np.uint8, np.float32]),
)
def test_every_setting_equals_one_by_one(seed, classes, grid, top, dtype):
    rng, grid = np.random.default_rng(seed), sorted(grid)
    heatmaps, present, truth = synthetic(rng, 4, classes, top=top, dtype=dtype)
    names = [f"class {number}" for number in range(classes)]
    histogram = filled(heatmaps, present, truth, names, grid, ["b", "a", "b", "c"])
    np.testing.assert_array_equal(
        as_array(histogram.all_settings()), one_by_one(heatmaps, present, truth, grid)
    )
    part = [1, 3]
    expected = one_by_one(heatmaps[part], present[part], truth[part], grid)
    np.testing.assert_array_equal(as_array(histogram.all_settings(["a", "c"])), expected)
    setting = histogram.settings()[rng.integers(len(grid) ** classes)]
    labels = label_maps(heatmaps, present, setting)
    direct = label_counts(labels, truth, classes + 1).by_group(np.array(["b", "a", "b", "c"]))
    np.testing.assert_array_equal(as_array(histogram.at(setting)), as_array(direct))
    np.testing.assert_array_equal(histogram.truth(), direct.tp + direct.fn)
    np.testing.assert_array_equal(histogram.truth(["c"]), (direct.tp + direct.fn)[2:])


def test_the_papers_search_equals_all_32768_settings():
    heatmaps, present, truth = synthetic(np.random.default_rng(0), 3, 5, size=5)
    present[0] = True
    histogram = JointHistogram()
    histogram.add(heatmaps, present, truth, "scan")
    assert len(histogram.settings()) == 8**5 == 32768
    np.testing.assert_array_equal(
        as_array(histogram.all_settings()), one_by_one(heatmaps, present, truth, PAPER_GRID)
    )


def test_values_at_the_thresholds_and_all_classes_equal():
    # Every threshold, its neighbours, and the same heat in all classes: only the first class may
    # win.
    values = np.array([v + d for v in PAPER_GRID for d in (-1, 0, 1)] + [0, 255], np.uint8)
    heatmaps = np.broadcast_to(values, (1, 3, 1, len(values))).copy()
    truth = np.ones((1, 1, len(values)), np.uint8)
    histogram = JointHistogram(("a", "b", "c"))
    histogram.add(heatmaps, np.ones((1, 3), bool), truth, "scan")
    counts = histogram.all_settings()
    np.testing.assert_array_equal(
        as_array(counts), one_by_one(heatmaps, np.ones((1, 3), bool), truth, PAPER_GRID)
    )
    same = (histogram.settings() == 125).all(1)
    np.testing.assert_array_equal(counts.tp[same][0], [0, (values > 125).sum(), 0, 0])


def test_slices_without_a_class_or_without_heat_are_background():
    histogram = JointHistogram(("a", "b"), (25, 50))
    truth = np.zeros((1, 4, 4), np.uint8)
    truth[0, 0, :3] = 2
    for group, heat, here in (("absent", 200, False), ("cold", 25, True)):
        histogram.add(np.full((1, 2, 4, 4), heat, np.uint8), np.full((1, 2), here), truth, group)
    counts = histogram.all_settings()
    for part, expected in ((counts.tp, [26, 0, 0]), (counts.fp, [6, 0, 0]), (counts.fn, [0, 0, 6])):
        np.testing.assert_array_equal(part, np.tile(expected, (4, 1)))


def test_bad_input_is_refused():
    histogram = JointHistogram(("a", "b"), (25, 50))
    heatmaps, present, truth = (
        np.zeros((1, 2, 3, 3), np.float32),
        np.ones((1, 2), bool),
        np.zeros((1, 3, 3), np.uint8),
    )
    with pytest.raises(MapError, match="NaN"):
        histogram.add(heatmaps * np.nan, present, truth, "x")
    histogram.add(heatmaps, present, truth, "x")
    with pytest.raises(StudyError, match="counted already"):
        histogram.add(heatmaps, present, truth, "x")
    with pytest.raises(ValueError, match="not in tuple"):
        histogram.at([25, 60])
