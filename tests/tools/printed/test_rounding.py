from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from ich_study.errors import StudyError
from tools.printed.rounding import Interval, corners, parse_printed


@pytest.mark.parametrize(
    ("text", "percent", "value", "half"),
    [
        ("0.970", False, "0.970", "0.0005"),
        ("61.88", True, "0.6188", "0.00005"),
        ("58.08 %", False, "0.5808", "0.00005"),
        ("over 75%", False, "0.75", "0.005"),
        ("12,067", False, "12067", "0.5"),
        ("more than 55,000", False, "55000", "0.5"),
        ("-0.0014", False, "-0.0014", "0.00005"),
        ("+0.0135", False, "0.0135", "0.00005"),
        ("10^-37", False, "1e-37", "5e-38"),
        ("2/5", False, "0.4", "0"),
        ("10ms", False, "10", "0.5"),
        ("Ten", False, "10", "0"),
        ("B0", False, "0", "0.5"),
        ("[14]", False, "14", "0.5"),
    ],
)
def test_printed_numbers_are_read_with_half_a_unit_of_their_last_digit(text, percent, value, half):
    number = parse_printed(text, percent=percent)
    assert number.value == Fraction(value)
    assert number.interval == Interval(
        Fraction(value) - Fraction(half), Fraction(value) + Fraction(half)
    )
    assert number.spread is None


def test_a_spread_and_stars_are_read():
    number = parse_printed("0.31 ± 0.23**")
    assert (number.value, number.spread) == (Fraction("0.31"), Fraction("0.23"))
    assert number.spread_interval == Interval(Fraction("0.225"), Fraction("0.235"))


def test_an_exact_number_has_no_width():
    assert parse_printed("2,734", exact=True).interval == Interval(Fraction(2734), Fraction(2734))


@pytest.mark.parametrize("text", ["", "–", "_", "0.5 ± n/a"])
def test_text_without_a_number_is_refused(text):
    with pytest.raises(StudyError, match="no number"):
        parse_printed(text)


@settings(max_examples=100, deadline=None)
@given(st.fractions(0, 1), st.integers(1, 5))
def test_the_interval_of_a_rounded_number_holds_the_number(number, digits):
    printed = f"{float(round(number, digits)):.{digits}f}"
    assert parse_printed(printed).interval.meets(Interval(number, number))


def test_intervals_that_share_an_end_meet_only_where_one_is_exact():
    low, exact, high = (
        parse_printed("0.55").interval,
        Interval(Fraction("0.555"), Fraction("0.555")),
        parse_printed("0.56").interval,
    )
    assert not low.meets(high)
    assert low.meets(exact)
    assert exact.meets(high)
    assert low.meets(parse_printed("0.547").interval)


@settings(max_examples=60, deadline=None)
@given(
    *[st.fractions(-3, 3, max_denominator=1000)] * 4,
    st.fractions(0, 1, max_denominator=100),
    st.fractions(0, 1, max_denominator=100),
)
def test_interval_arithmetic_holds_every_result(a, b, c, d, s, t):
    x, y = Interval(min(a, b), max(a, b)), Interval(min(c, d), max(c, d))
    u, v = x.low + s * (x.high - x.low), y.low + t * (y.high - y.low)
    for interval, value in (
        (x + y, u + v),
        (x - y, u - v),
        (x * y, u * v),
        (x / 7, u / 7),
        (corners(lambda p, q: p + q, x, y), u + v),
    ):
        assert interval.low <= value <= interval.high
