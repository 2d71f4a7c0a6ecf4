"""Sentences of the five papers that a number can decide, each judged under the paper's protocol.

`claims.csv` has a line per sentence. A claim compares the rows of the result table that its `left`
selector (see `lookup`) picks with those that `right` picks, or with a constant. What both sides
share stands in `protocol`: the way in which the paper got its numbers. `ours` and `boxes` say what
changes for a second verdict: under this study's protocol (thresholds that saw no test mask,
held-out patients), and on data whose truth is boxes.

**What a verdict keeps.** `supported`: every comparison holds in its own 95 % interval; as all must,
a sentence that is false in one of them is supported in at most 2.5 % of studies. `contradicted`:
one comparison fails in an interval that is corrected over all comparisons of the claim
(Bonferroni), so a true sentence is contradicted in at most 2.5 %, however many it makes. `within`
is an equivalence test (Schuirmann 1987) at 2.5 %, its power stands beside it. Claims are not
corrected among each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from ich_study.errors import StudyError
from ich_study.published.lookup import (
    KEYS,
    PROTOCOL,
    TEST_PARTS,
    Results,
    Selector,
    parse_selector,
)
from ich_study.published.tables import read_shipped

RULING_COLUMNS: tuple[str, ...] = (
    "verdict",
    "reason",
    "pairs",
    "paired",
    "patients",
    "difference_low",
    "difference_high",
    "power",
)
SECOND: tuple[str, ...] = ("ours", "boxes")
"""Columns of a claim that change its protocol for a verdict of their own."""
BOUNDS: tuple[str, ...] = ("difference_low", "difference_high")
METHOD = "seed_to_seed"
"""How far a difference moves from seed to seed, see `noise`; in a printed table a method of its
own."""
VERDICTS: tuple[str, ...] = ("supported", "contradicted", "undecided", "not measured")
CLOCK_METRICS = frozenset({"milliseconds"})
"""Metrics that a clock decides: equal runs may differ in them, and in verdicts on them."""
_Z = float(ndtri(0.975))


@dataclass(frozen=True)
class Comparison:
    """`>`, `<`, `>=`, or `within` a margin: what the difference left - right must be."""

    sign: str
    margin: float = 0.0

    def holds(self, low: float, high: float) -> bool:
        """Whether every difference from `low` to `high` is as claimed; NaN: False."""
        return {
            ">": low > 0,
            "<": high < 0,
            ">=": low >= 0,
            "within": max(abs(low), abs(high)) <= self.margin,
        }[self.sign]

    def fails(self, low: float, high: float) -> bool:
        """Whether no difference from `low` to `high` is as claimed; NaN: False."""
        return {
            ">": high <= 0,
            "<": low >= 0,
            ">=": high < 0,
            "within": low > self.margin or high < -self.margin,
        }[self.sign]

    def power(self, low: float, high: float) -> float:
        """Chance that `within` finds two equal methods equal, at the spread of this 95 % interval,
        taken as normal; NaN for other comparisons.

        >>> round(Comparison("within", 0.05).power(-0.03, 0.03), 2)
        0.81
        >>> Comparison("within", 0.05).power(-0.06, 0.06)  # the interval alone is too wide
        0.0
        """
        if self.sign != "within" or not np.isfinite(high - low):
            return float("nan")
        spread = (high - low) / (2 * _Z)
        if spread == 0:
            return 1.0
        return max(0.0, float(2 * ndtr(self.margin / spread - _Z) - 1))


def parse_comparison(text: str) -> Comparison:
    """`>`, `<`, `>=` or `within 0.02`. Raises StudyError on anything else."""
    sign, _, margin = text.partition(" ")
    if sign in {">", "<", ">="} and not margin:
        return Comparison(sign)
    try:
        if sign == "within" and float(margin) > 0:
            return Comparison(sign, float(margin))
    except ValueError:
        pass
    raise StudyError(f"comparison {text!r}; expected >, <, >= or such as 'within 0.02'")


def protocols(claim: pd.Series) -> tuple[str, ...]:
    """The protocols that a claim is judged under: "" for the paper's, and those of SECOND that it
    has."""
    return ("", *(name for name in SECOND if claim[name]))


def named(column: str, second: str) -> str:
    """The column of a ledger that holds `column` of the verdict under one of `protocols`."""
    return "_".join(filter(None, (column, second)))


def claim_sides(claim: pd.Series, second: str = "") -> tuple[Selector, Selector | float]:
    """The claim's left selector and its right one or constant, every column of PROTOCOL and the
    part filled in. second: one of `protocols`."""
    shared: Selector = {**dict.fromkeys(PROTOCOL, ("",)), "part": TEST_PARTS}
    shared |= {key: tuple(claim[key].split("|")) for key in ("study", "metric")}
    shared |= parse_selector(claim["protocol"])
    changed = parse_selector(claim[second]) if second else {}
    left = shared | parse_selector(claim["left"]) | changed
    try:
        right = float(claim["right"])
    except ValueError:
        right = shared | parse_selector(claim["right"]) | changed
    for side in (left, right):
        if not isinstance(side, float) and "method" not in side:
            raise StudyError(f"a side names no method: {claim['left']!r}, {claim['right']!r}")
    return left, right


@cache
def load_claims() -> pd.DataFrame:
    """Every claim, empty text where a column says nothing; not to be changed.

    `short`: what is compared, for who has not read the paper. `evidence`: the printed tables whose
    numbers say the sentence, or `none` where the paper prints no number for it. The other columns
    are told above.
    """
    return read_shipped("claims.csv")


def compared_pairs(
    results: pd.DataFrame, study: str
) -> list[tuple[dict[str, str], dict[str, str]]]:
    """`row_keys` of every two rows, at least one of them of `study`, that some claim compares and
    whose difference the table does not hold."""
    table, found = Results.of(results), {}
    for _, claim in load_claims().iterrows():
        for second in protocols(claim):
            left, right = claim_sides(claim, second)
            if isinstance(right, float) or study not in (*left["study"], *right["study"]):
                continue
            for first, other in table.pairs(left, right):
                if table.paired(first, other) is None:
                    keys = tuple({key: row[key] for key in KEYS} for row in (first, other))
                    found[str(keys)] = keys
    return list(found.values())


def verdicts(
    results: pd.DataFrame, claims: pd.DataFrame | None = None, synthetic: bool = False
) -> pd.DataFrame:
    """Every claim (`load_claims()` unless given) judged, with RULING_COLUMNS: one of VERDICTS, from
    the result table's 95 % intervals; `not measured` where it has no such rows.

    The interval of a pair's difference is that of its own row (`pair_columns`, in either direction)
    where there is one, else from the left's lower minus the right's upper bound to the left's upper
    minus the right's lower, so that only intervals that do not overlap decide.

    `pairs` were compared, `paired` of them on the same drawn patients; `patients` is the smallest
    number behind a comparison; `difference_low` and `difference_high` span the intervals of all
    differences, and of those under our protocol and against boxes in columns that end in `_ours`
    and `_boxes`. `power`: of an equivalence test, the smallest. Columns of METHOD are left to
    `noise.with_floor`. synthetic: the results are of a phantom; claims about a printed number of
    one data set (their note begins with `absolute`) are then left undecided.
    """
    claims, table = load_claims() if claims is None else claims, Results.of(results)
    rows = []
    for _, claim in claims.iterrows():
        rulings = {name: _judge(claim, table, name) if claim[name] else {} for name in SECOND}
        row = claim.drop(list(SECOND)).to_dict() | dict.fromkeys(RULING_COLUMNS, np.nan)
        if synthetic and claim["note"].startswith("absolute"):
            row |= {"verdict": "undecided", "reason": "a printed number is not judged by a phantom"}
        else:
            row |= _judge(claim, table)
        for second, ruling in rulings.items():
            row |= {named(said, second): ruling.get(said, "") for said in ("verdict", "reason")}
        row |= {named(METHOD, second): np.nan for second in ("", *SECOND)}
        for second, ruling in rulings.items():
            row |= {named(bound, second): ruling.get(bound, np.nan) for bound in BOUNDS}
        rows.append(row)
    return pd.DataFrame(rows)


def _judge(claim: pd.Series, table: Results, second: str = "") -> dict[str, object]:
    """Those of RULING_COLUMNS that a claim has."""
    left, right = claim_sides(claim, second)
    comparison, pairs = parse_comparison(claim["comparison"]), table.bounds(left, right)
    absent = table.absent(left) or ("" if isinstance(right, float) else table.absent(right))
    if pairs.empty:
        reason = absent or "no two rows that can be compared"
        return {"verdict": "not measured", "reason": reason, "pairs": 0, "paired": 0}
    patients = int(pairs["n"].min()) if pairs["n"].notna().any() else 0
    power = min(comparison.power(low, high) for low, high in zip(pairs["low"], pairs["high"]))
    verdict, reason = _decided(comparison, pairs, absent, patients, power)
    return {
        "verdict": verdict,
        "reason": reason,
        "pairs": len(pairs),
        "paired": pairs["paired"].sum(),
        "patients": patients,
        "difference_low": pairs["low"].min(),
        "difference_high": pairs["high"].max(),
        "power": power,
    }


def _decided(
    comparison: Comparison, pairs: pd.DataFrame, absent: str, patients: int, power: float
) -> tuple[str, str]:
    """The verdict over all pairs, and why. absent: what the claim names and no row has."""
    wide, number = corrected(pairs), len(pairs)
    failed = sum(comparison.fails(low, high) for low, high in zip(wide["low"], wide["high"]))
    held = sum(comparison.holds(low, high) for low, high in zip(pairs["low"], pairs["high"]))
    unknown = pairs["low"].isna().sum()
    if failed:
        reason = f"{failed} of {number} comparisons cannot hold, corrected over all of them"
        return "contradicted", reason
    if absent:
        return "not measured", absent
    if held == number:
        return "supported", f"all {number} comparisons hold"
    if unknown:
        why = all_reasons(pairs.loc[pairs["low"].isna(), "why"])
        reason = f"{unknown} of {number} cannot be decided with {patients} patients: {why}"
    elif comparison.sign == "within" and power == 0:
        reason = f"cannot be decided with {patients} patients: equal methods would not be found so"
    else:
        reason = f"{held} of {number} comparisons hold, none is refuted"
    return "undecided", reason


def all_reasons(whys: Iterable[str]) -> str:
    """Of `Results.bounds` every reason once, behind all classes that it holds for.

    >>> all_reasons(["IVH: too few", "EDH: in no patient", "SDH: too few", "IVH: too few"])
    'IVH, SDH: too few; EDH: in no patient'
    """
    classes: dict[str, list[str]] = {}
    for why in dict.fromkeys(whys):
        name, _, reason = why.partition(": ")
        classes.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in classes.items())


def corrected(pairs: pd.DataFrame) -> pd.DataFrame:
    """95 % intervals `low`, `high` around `value` as simultaneous ones over all rows: each side is
    stretched by the ratio of the normal quantiles (Bonferroni)."""
    stretch = ndtri(1 - 0.025 / len(pairs)) / _Z
    return pd.DataFrame(
        {
            name: pairs["value"] + stretch * (pairs[name] - pairs["value"])
            for name in ("low", "high")
        }
    )
