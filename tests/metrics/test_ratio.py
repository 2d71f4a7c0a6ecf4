"""The one division of all measures."""

import numpy as np

from ich_study.metrics.ratio import ratio


def test_without_a_denominator_there_is_no_value_and_single_numbers_stay_numbers():
    np.testing.assert_array_equal(
        ratio(np.array([1, 0, 2]), np.array([4, 0, -1])), [0.25, np.nan, np.nan]
    )
    assert float(ratio(1, 2)) == 0.5 and np.isnan(ratio(0, 0)) and np.ndim(ratio(1, 2)) == 0


def test_what_is_known_may_be_said():
    found = ratio(np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([True, False]))
    np.testing.assert_array_equal(found, [0.5, np.nan])
