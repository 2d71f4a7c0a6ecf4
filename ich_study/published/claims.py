"""Sentences of the five papers that a number can decide, each judged under the paper's protocol.

`claims.csv` has a line per sentence. A claim compares the rows of the result table that its `left`
selector picks with those that `right` picks, or with a constant. A selector is
`column=value;column=a|b`, alternatives parted by `|`. What both sides share stands in `protocol`:
the way in which the paper got its numbers. A column of PROTOCOL that no selector names must be
empty in the row, so a row of another protocol never judges the sentence. `ours` and `boxes` say
what changes for a second verdict: under this study's protocol (thresholds that saw no test mask,
held-out patients), and on data whose truth is boxes.

Rows are paired where they agree in every column that both selectors leave open or name alike, so
that classes and data sets are compared with themselves. Of a number with several seeds the lowest
seed judges; further seeds are repeats, and no second chance.

**What a verdict keeps.** `supported`: every comparison holds in its own 95 % interval; as all must,
a sentence that is false in one of them is supported in at most 2.5 % of studies. `contradicted`:
one comparison fails in an interval that is corrected over all comparisons of the claim
(Bonferroni), so a true sentence is contradicted in at most 2.5 %, however many it makes. `within`
is an equivalence test (Schuirmann 1987) at 2.5 %, its power stands beside it. Claims are not
corrected among each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from ich_study.errors import StudyError
from ich_study.evaluate.pairs import pair_columns
from ich_study.published.tables import PAPERS
from ich_study.schema import MEASURED, RESULT_COLUMNS

CLAIM_COLUMNS: tuple[str, ...] = (
    "claim_id",
    "paper",
    "section",
    "short",
    "sentence",
    "evidence",
    "study",
    "metric",
    "protocol",
    "left",
    "comparison",
    "right",
    "ours",
    "boxes",
    "note",
)
"""`short`: what is compared, for who has not read the paper. `evidence`: the printed tables whose
numbers say the sentence, or `none` where the paper prints no number for it."""
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
VERDICT_COLUMNS: tuple[str, ...] = (
    *(name for name in CLAIM_COLUMNS if name not in SECOND),
    *RULING_COLUMNS,
    *(f"{column}_{second}" for second in SECOND for column in ("verdict", "reason")),
)
VERDICTS: tuple[str, ...] = ("supported", "contradicted", "undecided", "not measured")

_WHERE = ("study", "dataset", "method", "metric", "seed")
PROTOCOL: tuple[str, ...] = tuple(
    name for name in RESULT_COLUMNS if name not in MEASURED and name not in _WHERE
)
"""Columns that must be empty in a row unless a selector names them."""
KEYS: tuple[str, ...] = ("study", "dataset", "part", "method", "metric", *PROTOCOL)
"""Columns that a selector can name: those of the result table, and the part of the data set, which
stands behind `/` in its `dataset`."""
TEST_PARTS = ("test", "")
"""Parts that are judged unless a selector names others: held-out patients, or the whole of a data
set that nothing was trained or chosen on."""
EMPTY = "-"
"""Stands in a selector for an empty column."""
SHARES_OF_MARKS = ("precision", "ppv")
"""Measures, as they stand in names of metrics, without a value where nothing is marked."""
CLOCK_METRICS = frozenset({"milliseconds"})
"""Metrics that a clock decides: equal runs may differ in them, and in verdicts on them."""
MINIMUM_PATIENTS = 5
"""Under this many patients an interval decides nothing: a bootstrap over so few is narrow by
accident."""
_Z = float(ndtri(0.975))
Selector = dict[str, tuple[str, ...]]
Row = dict[str, Any]
Bounds = tuple[float, float, float, str]


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


def parse_selector(text: str) -> Selector:
    """`method=a|b;class=IPH` as {column: alternatives}. Raises StudyError on a column the result
    table lacks, or twice named."""
    selector: Selector = {}
    for entry in text.split(";"):
        key, equals, values = entry.strip().partition("=")
        if not equals or key not in KEYS or key in selector or not all(values.split("|")):
            raise StudyError(
                f"selector {text!r}: {entry!r}; expected column=value or column=a|b, once per"
                f" column, of {', '.join(KEYS)}"
            )
        selector[key] = tuple("" if value == EMPTY else value for value in values.split("|"))
    return selector


def claim_sides(claim: pd.Series, second: str = "") -> tuple[Selector, Selector | float]:
    """The claim's left selector and its right one or constant, every column of PROTOCOL and the
    part filled in. second: "" for the paper's protocol, or one of SECOND."""
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
def _load() -> pd.DataFrame:
    with (files("ich_study.published") / "claims.csv").open(encoding="utf-8") as stream:
        claims = pd.read_csv(stream, dtype="string", keep_default_na=False)
    if tuple(claims.columns) != CLAIM_COLUMNS:
        raise StudyError(
            f"published/claims.csv has columns {list(claims.columns)}; expected"
            f" {list(CLAIM_COLUMNS)}"
        )
    for _, claim in claims.iterrows():
        try:
            for second in ("", *(name for name in SECOND if claim[name])):
                claim_sides(claim, second)
            parse_comparison(claim["comparison"])
        except StudyError as error:
            raise StudyError(f"published/claims.csv, claim {claim['claim_id']}: {error}") from error
    if not claims["claim_id"].is_unique or not claims["paper"].isin(PAPERS).all():
        raise StudyError("published/claims.csv: a claim_id stands twice, or a paper is unknown")
    return claims


