"""Choice of joint thresholds: the maximum over one-by-one, cross-fitting that never sees its own
patients, intervals."""

import numpy as np
import pytest

from ich_study.errors import ParameterError, StudyError
from ich_study.methods.lse_unet.algorithm1 import label_maps
from ich_study.methods.lse_unet.joint_histogram import JointHistogram
from ich_study.methods.lse_unet.joint_thresholds import (
    CrossFit,
    cross_fitted,
    fixed_thresholds,
    mean_dice_statistic,
    patient_folds,
    search,
    setting_of,
)
from ich_study.metrics.overlap import Counts, dice, label_counts
from ich_study.metrics.statistics import patient_bootstrap
from tests.methods.lse_unet.joint_oracle import one_by_one, synthetic

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
    expected = dice(Counts(*one_by_one(heatmaps, present, truth, GRID)))
    scores = search(histogram)
    np.testing.assert_array_equal(scores.dice(), expected)
    for objective, first in (("subtypes", 1), ("with_normal", 0)):
        chosen = scores.best("masks-test", objective)
        means = expected[:, first:].mean(1)
        assert chosen["a"].objective == pytest.approx(means.max(), abs=1e-15)
        assert tuple(setting_of(chosen, NAMES)) in {
            tuple(row) for row in scores.settings[np.isclose(means, means.max(), atol=1e-12)]
        }
        assert {threshold.source for threshold in chosen.values()} == {"masks-test"}
    table = scores.table()
    assert len(table) == 4**3 and table["objective_subtypes"].max() == chosen_value(scores)
    row = table[(table[["threshold_a", "threshold_b", "threshold_c"]] == 75).all(axis=1)].iloc[0]
    labels = label_maps(heatmaps, present, [75, 75, 75], NAMES)
    in_table = row[["dice_normal", "dice_a", "dice_b", "dice_c"]].to_numpy(float)
    np.testing.assert_array_equal(in_table, dice(label_counts(labels, truth, 4).sum(0)))


def chosen_value(scores):
    return scores.best("masks-test")["a"].objective


def test_of_equal_settings_a_class_without_truth_keeps_the_highest_threshold():
    histogram = JointHistogram(("a", "b"), GRID)
    heat = np.zeros((1, 2, 4, 4), np.uint8)
    heat[0, 0, 0], heat[0, 1, 3] = 100, 180
    truth = np.zeros((1, 4, 4), np.uint8)
    truth[0, 0] = 1
    histogram.add(heat, np.ones((1, 2), bool), truth, "scan")
    scores = search(histogram)
    assert np.isnan(scores.dice()[:, 2]).all()
    assert setting_of(scores.best("masks-test"), ("a", "b")) == [75, 200]


def test_cross_fitting_scores_nobody_at_their_own_thresholds():
    heatmaps, present, truth, histogram = scans(3, 8)
    patient_of = {f"scan{scan}": f"patient{scan // 2}" for scan in range(8)}
    fit = cross_fitted(histogram, patient_of, folds=2, seed=1)
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
        labels = label_maps(heatmaps[held], present[held], chosen, NAMES)
        np.testing.assert_array_equal(
            fit.counts[fit.fold == number].sum(0).tp, label_counts(labels, truth[held], 4).sum(0).tp
        )
        assert {threshold.source for threshold in fit.thresholds[number].values()} == {
            "masks-validation"
        }
    assert fit.without_truth == ((), ())
    best = search(histogram).best("masks-test")["a"].objective
    assert dice(fit.counts.sum(0))[1:].mean() <= best + 1e-12, "the paper's protocol is never below"


def test_cross_fitting_names_subtypes_it_could_not_see():
    heatmaps, present, truth, _ = scans(4, 4)
    histogram = JointHistogram(NAMES, GRID)
    for scan in range(4):
        part = truth[2 * scan : 2 * scan + 2].copy()
        if scan:
            part[part == 3] = 0
        histogram.add(
            heatmaps[2 * scan : 2 * scan + 2], present[2 * scan : 2 * scan + 2], part, f"scan{scan}"
        )
    fit = cross_fitted(histogram, {f"scan{scan}": str(scan) for scan in range(4)}, folds=2)
    own = int(fit.fold[0])
    assert fit.without_truth[own] == ("c",) and fit.without_truth[1 - own] == ()


def test_folds_spread_every_subtype():
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 5), int)
    for patient, kind in enumerate(rng.permutation(np.repeat(np.arange(5), 8))):
        truth[patient, kind] = 1
    patients = [f"p{number}" for number in range(40)]
    fold = patient_folds(truth, patients, 2, seed=5)
    for kind in range(5):
        assert np.bincount(fold[truth[:, kind] > 0], minlength=2).tolist() == [4, 4]
    np.testing.assert_array_equal(fold, patient_folds(truth, patients, 2, seed=5))
    assert (fold != patient_folds(truth, patients, 2, seed=6)).any()
    for folds in (1, 41):
        with pytest.raises(ParameterError, match="folds"):
            patient_folds(truth, patients, folds, 0)


def test_mean_dice_statistic_is_the_papers_average():
    _, _, _, histogram = scans(5)
    counts = histogram.at([75, 75, 75])
    patients = [name[-1] for name in histogram.groups]
    for objective, first in (("with_normal", 0), ("subtypes", 1)):
        assert mean_dice_statistic(counts, patients, objective).value() == pytest.approx(
            dice(counts.sum(0))[first:].mean()
        )
    interval = patient_bootstrap(mean_dice_statistic(counts, patients), 200)
    assert interval.low < interval.value < interval.high
    with pytest.raises(ParameterError, match="objective"):
        mean_dice_statistic(counts, patients, "best")


def test_bad_input_is_refused():
    histogram = JointHistogram(("a",), GRID)
    histogram.add(
        np.full((1, 1, 3, 3), 90, np.uint8),
        np.ones((1, 1), bool),
        np.zeros((1, 3, 3), np.uint8),
        "scan",
    )
    with pytest.raises(StudyError, match="no slice has truth"):
        search(histogram).best("masks-test")
    with pytest.raises(ParameterError, match="objective"):
        search(histogram).objective("mean")
    with pytest.raises(StudyError, match="no patient"):
        cross_fitted(histogram, {})
    with pytest.raises(ParameterError, match="folds"):
        cross_fitted(histogram, {"scan": "p"})
    assert (
        setting_of(fixed_thresholds(125)) == [125] * 5
        and fixed_thresholds(125)["EDH"].source == "none"
    )
