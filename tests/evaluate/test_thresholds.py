"""Thresholds against a search over all cuts and scikit-learn's ROC; sources, ties, absent
classes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from sklearn.metrics import f1_score, roc_curve

from ich_study.errors import ParameterError, StudyError
from ich_study.evaluate.thresholds import (
    Threshold,
    best_f1_threshold,
    counts_over_grid,
    fixed_threshold,
    mask_threshold,
    threshold_frame,
    youden_threshold,
    youden_thresholds,
)
from ich_study.metrics.overlap import dice, overlap_counts

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
    f1 = best_f1_threshold(truth, scores)
    assert f1.objective == pytest.approx(max(f1_score(truth, scores > cut) for cut in cuts))
    assert f1_score(truth, scores > f1.value) == pytest.approx(f1.objective)


def test_ties_take_the_highest_threshold():
    truth = np.array([1, 0, 1, 0])
    assert youden_threshold(truth, np.array([4.0, 3.0, 2.0, 1.0])).value == 3.5


def test_all_classes_at_once_with_missing_labels():
    rng = np.random.default_rng(0)
    labels = pd.DataFrame(
        {"IPH": [True, False, None] * 20, "EDH": [False, True, True] * 20}, dtype="boolean"
    )
    scores = pd.DataFrame(rng.normal(size=(60, 2)), columns=["IPH", "EDH"])
    found = youden_thresholds(labels, scores, ["IPH", "EDH"])
    known = labels["IPH"].notna().to_numpy()
    assert found["IPH"] == youden_threshold(
        labels["IPH"][known].to_numpy(bool), scores["IPH"][known].to_numpy(), "IPH"
    )
    frame = threshold_frame(found)
    assert frame["class"].tolist() == ["IPH", "EDH"] and set(frame["threshold_source"]) == {
        "labels"
    }


@pytest.mark.parametrize(
    "column, message",
    [
        ([True, True, True], "'EDH': 3 positive and 0 negative"),
        ([False, False, None], "'EDH': 0 positive and 2 negative"),
        ([None] * 3, "'EDH': no slice"),
    ],
)
def test_absent_class_is_named(column, message):
    labels = pd.DataFrame({"EDH": pd.array(column, dtype="boolean")})
    with pytest.raises(StudyError, match=message):
        youden_thresholds(labels, pd.DataFrame({"EDH": [0.1, 0.2, 0.3]}), ["EDH"])


def test_other_errors_are_named():
    with pytest.raises(StudyError, match="'SDH': all 3 scores equal"):
        youden_threshold([0, 1, 1], [2, 2, 2], "SDH")
    frame = pd.DataFrame({"EDH": [0, 1]})
    with pytest.raises(StudyError, match="'SAH' has no column"):
        youden_thresholds(frame, frame, ["SAH"])
    with pytest.raises(StudyError, match="2 rows of labels, 1"):
        youden_thresholds(frame, frame[:1], ["EDH"])
    with pytest.raises(StudyError, match="threshold source"):
        Threshold(0.5, "guess", "fixed")
    with pytest.raises(StudyError, match="finite"):
        fixed_threshold(np.inf)
    assert fixed_threshold(0.5) == fixed_threshold(0.5, source="none") or np.isnan(
        fixed_threshold(0.5).objective
    )


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
    with pytest.raises(StudyError, match="bool truth"):
        counts_over_grid(np.where(truth, np.nan, 0), truth, [0.5])
    empty = counts_over_grid(heatmaps, np.zeros_like(truth), [0.5])
    with pytest.raises(StudyError, match="no slice has truth"):
        mask_threshold(empty, [0.5], "masks-test")
    with pytest.raises(ParameterError, match="unit='scan'"):
        mask_threshold(empty, [0.5], "masks-test", unit="scan")
