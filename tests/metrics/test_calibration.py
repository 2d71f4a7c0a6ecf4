"""Calibration and predictive values, against counting by hand."""

import numpy as np
import pytest

from ich_study.metrics.calibration import (
    calibration_error_of_items,
    expected_calibration_error,
    predictive_values,
    reliability,
)


def test_an_honest_forecaster_has_no_error_and_a_boaster_has():
    generator = np.random.default_rng(0)
    probability = generator.uniform(size=20_000)
    truth = generator.uniform(size=20_000) < probability
    assert expected_calibration_error(reliability(truth, probability)) < 0.02
    boast = np.where(probability > 0.5, 1.0, 0.0)
    assert expected_calibration_error(reliability(truth, boast)) == pytest.approx(0.25, abs=0.02)


def test_the_calibration_error_of_drawn_patients_is_that_of_their_items():
    generator = np.random.default_rng(0)
    probability, truth = generator.uniform(size=300), generator.uniform(size=300) < 0.5
    patients = np.repeat(list("abc"), 100)
    drawn = calibration_error_of_items(patients, truth, probability).evaluate
    items = np.r_[0:100, 0:100, 200:300]
    twice = expected_calibration_error(reliability(truth[items], probability[items]))
    whole = expected_calibration_error(reliability(truth, probability))
    assert drawn(np.array([[2, 0, 1], [1, 1, 1]])) == pytest.approx([twice, whole])
    assert twice != pytest.approx(whole)


def test_predictive_values_are_those_of_a_counted_room():
    # 1000 scans, 100 positive: 90 found; 900 negative: 45 called
    ppv, npv = predictive_values(0.9, 0.95, 0.1)
    assert ppv == pytest.approx(90 / 135) and npv == pytest.approx(855 / 865)
