"""Paired tests against textbook formulas and statsmodels, their degenerate cases."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from ich_study.metrics.significance import (
    critical_difference,
    holm,
    paired_t_test,
    standard_error,
    step_down,
)


def pairs(seed=0, n=30):
    rng = np.random.default_rng(seed)
    first = rng.random(n)
    return first, first - 0.05 + 0.1 * rng.normal(size=n)


def test_t_is_the_textbooks_and_statsmodels():
    first, second = pairs()
    result = paired_t_test(np.append(first, np.nan), np.append(second, 1))
    difference = first - second
    t = difference.mean() / (difference.std(ddof=1) / np.sqrt(30))
    assert result.statistic == pytest.approx(t) and result.p == pytest.approx(
        2 * stats.t.sf(abs(t), 29)
    )
    assert result.p == pytest.approx(DescrStatsW(difference).ttest_mean(0)[1])
    assert result.n == 30 and result.mean_difference == pytest.approx(difference.mean())
    assert paired_t_test(second, first).statistic == pytest.approx(-t)


def test_degenerate_pairs():
    same = paired_t_test([1, 2, 3], [1, 2, 3])
    assert (same.statistic, same.p, same.mean_difference) == (0, 1, 0)
    assert np.isnan(paired_t_test([1, np.nan], [2, 3]).p)
    assert np.isnan(paired_t_test([], []).mean_difference)


def test_constant_difference_is_certain():
    result = paired_t_test([1, 2, 3], [2, 3, 4])
    assert result.p == 0 and result.statistic == -np.inf


@settings(max_examples=3, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_formula(p):
    order = np.argsort(p, kind="stable")
    running, expected = 0.0, np.empty(len(p))
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        expected[index] = running
    np.testing.assert_allclose(holm(p), expected, atol=1e-12)


def test_a_larger_p_is_never_corrected_to_a_smaller_one():
    """Sorted, 0.01 x 3, 0.03 x 2 and 0.04 x 1 are 0.03, 0.06 and 0.04; the last is raised."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06], atol=1e-15)


def test_holm_leaves_nan_out():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert np.isnan(holm([np.nan])).all() and holm([]).shape == (0,)


def test_standard_error_is_scipys():
    values = np.array([0.2, np.nan, 0.5, 0.9])
    assert standard_error(values) == pytest.approx(stats.sem(values, nan_policy="omit"))
    assert np.isnan(standard_error([1]))


@pytest.mark.parametrize(
    ("methods", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)]
)
def test_critical_differences_are_those_of_demsars_table_5(methods, quantile):
    expected = quantile * np.sqrt(methods * (methods + 1) / (6 * 20))
    assert critical_difference(methods, 20) == pytest.approx(expected, abs=1e-3)


def joint_draws(seed, patients=40, methods=6, replicates=199, gain=0.0):
    """Differences of every pair of methods' means over patients, and their bootstrap draws; the
    first method is better by `gain`."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(patients, 1)) + rng.normal(size=(patients, methods))
    scores[:, 0] += gain
    first, second = np.triu_indices(methods, 1)
    apart = scores[:, first] - scores[:, second]
    drawn = rng.integers(0, patients, (replicates, patients))
    return apart.mean(0), apart[drawn].mean(1)


def by_the_letter(differences, drawn):
    """Romano and Wolf's procedure, one difference after the other."""
    spread = [np.std(column, ddof=1) for column in drawn.T]
    t = [abs(value) / each for value, each in zip(differences, spread)]
    race, p, before = sorted(range(len(t)), key=lambda number: -t[number]), {}, 0.0
    for place, number in enumerate(race):
        beaten = 0
        for draw in drawn:
            left = [abs(draw[k] - differences[k]) / spread[k] for k in race[place:]]
            beaten += max(left) >= t[number]
        before = max(before, (1 + beaten) / (1 + len(drawn)))
        p[number] = before
    return [p[number] for number in range(len(t))]


@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_step_down_is_romano_and_wolfs_procedure(gain):
    differences, drawn = joint_draws(3, gain=gain)
    assert step_down(differences, drawn) == pytest.approx(by_the_letter(differences, drawn))


def test_among_equal_methods_a_difference_is_seldom_found_and_a_true_one_is_not_missed():
    found = [(step_down(*joint_draws(seed)) <= 0.05).any() for seed in range(300)]
    assert np.mean(found) < 0.09  # 0.05 are allowed; 300 trials have a standard error of 0.013
    clear = step_down(*joint_draws(0, gain=2.0))
    # 199 draws and 15 pairs: Holm's could not be below 15 / 200
    assert (clear[:5] == pytest.approx(1 / 200)) and (clear[5:] > 0.05).all()


def test_step_down_leaves_out_what_has_no_draws_or_no_spread():
    differences, drawn = joint_draws(1, gain=1.0)
    alone = step_down(differences, drawn)
    padded = np.c_[drawn, np.full(len(drawn), 0.3), np.full(len(drawn), np.nan)]
    found = step_down([*differences, 0.3, np.nan], padded)
    assert found[:-2] == pytest.approx(alone) and np.isnan(found[-2:]).all()
