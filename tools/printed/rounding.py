"""Printed numbers as the exact intervals of what they can have been rounded from.

A number printed as 0.253 stands for anything in [0.2525, 0.2535]: half a unit of its last digit to
either side. All arithmetic is on fractions, so a verdict never hangs on floating point.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ich_study.errors import StudyError

Bound = Fraction | float
"""A fraction, or a float infinity where a side is open."""

_WORDS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_NUMBER = re.compile(r"[+\-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[+\-−]?\.\d+")
_POWER = re.compile(r"10\^(-?\d+)")
_RATIO = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`, both included."""

    low: Bound
    high: Bound

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Interval) -> Interval:
        return Interval(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Interval) -> Interval:
        return corners(lambda a, b: a * b, self, other)

    def __truediv__(self, number: int) -> Interval:
        return Interval(Fraction(self.low) / number, Fraction(self.high) / number)

    def meets(self, other: Interval) -> bool:
        """Whether some number lies in both.

        Two intervals with a width that share an end alone do not meet: the number there would be a
        tie that was rounded up in one place and down in the other.
        """
        low, high = max(self.low, other.low), min(self.high, other.high)
        return low < high or (low == high and (self.low == self.high or other.low == other.high))


@dataclass(frozen=True)
class Printed:
    """A printed number: its value and the interval it was rounded from, the same for the spread
    after "±"."""

    value: Fraction
    interval: Interval
    spread: Fraction | None = None
    spread_interval: Interval | None = None


def corners(function: Callable[..., Fraction], *arguments: Interval) -> Interval:
    """The range of a function that is monotone in each argument: its extremes lie at the
    corners."""
    values = [
        function(*corner) for corner in itertools.product(*((a.low, a.high) for a in arguments))
    ]
    return Interval(min(values), max(values))


def parse_printed(text: str, percent: bool = False, exact: bool = False) -> Printed:
    """A number as a paper prints it, such as `0.31 ± 0.23**`, `58.08 %`, `over 25,000`, `10^-37`,
    `2/5`, `nine`.

    percent: the column's heading carries the "%" that the cell leaves out; either way the value is
    a fraction.
    exact: the number was not rounded (a count, a reference), so its interval is itself.
    Raises StudyError where the text holds no number.
    """
    scale = Fraction(1, 100) if percent or "%" in text else Fraction(1)
    head, _, tail = text.partition("±")
    value, half = _number(head, text)
    width = Fraction(0) if exact else half * scale
    interval = _around(value * scale, width)
    if not tail:
        return Printed(value * scale, interval)
    spread, half = _number(tail, text)
    return Printed(value * scale, interval, spread * scale, _around(spread * scale, half * scale))


def _around(value: Fraction, width: Fraction) -> Interval:
    return Interval(value - width, value + width)


def _number(text: str, whole: str) -> tuple[Fraction, Fraction]:
    """The number in `text` and half a unit of its last printed digit."""
    if power := _POWER.search(text):
        unit = Fraction(10) ** int(power.group(1))
        return unit, unit / 2
    if ratio := _RATIO.search(text):
        return Fraction(int(ratio.group(1)), int(ratio.group(2))), Fraction(0)
    if match := _NUMBER.search(text):
        digits = match.group().replace(",", "").replace("−", "-")
        decimals = len(digits.partition(".")[2])
        return Fraction(digits), Fraction(1, 2 * 10**decimals)
    for word in text.lower().split():
        if word in _WORDS:
            return Fraction(_WORDS[word]), Fraction(0)
    raise StudyError(
        f"no number in the printed text {whole!r}; expected such as '0.31 ± 0.23', '58.08 %' or"
        " 'nine'"
    )
