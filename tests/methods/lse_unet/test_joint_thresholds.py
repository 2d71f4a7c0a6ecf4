"""Choice of joint thresholds: the maximum over one-by-one, cross-fitting that never sees its own
patients, intervals."""

import numpy as np
import pytest

from ich_study.errors import ParameterError, StudyError
from ich_study.methods.lse_unet.algorithm1 import label_maps
from ich_study.methods.lse_unet.joint_histogram import JointHistogram
from ich_study.methods.lse_unet.joint_thresholds import (
    CrossFit,
    best_setting,
    cross_fitted,
    patient_folds,
    setting_of,
)
from ich_study.metrics.overlap import Counts, dice
from tests.methods.lse_unet.joint_oracle import one_by_one, synthetic
from tests.metrics.label_counts import label_counts

NAMES, GRID = ("a", "b", "c"), (25, 75, 125, 200)


def scans(seed=0, count=6):
    heatmaps, present, truth = synthetic(np.random.default_rng(seed), 2 * count, 3, size=8)
    histogram = JointHistogram(NAMES, GRID)
    for scan in range(count):
        part = slice(2 * scan, 2 * scan + 2)
        histogram.add(heatmaps[part], present[part], truth[part], f"scan{scan}")
    return heatmaps, present, truth, histogram


def test_best_is_the_best_of_one_by_one():
    heatmaps, present, truth, histogram = scans()
    means = dice(Counts(*one_by_one(heatmaps, present, truth, GRID)))[:, 1:].mean(1)
    chosen = best_setting(histogram, "masks-test")
    assert chosen["a"].objective == pytest.approx(means.max(), abs=1e-15)
    assert tuple(setting_of(chosen, NAMES)) in {
        tuple(row) for row in histogram.settings()[np.isclose(means, means.max(), atol=1e-12)]
    }
    assert {threshold.source for threshold in chosen.values()} == {"masks-test"}


def test_of_equal_settings_a_class_without_truth_keeps_the_highest_threshold():
    histogram = JointHistogram(("a", "b"), GRID)
    heat = np.zeros((1, 2, 4, 4), np.uint8)
    heat[0, 0, 0], heat[0, 1, 3] = 100, 180
    truth = np.zeros((1, 4, 4), np.uint8)
    truth[0, 0] = 1
    histogram.add(heat, np.ones((1, 2), bool), truth, "scan")
    assert setting_of(best_setting(histogram, "masks-test"), ("a", "b")) == [75, 200]


def test_cross_fitting_scores_nobody_at_their_own_thresholds():
    heatmaps, present, truth, histogram = scans(3, 8)
    fit = cross_fitted(histogram, [f"patient{scan // 2}" for scan in range(8)], seed=1)
    counts = fit.counts(histogram)
    assert isinstance(fit, CrossFit) and sorted(set(fit.fold)) == [0, 1]
    assert all(fit.fold[2 * number] == fit.fold[2 * number + 1] for number in range(4)), (
        "a patient's scans stay together"
    )
    slice_fold = np.repeat(fit.fold, 2)
    for number in range(2):
        fitting = slice_fold != number
        means = dice(
            Counts(*one_by_one(heatmaps[fitting], present[fitting], truth[fitting], GRID))
        )[:, 1:].mean(1)
        chosen = setting_of(fit.thresholds[number], NAMES)
        assert means[(histogram.settings() == chosen).all(1)][0] == pytest.approx(means.max())
        held = ~fitting
        labels = label_maps(heatmaps[held], present[held], chosen)
        expected = label_counts(labels, truth[held], 4).sum(0)
        found = counts[fit.fold == number].sum(0)
        for name in ("tp", "fp", "fn"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert {threshold.source for threshold in fit.thresholds[number].values()} == {
            "masks-validation"
        }
    best = best_setting(histogram, "masks-test")["a"].objective
    assert dice(counts.sum(0))[1:].mean() <= best + 1e-12, "the paper's protocol is never below"


def test_folds_spread_every_subtype():
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 5), int)
    for patient, kind in enumerate(rng.permutation(np.repeat(np.arange(5), 8))):
        truth[patient, kind] = 1
    patients = [f"p{number}" for number in range(40)]
    fold = patient_folds(truth, patients, seed=5)
    for kind in range(5):
        assert np.bincount(fold[truth[:, kind] > 0], minlength=2).tolist() == [4, 4]
    np.testing.assert_array_equal(fold, patient_folds(truth, patients, seed=5))
    assert (fold != patient_folds(truth, patients, seed=6)).any()


def test_bad_input_is_refused():
    histogram = JointHistogram(("a",), GRID)
    histogram.add(
        np.full((1, 1, 3, 3), 90, np.uint8),
        np.ones((1, 1), bool),
        np.zeros((1, 3, 3), np.uint8),
        "scan",
    )
    with pytest.raises(StudyError, match="no slice has truth"):
        best_setting(histogram, "masks-test")
    with pytest.raises(ParameterError, match="2 folds of 1 patients"):
        cross_fitted(histogram, ["p"], 0)