def load_claims() -> pd.DataFrame:
    """Every claim, columns `CLAIM_COLUMNS`, empty text where a column says nothing.

    Raises StudyError naming the claim whose selector, comparison or paper is not valid.
    """
    return _load().copy()


def row_keys(row: Mapping[str, Any]) -> dict[str, str]:
    """KEYS of a row of the result table as text: missing is empty, the part stands apart from the
    data set.

    >>> keys = row_keys({"dataset": "rsna/test", "method": "a", "brain_mask": True, "layer": -1})
    >>> keys["dataset"], keys["part"], keys["brain_mask"], keys["layer"], keys["variant"]
    ('rsna', 'test', 'true', '-1', '')
    """
    keys = {name: _text(row.get(name)) for name in KEYS}
    keys["dataset"], _, keys["part"] = keys["dataset"].partition("/")
    return keys


def compared_pairs(
    results: pd.DataFrame, study: str
) -> list[tuple[dict[str, str], dict[str, str]]]:
    """`row_keys` of every two rows, at least one of them of `study`, that some claim compares and
    whose difference the table does not hold."""
    table, found = Results.of(results), {}
    for _, claim in load_claims().iterrows():
        for second in ("", *(name for name in SECOND if claim[name])):
            left, right = claim_sides(claim, second)
            if isinstance(right, float) or study not in (*left["study"], *right["study"]):
                continue
            for first, other in table.pairs(left, right):
                if table.paired(first, other) is None:
                    keys = tuple({key: row[key] for key in KEYS} for row in (first, other))
                    found[tuple(value for each in keys for value in each.values())] = keys
    return list(found.values())


def verdicts(
    results: pd.DataFrame, claims: pd.DataFrame | None = None, synthetic: bool = False
) -> pd.DataFrame:
    """Every claim (`load_claims()` unless given) judged, columns `VERDICT_COLUMNS`: one of
    VERDICTS, from the result table's 95 % intervals; `not measured` where it has no such rows.

    The interval of a pair's difference is that of its own row (`pair_columns`, in either direction)
    where there is one, else from the left's lower minus the right's upper bound to the left's upper
    minus the right's lower, so that only intervals that do not overlap decide.

    `pairs` were compared, `paired` of them on the same drawn patients; `patients` is the smallest
    number behind a comparison; `difference_low` and `difference_high` span the intervals of all
    differences. `power`: of an equivalence test, the smallest. synthetic: the results are of a
    phantom; claims about a printed number of one data set (their note begins with `absolute`) are
    then left undecided. Raises StudyError if `results` lacks a column.
    """
    claims, table = load_claims() if claims is None else claims, Results.of(results)
    rows = []
    for _, claim in claims.iterrows():
        row = claim.to_dict()
        if synthetic and claim["note"].startswith("absolute"):
            row |= {"verdict": "undecided", "reason": "a printed number is not judged by a phantom"}
        else:
            row |= _judge(claim, table)
        for second in SECOND:
            ruling = _judge(claim, table, second) if claim[second] else {}
            row[f"verdict_{second}"] = ruling.get("verdict", "")
            row[f"reason_{second}"] = ruling.get("reason", "")
        rows.append(row)
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def _judge(claim: pd.Series, table: Results, second: str = "") -> dict[str, object]:
    """RULING_COLUMNS of one claim."""
    left, right = claim_sides(claim, second)
    comparison, pairs = parse_comparison(claim["comparison"]), table.bounds(left, right)
    absent = table.absent(left) or ("" if isinstance(right, float) else table.absent(right))
    if pairs.empty:
        return dict.fromkeys(RULING_COLUMNS, np.nan) | {
            "verdict": "not measured",
            "reason": absent or "no two rows that can be compared",
            "pairs": 0,
            "paired": 0,
        }
    patients = int(pairs["n"].min()) if pairs["n"].notna().any() else 0
    power = min(comparison.power(low, high) for low, high in zip(pairs["low"], pairs["high"]))
    wide = corrected(pairs)
    failed = sum(comparison.fails(low, high) for low, high in zip(wide["low"], wide["high"]))
    held = sum(comparison.holds(low, high) for low, high in zip(pairs["low"], pairs["high"]))
    unknown = int(pairs["low"].isna().sum())
    if failed:
        verdict = "contradicted"
        reason = f"{failed} of {len(pairs)} comparisons cannot hold, corrected over all of them"
    elif absent:
        verdict, reason = "not measured", absent
    elif held == len(pairs):
        verdict, reason = "supported", f"all {len(pairs)} comparisons hold"
    elif unknown:
        verdict, why = "undecided", pairs.loc[pairs["low"].isna(), "why"].mode()[0]
        reason = f"{unknown} of {len(pairs)} cannot be decided with {patients} patients: {why}"
    elif comparison.sign == "within" and power == 0:
        verdict = "undecided"
        reason = f"cannot be decided with {patients} patients: equal methods would not be found so"
    else:
        verdict, reason = "undecided", f"{held} of {len(pairs)} comparisons hold, none is refuted"
    return {
        "verdict": verdict,
        "reason": reason,
        "pairs": len(pairs),
        "paired": int(pairs["paired"].sum()),
        "patients": patients,
        "difference_low": pairs["low"].min(),
        "difference_high": pairs["high"].max(),
        "power": power,
    }


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


