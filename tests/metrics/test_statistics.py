"""Patient bootstrap against a plain loop over patients, its coverage, its degenerate cases, its
speed."""

import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from ich_study.errors import StudyError
from ich_study.metrics.overlap import Counts
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    average_precision_of_items,
    mean_of_items,
    mean_of_statistics,
    micro_dice,
    paired_bootstrap,
    patient_bootstrap,
    ratio_of_sums,
    resampled_multiplicities,
    two_sided_p,
)


def slices(seed=0, patients=40, per_patient=8):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i:03d}" for i in rng.permutation(patients)], per_patient)
    truth = rng.random(len(names)) < 0.35
    effect = np.repeat(rng.normal(0, 0.7, patients), per_patient)
    return names, truth, truth * 1.2 + effect + rng.normal(size=len(names))


def plain_replicates(patients, function, weights):
    names = np.unique(patients)
    values = []
    for row in weights:
        drawn = [
            i
            for name, times in zip(names, row)
            for _ in range(int(times))
            for i in np.flatnonzero(patients == name)
        ]
        values.append(function(np.array(drawn)))
    return np.array(values)


def test_fast_paths_are_the_plain_loop():
    names, truth, scores = slices()
    rng = np.random.default_rng(1)
    counts = Counts(*rng.integers(0, 30, (3, len(names))))
    values = np.where(rng.random(len(names)) < 0.2, np.nan, rng.random(len(names)))
    weights = resampled_multiplicities(40, 15, seed=3)
    cases = [
        (auroc_of_items(names, truth, scores), lambda i: roc_auc_score(truth[i], scores[i])),
        (
            average_precision_of_items(names, truth, scores),
            lambda i: average_precision_score(truth[i], scores[i]),
        ),
        (
            micro_dice(names, counts),
            lambda i: (
                2 * counts.tp[i].sum() / (2 * counts.tp[i] + counts.fp[i] + counts.fn[i]).sum()
            ),
        ),
        (mean_of_items(names, values), lambda i: np.nanmean(values[i])),
    ]
    for statistic, function in cases:
        np.testing.assert_allclose(
            statistic.evaluate(weights), plain_replicates(names, function, weights), rtol=1e-10
        )
        assert statistic.value() == pytest.approx(function(np.arange(len(names))))


def test_chunks_change_nothing(monkeypatch):
    names, truth, scores = slices()
    weights = resampled_multiplicities(40, 23, seed=3)
    whole = auroc_of_items(names, truth, scores).evaluate(weights)
    monkeypatch.setattr("ich_study.metrics.statistics._ELEMENTS_AT_ONCE", 1000)
    np.testing.assert_array_equal(auroc_of_items(names, truth, scores).evaluate(weights), whole)


def test_multiplicities_are_draws_with_replacement():
    weights = resampled_multiplicities(30, 4000, seed=0)
    assert (weights.sum(1) == 30).all()
    assert weights.var() == pytest.approx(1 - 1 / 30, rel=0.03)
    np.testing.assert_array_equal(weights, resampled_multiplicities(30, 4000, seed=0))
    assert (weights != resampled_multiplicities(30, 4000, seed=1)).any()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_interval_holds_the_value_and_ignores_the_order_of_items(seed):
    names, truth, scores = slices(seed)
    interval = patient_bootstrap(auroc_of_items(names, truth, scores), 300, seed=seed)
    assert interval.low < interval.value < interval.high and interval.n_patients == 40
    order = np.random.default_rng(seed).permutation(len(names))
    assert patient_bootstrap(
        auroc_of_items(names[order], truth[order], scores[order]), 300, seed=seed
    ).low == pytest.approx(interval.low)


def test_coverage_of_a_mean_with_correlated_slices():
    """Patients share an effect: the patient bootstrap covers the truth about 95 times in 100, the
    slice bootstrap far less."""
    rng = np.random.default_rng(0)
    covered = {"patient": 0, "slice": 0}
    for trial in range(300):
        effect = rng.normal(size=40)
        values = (effect[:, None] + 0.3 * rng.normal(size=(40, 10))).ravel()
        for unit, names in (("patient", np.repeat(np.arange(40), 10)), ("slice", np.arange(400))):
            interval = patient_bootstrap(mean_of_items(names, values), 200, seed=trial)
            covered[unit] += interval.low <= 0 <= interval.high
    assert 0.89 <= covered["patient"] / 300 <= 0.98
    assert covered["slice"] / 300 < 0.6


