"""Otsu's cut against scikit-image; classes never present, bad heat."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from skimage.filters import threshold_otsu

from ich_study.errors import MapError, StudyError
from ich_study.evaluate.mask_free import otsu_cut, otsu_thresholds, value_counts
from ich_study.methods.lse_unet.joint_histogram import PAPER_GRID


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 200))
def test_cut_is_scikit_images(seed, pixels):
    rng = np.random.default_rng(seed)
    values = np.concatenate(
        [[3, 200], rng.integers(0, 60, pixels), rng.integers(100, 256, pixels // 2)]
    )
    counts = np.bincount(values, minlength=256)
    assert between(values, otsu_cut(counts)) == pytest.approx(
        between(values, threshold_otsu(hist=(counts, np.arange(256))))
    )


def between(values, cut):
    high = values > cut
    return high.mean() * (~high).mean() * (values[high].mean() - values[~high].mean()) ** 2


def two_level_heat():
    heatmaps = np.full((3, 2, 8, 8), 20, np.uint8)
    heatmaps[:2, 0, :2] = 210
    heatmaps[2, 0] = 255
    return heatmaps, np.array([[True, False], [True, False], [False, False]])


def test_only_present_slices_are_read():
    counts = value_counts(*two_level_heat())
    assert counts[0, 255] == 0 and counts[0].sum() == 128 and not counts[1].any()
    found = otsu_thresholds(("a", "b"), counts, PAPER_GRID, unseen=125)
    assert 20 <= found["a"].value < 210 and found["a"].source == "labels"
    assert found["a"].value in PAPER_GRID
    assert found["b"].value == 125 and found["b"].source == "none" and "never" in found["b"].rule


def test_bad_input_is_refused():
    with pytest.raises(MapError, match="NaN"):
        value_counts(np.full((1, 2, 3, 3), np.nan, np.float32), np.ones((1, 2), bool))
    counts = np.zeros((2, 256))
    counts[:, 7] = 5
    with pytest.raises(StudyError, match=r"'a'.*two"):
        otsu_thresholds(("a", "b"), counts, PAPER_GRID, unseen=125)
