"""Classifier measures against scikit-learn, weighted ones too, and their undefined cases."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sk

from ich_study.errors import StudyError
from ich_study.metrics.classification import (
    RankedScores,
    auc_of_decisions,
    auroc,
    best_epochs,
    decision_metrics,
    pr_curve,
    roc_curve,
)


def average_precision(truth, scores):
    return float(RankedScores(truth, scores).average_precision(np.ones(len(truth))))


def sample(seed=0, n=400, levels=None):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    scores = rng.normal(size=n) + truth
    return truth, np.round(scores * levels) / levels if levels else scores


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_auroc_and_ap_are_scikit_learns(levels):
    truth, scores = sample(1, levels=levels)
    assert auroc(truth, scores) == pytest.approx(sk.roc_auc_score(truth, scores), rel=1e-12)
    assert average_precision(truth, scores) == pytest.approx(
        sk.average_precision_score(truth, scores), rel=1e-12
    )


@pytest.mark.parametrize("levels", [None, 2])
def test_weighted_curves_are_scikit_learns(levels):
    truth, scores = sample(2, levels=levels)
    weights = np.random.default_rng(3).integers(0, 4, (5, len(truth)))
    ranked = RankedScores(truth, scores)
    np.testing.assert_allclose(
        ranked.auroc(weights),
        [sk.roc_auc_score(truth, scores, sample_weight=w) for w in weights],
        rtol=1e-12,
    )
    oracle = [sk.average_precision_score(truth, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(ranked.average_precision(weights), oracle, rtol=1e-12)
    repeated = np.repeat(np.arange(len(truth)), weights[0])
    assert ranked.auroc(weights[0]) == pytest.approx(
        auroc(truth[repeated], scores[repeated]), rel=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=30), st.randoms()
)
def test_auroc_properties(items, random):
    truth, scores = np.array([a for a, _ in items]), np.array([b for _, b in items], float)
    value = auroc(truth, scores)
    if truth.all() or not truth.any():
        assert np.isnan(value)
        return
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[truth] for n in scores[~truth]]
    assert value == pytest.approx(np.mean(pairs))
    order = random.sample(range(len(items)), len(items))
    assert auroc(truth[order], scores[order]) == pytest.approx(value)
    assert auroc(truth, np.exp(scores)) == pytest.approx(value)
    assert auroc(~truth, scores) == pytest.approx(1 - value)


def test_decisions_are_scikit_learns():
    truth, scores = sample(4)
    decided = scores > 0.5
    ours = decision_metrics(truth, decided)
    oracle = {
        "accuracy": sk.accuracy_score(truth, decided),
        "precision": sk.precision_score(truth, decided),
        "f1": sk.f1_score(truth, decided),
        "sensitivity": sk.recall_score(truth, decided),
        "specificity": sk.recall_score(~truth, ~decided),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, decided),
    }
    assert {name: ours[name] for name in oracle} == pytest.approx(oracle)
    assert auc_of_decisions(truth, decided) == pytest.approx(sk.roc_auc_score(truth, decided))


def test_curves_are_scikit_learns():
    truth, scores = sample(6, levels=4)
    fpr, tpr, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    ours = roc_curve(truth, scores)
    np.testing.assert_allclose(ours, np.stack([fpr, tpr, thresholds], 1))
    assert np.trapezoid(ours["sensitivity"], ours["false_positive_rate"]) == pytest.approx(
        auroc(truth, scores)
    )
    pr = pr_curve(truth, scores)
    area = -(np.diff(pr["sensitivity"]) * pr["precision"].to_numpy()[:-1]).sum()
    assert area == pytest.approx(average_precision(truth, scores))


def test_absent_class_is_nan_and_no_exception():
    scores = np.arange(4.0)
    assert (
        np.isnan(auroc(np.ones(4), scores))
        and np.isnan(auroc(np.zeros(4), scores))
        and np.isnan(average_precision(np.zeros(4), scores))
    )
    negative = decision_metrics(np.zeros(4), [0, 0, 0, 1])
    assert np.isnan([negative[name] for name in ("sensitivity", "f1", "balanced_accuracy")]).all()
    assert negative["specificity"] == 0.75 and negative["precision"] == 0
    assert np.isnan(decision_metrics(np.ones(4), np.zeros(4))["precision"])


@pytest.mark.parametrize(
    "truth, scores, message",
    [
        ([0, 1, 2], [0, 1, 2], "other than 0 and 1"),
        ([0, 1, np.nan], [0, 1, 2], "unknown labels"),
        ([0, 1], [0, np.nan], "NaN"),
        ([], [], "at least|one label"),
        ([0, 1], [0, 1, 2], "one label and one score"),
    ],
)
def test_bad_input_is_named(truth, scores, message):
    with pytest.raises(StudyError, match=message):
        auroc(truth, scores)


def test_best_epochs_are_those_of_largest_f1_the_earlier_first():
    epochs = [0.1, 0.9, np.nan, 0.8, 0.7, 0.6, 0.8, 0.4]
    assert best_epochs(epochs).tolist() == [1, 3, 6, 4, 5]
    assert best_epochs([0.5, np.nan]).tolist() == [0] and best_epochs([]).tolist() == []
