"""Rows of the result table, found by a selector and paired with those of another.

A selector is `column=value;column=a|b`, alternatives parted by `|`. A column of PROTOCOL that it
does not name must be empty in the row, so a row of another protocol is never picked.

Rows are paired where they agree in every column that both selectors leave open or name alike, so
that classes and data sets are compared with themselves. Of a number with several seeds the lowest
seed stands for it; further seeds are repeats, and no second chance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.evaluate.pairs import pair_columns
from ich_study.schema import MEASURED, RESULT_COLUMNS

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
MINIMUM_PATIENTS = 5
"""Under this many patients an interval decides nothing: a bootstrap over so few is narrow by
accident."""
Selector = dict[str, tuple[str, ...]]
Row = dict[str, Any]
Bounds = tuple[float, float, float, str]


def parse_selector(text: str, columns: Collection[str] = KEYS) -> Selector:
    """`method=a|b;class=IPH` as {column: alternatives}. Raises StudyError on a column that is none
    of `columns`, or twice named."""
    selector: Selector = {}
    for entry in text.split(";"):
        key, equals, values = entry.strip().partition("=")
        if not equals or key not in columns or key in selector or not all(values.split("|")):
            raise StudyError(
                f"selector {text!r}: {entry!r}; expected column=value or column=a|b, once per"
                f" column, of {', '.join(columns)}"
            )
        selector[key] = tuple("" if value == EMPTY else value for value in values.split("|"))
    return selector


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


@dataclass(frozen=True, repr=False)
class Results:
    """The result table for look-up. rows: KEYS as text and `value, ci_low, ci_high, n, interval`,
    the lowest seed of each, by study and metric. differences: paired ones by their KEYS. occurs:
    (method, column, value) that some row has."""

    rows: dict[tuple[str, str], list[Row]]
    differences: dict[tuple[str, ...], Bounds]
    occurs: set[tuple[str, str, str]]

    @classmethod
    def of(cls, results: pd.DataFrame) -> Results:
        """Raises StudyError on a number given twice."""
        twice = results.duplicated([*(name for name in KEYS if name != "part"), "seed"])
        if twice.any():
            example = results.loc[twice].iloc[0].to_dict()
            raise StudyError(
                f"the result table gives a number twice: {example}; judge one scale at a time"
            )
        rows = _look_up_rows(results)
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
        if isinstance(right, float):
            same = dict.fromkeys(("value", "ci_low", "ci_high"), right)
            pairs = ((row, {**row, **same}) for row in self.select(left))
        else:
            pairs = self.pairs(left, right)
        found = []
        for first, other in pairs:
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


def _look_up_rows(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of the result table as `Results` holds them, without an interval over too few
    patients."""
    keys = pd.DataFrame(
        [row_keys(row) for row in results.to_dict("records")], columns=KEYS, dtype=object
    )
    numbers = results[["value", "ci_low", "ci_high", "n", "seed"]].astype("float64")
    few = numbers["n"] < MINIMUM_PATIENTS
    numbers.loc[few, ["ci_low", "ci_high"]] = np.nan
    kinds = results["interval"].astype(object).fillna("")
    # what has no value at all says better why
    told = few & numbers["value"].notna()
    kinds = kinds.mask(told, f"under {MINIMUM_PATIENTS} patients")
    rows = pd.concat([keys, numbers.assign(interval=kinds).reset_index(drop=True)], axis=1)
    rows = rows.sort_values("seed", kind="stable").drop_duplicates(list(KEYS))
    return rows.drop(columns="seed")


def _text(value: object) -> str:
    """A key as text: missing is empty; truth values and whole numbers look the same from CSV as
    from memory."""
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if str(value) in {"True", "False"} else str(value)