def test_paired_difference_uses_the_same_patients():
    names, truth, scores = slices(2)
    statistic = auroc_of_items(names, truth, scores)
    same = paired_bootstrap(statistic, statistic, 100)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    worse = auroc_of_items(
        names, truth, scores + np.random.default_rng(0).normal(0, 1.5, len(scores))
    )
    paired = paired_bootstrap(statistic, worse, 500)
    wide = [patient_bootstrap(s, 500) for s in (statistic, worse)]
    assert (
        paired.value == pytest.approx(wide[0].value - wide[1].value)
        and paired.low < paired.value < paired.high
    )
    with pytest.raises(StudyError, match="different patients"):
        paired_bootstrap(statistic, mean_of_items(["a", "b"], [0, 1]))


def test_two_sided_p_is_uniform_without_a_difference_and_small_with_one():
    rng = np.random.default_rng(0)
    names = np.arange(60).astype(str)
    p_values = []
    for trial in range(200):
        first, second = rng.normal(size=(2, 60))
        p_values.append(
            two_sided_p(mean_of_items(names, first), mean_of_items(names, second), 400, trial)
        )
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.1 and np.mean(p_values) == pytest.approx(
        0.5, abs=0.08
    )
    first = rng.normal(size=60)
    large, same = mean_of_items(names, first + 2), mean_of_items(names, first)
    assert two_sided_p(large, same, 999) == pytest.approx(2 / 1000) == two_sided_p(same, large, 999)
    assert two_sided_p(same, same, 100) == 1
    assert np.isnan(two_sided_p(mean_of_items(["a"], [1]), mean_of_items(["a"], [2]), 50))


def test_average_over_classes():
    names, truth, scores = slices(4)
    first, second = auroc_of_items(names, truth, scores), auroc_of_items(names, truth, -scores)
    assert mean_of_statistics([first, second]).value() == pytest.approx(0.5)
    with pytest.raises(StudyError, match="same patients"):
        mean_of_statistics([first, mean_of_items(["a"], [1])])


def test_degenerate_replicates_are_counted():
    names = np.arange(40).astype(str)
    truth = np.zeros(40)
    truth[:3] = 1
    few = patient_bootstrap(auroc_of_items(names, truth, np.arange(40.0)), 2000)
    # No positive is drawn with probability (37/40)^40 = 4.4 %.
    assert (
        few.degenerate == pytest.approx(2000 * (37 / 40) ** 40, rel=0.3)
        and np.isfinite(few.low)
        and few.reason == ""
    )
    truth[1:3] = 0
    one = patient_bootstrap(auroc_of_items(names, truth, np.arange(40.0)), 2000)
    assert (
        np.isnan([one.low, one.high]).all()
        and f"{one.degenerate} of 2000" in one.reason
        and np.isfinite(one.value)
    )


def test_undefined_value_and_single_patient_have_a_reason():
    absent = patient_bootstrap(auroc_of_items(["a", "b"], [0, 0], [1, 2]), 50)
    assert (
        np.isnan(absent.value)
        and np.isnan(absent.low)
        and "no value on the sample" in absent.reason
    )
    single = patient_bootstrap(mean_of_items(["a", "a"], [0, 1]), 50)
    assert single.value == 0.5 and np.isnan(single.high) and "one patient" in single.reason


def test_result_columns():
    interval = patient_bootstrap(ratio_of_sums(["a", "b", "c"], [1, 0, 1], [1, 1, 1]), 100, seed=7)
    assert interval.columns() == {
        "value": interval.value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n": 3,
        "seed": 7,
    }


def test_bad_input_is_named():
    with pytest.raises(StudyError, match="one patient per item"):
        mean_of_items(["a"], [1, 2])
    with pytest.raises(StudyError, match="finite"):
        ratio_of_sums(["a", "b"], [1, np.nan], [1, 1])
    with pytest.raises(StudyError, match="level"):
        patient_bootstrap(mean_of_items(["a", "b"], [1, 2]), level=95)
    with pytest.raises(StudyError, match="replicates"):
        patient_bootstrap(mean_of_items(["a", "b"], [1, 2]), replicates=0)


def test_a_thousand_replicates_over_five_thousand_slices_are_quick():
    rng = np.random.default_rng(0)
    names, truth, scores = (
        np.repeat(np.arange(250), 20),
        rng.random(5000) < 0.2,
        rng.normal(size=5000),
    )
    start = time.process_time()
    patient_bootstrap(auroc_of_items(names, truth, scores), 1000)
    assert time.process_time() - start < 3
    assert isinstance(auroc_of_items(names, truth, scores), PatientStatistic)
