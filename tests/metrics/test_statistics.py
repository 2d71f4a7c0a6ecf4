"""Patient bootstrap against a plain loop over patients, its coverage, its degenerate cases, its
speed."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from ich_study.errors import StudyError
from ich_study.evaluate.classification import class_statistics
from ich_study.evaluate.rows import METRICS, statistic_of
from ich_study.evaluate.thresholds import Threshold
from ich_study.methods.hgi_sam.detection import detection_statistics
from ich_study.methods.mil.report import point_statistic
from ich_study.metrics.overlap import Counts
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    average_precision_of_items,
    difference_of,
    draw,
    mean_of_items,
    mean_of_statistics,
    micro_dice,
    paired_bootstrap,
    patient_bootstrap,
    ratio_of_sums,
    resampled_multiplicities,
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
    assert (same.value, same.p, same.kind) == (0, 1, "exact") and same.low == -same.high < 0
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
        means = mean_of_items(names, first), mean_of_items(names, second)
        p_values.append(paired_bootstrap(*means, 400, trial).p)
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.1 and np.mean(p_values) == pytest.approx(
        0.5, abs=0.08
    )
    first = rng.normal(size=60)
    large, same = mean_of_items(names, first + 2), mean_of_items(names, first)
    for pair in ((large, same), (same, large)):
        assert paired_bootstrap(*pair, 999).p == pytest.approx(2 / 1000)
    assert paired_bootstrap(mean_of_items(names, first > 0), mean_of_items(names, first > 0)).p == 1
    assert np.isnan(paired_bootstrap(same, same, 100).p), "a mean of any size has no bounds"
    assert np.isnan(paired_bootstrap(mean_of_items(["a"], [1]), mean_of_items(["a"], [2]), 50).p)
    assert np.isnan(patient_bootstrap(same, 50).p)


def test_average_over_classes():
    names, truth, scores = slices(4)
    first, second = auroc_of_items(names, truth, scores), auroc_of_items(names, truth, -scores)
    assert mean_of_statistics([first, second]).value() == pytest.approx(0.5)
    with pytest.raises(StudyError, match="same patients"):
        mean_of_statistics([first, mean_of_items(["a"], [1])])


def test_degenerate_replicates_are_counted():
    names = np.arange(40).astype(str)
    scores = np.arange(40) % 7.0
    truth = np.zeros(40)
    truth[:3] = 1
    few = patient_bootstrap(auroc_of_items(names, truth, scores), 2000)
    # No positive is drawn with probability (37/40)^40 = 4.4 %.
    assert np.isfinite(few.low) and few.kind == "bootstrap"
    truth[1:3] = 0
    one = patient_bootstrap(auroc_of_items(names, truth, scores), 2000)
    assert (
        np.isnan([one.low, one.high]).all()
        and "of 2000 replicates" in one.kind
        and np.isfinite(one.value)
    )


def of_one_class(patients_with_it, patients=15):
    """Every measure of a class that this many of the patients have, in the first of two slices.

    Three slices in four are called, so that a sample without the class has false positives, and
    every ratio with them in its denominator would be 0 there.
    """
    names = np.repeat([f"p{i:02d}" for i in range(patients)], 2)
    truth = (np.arange(2 * patients) % 2 == 0) & (np.arange(2 * patients) < 2 * patients_with_it)
    called = np.arange(2 * patients) % 4 != 3
    counts = Counts(*((part).astype(int) for part in (truth & called, called & ~truth, truth)))
    counts = Counts(counts.tp, counts.fp, counts.fn - counts.tp)
    rows = pd.DataFrame({"patient_id": names, "scan_id": names})
    points = {name: point_statistic(counts, rows, name) for name in ("point_f1", "point_ppv")}
    predictions = pd.DataFrame({"patient_id": names, "label": truth, "logit": called + 0.0})
    of_slices = class_statistics(predictions, {"cut": Threshold(0.5, "none", "fixed")})
    of_slices.pop(("specificity@cut", "none"))
    return {
        **{metric: statistic for (metric, _), statistic in of_slices.items()},
        **detection_statistics(rows.assign(truth=truth, decided=called, score=called + 0.0)),
        **{f"pixel {name}": statistic_of(counts, rows, "pixel", name) for name in METRICS},
        "dice per scan": statistic_of(counts, rows, "scan", "dice"),
        "pointing": mean_of_items(names, np.where(truth, called, np.nan)),
        "micro Dice": micro_dice(names, counts),
        **points,
        "point F1 per patient": point_statistic(counts, rows, "point_f1", "patient"),
    }


def test_one_rule_says_whether_a_measure_of_a_class_has_an_interval():
    """One of 15 patients is missing from (14/15)^15 = 36 % of the replicates, three of them from
    3.5 %."""
    without_class = {"accuracy", "specificity"}
    for having, exists in ((1, False), (3, True)):
        for name, statistic in of_one_class(having).items():
            interval = patient_bootstrap(statistic, 1000)
            assert np.isfinite(interval.value), name
            expected = exists or name in without_class
            assert np.isfinite([interval.low, interval.high]).all() == expected, (having, name)
            assert (interval.kind in ("bootstrap", "exact")) == expected, name


@pytest.mark.parametrize("found", [1.0, 0.0])
def test_a_share_that_is_alike_in_every_patient_has_exact_bounds(found):
    """Clopper and Pearson by their definition: the share at which so extreme a sample has a
    probability of 2.5 %."""
    names = np.repeat(np.arange(15), 4).astype(str)
    statistic = ratio_of_sums(names, np.full(60, found), np.ones(60))
    interval = patient_bootstrap(statistic, 100)
    low, high = binomtest(int(15 * found), 15).proportion_ci(0.95, "exact")
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert interval.columns()["interval"] == "exact"
    if found:
        assert (round(interval.low, 2), interval.high) == (0.78, 1)
    # patients without the class are no evidence: five of the fifteen have it
    values = np.where(np.repeat(np.arange(15), 4) < 5, found, np.nan)
    few = patient_bootstrap(mean_of_items(names, values), 100)
    low, high = binomtest(int(5 * found), 5).proportion_ci(0.95, "exact")
    assert (few.low, few.high) == (pytest.approx(low), pytest.approx(high))


def test_exact_bounds_hold_for_ranks_and_one_patient_apart_ends_them():
    names = np.repeat(np.arange(15), 4).astype(str)
    truth = np.arange(60) % 4 == 0
    scores = truth + 0.0
    for measure in (auroc_of_items, average_precision_of_items):
        interval = patient_bootstrap(measure(names, truth, scores), 100)
        assert (interval.low, interval.high) == (pytest.approx(0.025 ** (1 / 15)), 1)
    scores[1] = 2
    apart = patient_bootstrap(auroc_of_items(names, truth, scores), 200)
    assert apart.kind == "bootstrap" and apart.low < apart.value < 1 == apart.high


def test_without_an_upper_end_or_inside_it_there_is_a_reason_and_no_interval_of_no_width():
    names = np.arange(15).astype(str)
    errors = patient_bootstrap(mean_of_items(names, np.zeros(15), share=False), 100)
    assert np.isnan([errors.low, errors.high]).all() and "no exact bound" in errors.kind
    assert errors.columns()["interval"] == errors.kind
    inside = patient_bootstrap(mean_of_items(names, np.full(15, 0.25)), 100)
    assert inside.value == 0.25 and np.isnan([inside.low, inside.high]).all()
    assert "neither 0 nor 1" in inside.kind


@pytest.mark.parametrize("patients", [5, 6, 15])
def test_a_difference_that_is_alike_in_every_patient_has_exact_bounds_and_a_sign_test(patients):
    names = np.arange(patients).astype(str)
    all_found, none = (mean_of_items(names, np.full(patients, part)) for part in (1.0, 0.0))
    end = 0.025 ** (1 / patients)
    above = paired_bootstrap(all_found, none, 200)
    assert (above.low, above.high) == (pytest.approx(2 * end - 1), 1)
    below = paired_bootstrap(none, all_found, 200)
    assert (below.low, below.high) == (-1, pytest.approx(1 - 2 * end))
    assert above.p == below.p == pytest.approx(binomtest(0, patients).pvalue)
    # bounds and p never contradict each other
    assert (above.low > 0) == (above.p < 0.05)
    same = paired_bootstrap(none, none, 200)
    assert (same.low, same.high, same.p) == (pytest.approx(end - 1), pytest.approx(1 - end), 1)


def test_two_measures_that_agree_in_every_patient_differ_in_few_and_not_in_none():
    names = np.arange(12).astype(str)
    values = np.linspace(0.2, 0.9, 12)
    twins = [mean_of_items(names, values.copy()) for _ in range(2)]
    found = paired_bootstrap(*twins, 200)
    end = 0.025 ** (1 / 12)
    assert (found.value, found.p, found.kind) == (0, 1, "exact")
    assert (found.low, found.high) == (pytest.approx(end - 1), pytest.approx(1 - end))
    distances = [mean_of_items(names, 10 * values, share=False) for _ in range(2)]
    none = paired_bootstrap(*distances, 200)
    assert np.isnan(none.low) and none.kind.startswith("equal in every patient")
    # no patient has a value of both classes, so none says how far the two averages may be apart
    halves = [np.where((np.arange(12) < 6) == first, values, np.nan) for first in (True, False)]
    averages = [mean_of_statistics([mean_of_items(names, half) for half in halves])] * 2
    alone = paired_bootstrap(*averages, 200)
    assert alone.value == 0 and np.isnan(alone.low)
    assert alone.kind == "the same in every replicate, and no patient has a value alone"
    # two patients who differ, even where they cancel, leave a bootstrap interval
    moved = mean_of_items(names, values + np.eye(12)[0] * 0.1 - np.eye(12)[1] * 0.1)
    apart = paired_bootstrap(twins[0], moved, 200)
    assert apart.kind == "bootstrap" and apart.low < 0 < apart.high


def test_an_average_over_classes_is_of_the_same_classes_in_every_replicate():
    """Six classes of three patients each, one of them always found and five never: whichever
    patients are drawn, the mean is a sixth. Left out where it was not drawn, each class would move
    it to a fifth or more."""
    names = np.arange(18).astype(str)
    classes = []
    for number in range(6):
        values = np.full(18, np.nan)
        values[3 * number : 3 * number + 3] = number == 0
        classes.append(mean_of_items(names, values))
    average = patient_bootstrap(mean_of_statistics(classes), 1000)
    assert average.value == pytest.approx(1 / 6) and "neither 0 nor 1" in average.kind
    # a tenth of the replicates and more lack a class, but no class more than one in twenty
    drawn = draw(mean_of_statistics(classes), 1000, 0)
    assert np.isnan(drawn.values).sum() > 100 and drawn.lacking < 0.05
    rare = mean_of_items(names, np.where(np.arange(18) == 0, 1.0, np.nan))
    none = patient_bootstrap(mean_of_statistics([*classes, rare]), 1000)
    assert none.kind == patient_bootstrap(rare, 1000).kind != "bootstrap"
    between = paired_bootstrap(mean_of_statistics(classes), classes[1], 1000)
    assert between.value == pytest.approx(1 / 6)
    assert between.kind.startswith("the same in every replicate")


def test_undefined_value_and_single_patient_have_a_reason():
    absent = patient_bootstrap(auroc_of_items(["a", "b"], [0, 0], [1, 2]), 50)
    assert (
        np.isnan(absent.value) and np.isnan(absent.low) and "no value on the sample" in absent.kind
    )
    single = patient_bootstrap(mean_of_items(["a", "a"], [0, 1]), 50)
    assert single.value == 0.5 and np.isnan(single.high) and "one patient" in single.kind


def test_result_columns():
    interval = patient_bootstrap(ratio_of_sums(["a", "b", "c"], [1, 0, 1], [1, 1, 1]), 100, seed=7)
    assert interval.columns() == {
        "value": interval.value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "interval": "bootstrap",
        "n": 3,
        "seed": 7,
    }


def test_bad_input_is_named():
    with pytest.raises(StudyError, match="one patient per item"):
        mean_of_items(["a"], [1, 2])
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


def test_a_difference_of_measures_is_first_minus_second_on_the_same_patients():
    first = mean_of_items(["a", "b"], [1.0, 0.5])
    second = mean_of_items(["a", "b"], [0.25, 0.25])
    assert difference_of(first, second).value() == 0.5
    assert difference_of(second, first).value() == -0.5
    with pytest.raises(StudyError, match="the same patients"):
        difference_of(first, mean_of_items(["a", "c"], [1.0, 0.5]))


def test_an_average_that_is_the_same_everywhere_has_no_interval_of_no_width():
    always, never = (mean_of_items(["a", "b", "c"], [share] * 3) for share in (1.0, 0.0))
    found = patient_bootstrap(mean_of_statistics([always, never]), 200)
    assert found.value == 0.5 and np.isnan([found.low, found.high]).all()
    assert found.kind.startswith("the same in every replicate, and neither 0 nor 1")
    assert patient_bootstrap(always, 200).kind == "exact"