@dataclass(frozen=True)
class Results:
    """The result table for look-up. rows: KEYS as text and `value, ci_low, ci_high, n, interval`,
    the lowest seed of each, by study and metric. differences: paired ones by their KEYS. occurs:
    (method, column, value) that some row has."""

    rows: dict[tuple[str, str], list[Row]] = field(repr=False)
    differences: dict[tuple[str, ...], Bounds] = field(repr=False)
    occurs: set[tuple[str, str, str]] = field(repr=False)

    @classmethod
    def of(cls, results: pd.DataFrame) -> Results:
        """Raises StudyError on a missing column or a number given twice."""
        missing = [name for name in RESULT_COLUMNS if name not in results]
        if missing:
            raise StudyError(
                f"the result table lacks columns {missing}; expected {', '.join(RESULT_COLUMNS)}"
            )
        twice = results.duplicated([*(name for name in KEYS if name != "part"), "seed"])
        if twice.any():
            example = results.loc[twice].iloc[0].to_dict()
            raise StudyError(
                f"the result table gives a number twice: {example}; judge one scale at a time"
            )
        keys = pd.DataFrame(
            [row_keys(row) for row in results.to_dict("records")], columns=list(KEYS), dtype=object
        )
        numbers = results[["value", "ci_low", "ci_high", "n", "seed"]].astype("float64")
        few = numbers["n"] < MINIMUM_PATIENTS
        numbers.loc[few, ["ci_low", "ci_high"]] = np.nan
        kinds = results["interval"].astype(object).fillna("")
        kinds = kinds.mask(few, f"under {MINIMUM_PATIENTS} patients")
        rows = pd.concat([keys, numbers.assign(interval=kinds).reset_index(drop=True)], axis=1)
        rows = rows.sort_values("seed", kind="stable").drop_duplicates(list(KEYS))
        rows = rows.drop(columns="seed")
        paired = rows[rows["metric"].str.endswith("_difference")]
        bounds = zip(*(paired[name] for name in ("value", "ci_low", "ci_high", "interval")))
        differences = dict(zip(paired[list(KEYS)].itertuples(index=False, name=None), bounds))
        occurs = {
            (method, key, value) for key in KEYS for method, value in zip(rows["method"], rows[key])
        }
        found: dict[tuple[str, str], list[Row]] = {}
        for row in rows.to_dict("records"):
            found.setdefault((row["study"], row["metric"]), []).append(row)
        return cls(found, differences, occurs)

    def of_metric(self, selector: Selector) -> list[Row]:
        """Rows of the studies and metrics that a selector names."""
        wanted = product(selector["study"], selector["metric"])
        return [row for key in wanted for row in self.rows.get(key, [])]

    def select(self, selector: Selector) -> list[Row]:
        """Rows that a selector picks."""
        chosen = self.of_metric(selector)
        for key, values in selector.items():
            chosen = [row for row in chosen if row[key] in values]
        return chosen

    def pairs(self, left: Selector, right: Selector) -> Iterator[tuple[Row, Row]]:
        """Left and right rows that agree in every column that both leave open or name alike."""
        shared = [key for key in KEYS if left.get(key) == right.get(key)]
        others: dict[tuple[str, ...], list[Row]] = {}
        for row in self.select(right):
            others.setdefault(tuple(row[key] for key in shared), []).append(row)
        for first in self.select(left):
            for other in others.get(tuple(first[key] for key in shared), []):
                yield first, other

    def bounds(self, left: Selector, right: Selector | float) -> pd.DataFrame:
        """Intervals of left - right: `value, low, high`, `why` there is none, `n`, and whether they
        are `paired`."""
        found = []
        if isinstance(right, float):
            for row in self.select(left):
                numbers = (row[name] - right for name in ("value", "ci_low", "ci_high"))
                found.append((*numbers, self.why(row), row["n"], False))
        else:
            for first, other in self.pairs(left, right):
                paired = self.paired(first, other)
                lacking = other if np.isfinite(first["ci_low"]) else first
                apart = (
                    first["value"] - other["value"],
                    first["ci_low"] - other["ci_high"],
                    first["ci_high"] - other["ci_low"],
                    self.why(lacking),
                )
                if paired:
                    paired = (*paired[:3], self.why({**lacking, "interval": paired[3]}))
                fewest = np.fmin(first["n"], other["n"])
                found.append((*(paired or apart), fewest, paired is not None))
        return pd.DataFrame(found, columns=["value", "low", "high", "why", "n", "paired"])

    def paired(self, first: Row, other: Row) -> Bounds | None:
        """Value, bounds and kind of interval of first - other from a row of the table, which may
        hold other - first; None where there is none."""
        for one, two, sign in ((first, other, 1), (other, first, -1)):
            one, two = ({key: row[key] for key in KEYS} for row in (one, two))
            found = self.differences.get(tuple(pair_columns(one, two).values()))
            found = found or self._under_first(one, two)
            if found is not None:
                value, low, high, kind = found
                return found if sign > 0 else (-value, -high, -low, kind)
        return None

    def _under_first(self, one: Row, two: Row) -> Bounds | None:
        """A difference of two methods that stands under the first one's columns alone. Where the
        second method has rows under them too, one of these is meant, and not `two`."""
        same = {**one, "method": two["method"]}
        unclear = any(
            one[key] != two[key] and (two["method"], key, one[key]) in self.occurs
            for key in KEYS
            if key != "method"
        )
        return None if unclear else self.differences.get(tuple(pair_columns(one, same).values()))

    def why(self, row: Row) -> str:
        """Of which class an interval is not there, and why: what a network did not mark, or the
        patients who do not have the class."""
        name, kind = row["class"] or "any class", row["interval"] or "measured without patients"
        if not kind.startswith("the measure has no value"):
            return f"{name}: {kind}"
        nowhere = kind.endswith("on the sample")
        if self._marks_nothing(row, "value" if nowhere else "ci_low"):
            return f"{name}: a network marks {'nothing of it' if nowhere else 'it too seldom'}"
        what = "one of its subtypes" if name == "average" else "it"
        return f"{name}: {what} is in {'no patient' if nowhere else 'too few patients'}"

    def _marks_nothing(self, row: Row, number: str) -> bool:
        """Whether a measure lacks its value for want of marks: it is a share of them, and the
        sensitivity of the same row has the number that it lacks."""
        for share in SHARES_OF_MARKS:
            sensitivity = row["metric"].replace(share, "sensitivity")
            if sensitivity == row["metric"]:
                continue
            for each in self.rows.get((row["study"], sensitivity), []):
                same = all(each[key] == row[key] for key in KEYS if key != "metric")
                if same and np.isfinite(each[number]):
                    return True
        return False

    def absent(self, selector: Selector) -> str:
        """What of a selector no row has, as text; empty where every alternative has its row."""
        rest, shown = self.of_metric(selector), "|".join(selector["metric"])
        if not any(study in selector["study"] for study, _ in self.rows):
            return f"{'|'.join(selector['study'])} has no results at this scale"
        if not rest:
            return f"no {shown} at this scale"
        for key, values in selector.items():
            rest = [row for row in rest if row[key] in values]
            if not rest:
                return f"no {shown} with {key}={'|'.join(values) or 'nothing'}"
        places = {"dataset", "part"}
        several = [key for key, values in selector.items() if len(values) > 1 and key not in places]
        there = {tuple(row[key] for key in several) for row in rest}
        for wanted in product(*(selector[key] for key in several)):
            if wanted not in there:
                return f"no {shown} with " + ", ".join(map("=".join, zip(several, wanted)))
        return ""


def _text(value: object) -> str:
    """A key as text: missing is empty; truth values and whole numbers look the same from CSV as
    from memory."""
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if str(value) in {"True", "False"} else str(value)
