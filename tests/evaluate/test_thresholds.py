"""Thresholds against a search over all cuts and scikit-learn's ROC; sources, ties, absent
classes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from sklearn.metrics import roc_curve

from ich_study.errors import ParameterError, StudyError
from ich_study.evaluate.thresholds import (
    counts_over_grid,
    fixed_threshold,
    mask_threshold,
    threshold_frame,
    youden_threshold,
)
from ich_study.metrics.overlap import dice, overlap_counts

BOTH = np.array([False, True])
items = st.lists(st.tuples(st.booleans(), st.integers(-6, 6)), min_size=2, max_size=40)


@settings(max_examples=80, deadline=None)
@given(items)
def test_youden_is_the_best_of_scikit_learns_roc(pairs):
    truth, scores = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs], float)
    assume(truth.any() and not truth.all() and np.ptp(scores) > 0)
    found = youden_threshold(truth, scores)
    j = lambda t: (scores > t)[truth].mean() - (scores > t)[~truth].mean()  # noqa: E731
    distinct = np.unique(scores)
    cuts = (distinct[1:] + distinct[:-1]) / 2
    values = np.array([j(cut) for cut in cuts])
    assert found.objective == pytest.approx(values.max()) and j(found.value) == pytest.approx(
        values.max()
    )
    assert found.value == cuts[np.isclose(values, values.max(), atol=1e-12)].max()
    np.testing.assert_array_equal(scores > found.value, scores >= found.value)
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert max(found.objective, 0) == pytest.approx((tpr - fpr).max())


def test_ties_take_the_highest_threshold():
    truth = np.array([True, False, True, False])
    assert youden_threshold(truth, np.array([4.0, 3.0, 2.0, 1.0])).value == 3.5


def test_a_table_of_thresholds_says_where_each_came_from():
    found = {"IPH": youden_threshold(BOTH, np.array([0.1, 0.9])), "EDH": fixed_threshold(0.5)}
    frame = threshold_frame(found)
    assert frame["class"].tolist() == ["IPH", "EDH"]
    assert frame["threshold_source"].tolist() == ["labels", "none"]
    assert frame["rule"].tolist() == ["youden", "fixed"]


def test_other_errors_are_named():
    with pytest.raises(StudyError, match="finite"):
        fixed_threshold(np.inf)
    fixed = fixed_threshold(0.5)
    assert fixed.source == "none" and np.isnan(fixed.objective)


def maps(seed=0):
    rng = np.random.default_rng(seed)
    truth = np.zeros((6, 20, 20), bool)
    truth[:4, 5:12, 6:14] = True
    return np.round(np.clip(0.5 * truth + 0.25 * rng.normal(size=truth.shape), 0, 1), 2), truth


def test_grid_counts_are_plain_thresholding():
    heatmaps, truth = maps()
    grid = np.arange(0.0, 1.01, 0.05)
    counts = counts_over_grid(heatmaps, truth, grid)
    for column, threshold in enumerate(grid):
        plain = overlap_counts(heatmaps >= threshold, truth)
        for name in ("tp", "fp", "fn"):
            np.testing.assert_array_equal(getattr(counts, name)[:, column], getattr(plain, name))


def test_mask_threshold_units_and_stops():
    heatmaps, truth = maps(1)
    grid = np.arange(0.01, 1, 0.02)
    counts = counts_over_grid(heatmaps, truth, grid)
    micro = dice(counts.sum(0))
    best = mask_threshold(counts, grid, "masks-validation")
    assert (
        best.value == grid[micro.argmax()]
        and best.objective == micro.max()
        and best.source == "masks-validation"
    )
    per_slice = np.nanmean(dice(counts), 0)
    assert (
        mask_threshold(counts, grid, "masks-test", unit="slice").value == grid[per_slice.argmax()]
    )
    first = mask_threshold(counts, grid, "masks-test", stop="first")
    index = int(np.flatnonzero(grid == first.value)[0])
    assert (
        (np.diff(micro)[:index] > 0).all()
        and micro[index + 1] <= micro[index]
        and first.objective <= best.objective
    )


def test_mask_threshold_errors():
    heatmaps, truth = maps()
    with pytest.raises(ParameterError, match="ascending"):
        counts_over_grid(heatmaps, truth, [0.5, 0.1])
    empty = counts_over_grid(heatmaps, np.zeros_like(truth), [0.5])
    with pytest.raises(StudyError, match="no slice has truth"):
        mask_threshold(empty, [0.5], "masks-test")
    with pytest.raises(ParameterError, match="unit is 'scan'"):
        mask_threshold(empty, [0.5], "masks-test", unit="scan")


def test_youden_finds_a_threshold_between_neighbouring_numbers():
    """Nothing lies between 1 and the next number, whose midpoint rounds to the lower one."""
    for lower in (1.0, np.nextafter(1.0, 2), -1e300):
        higher = np.nextafter(lower, np.inf)
        found = youden_threshold(BOTH, np.array([lower, higher]))
        assert lower < found.value <= higher and found.objective == 1
    assert youden_threshold(BOTH, np.array([-1.7e308, 1.7e308])).value == 0
