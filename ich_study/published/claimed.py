"""The paired differences that the claims ask for, of whatever a study has measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ich_study.evaluate.pairs import pair_columns
from ich_study.evaluate.rows import Row, Rows
from ich_study.published.claims import compared_pairs
from ich_study.published.lookup import PROTOCOL, row_keys
from ich_study.schema import result_table

NAMED = ("method", "metric", *PROTOCOL)
"""Columns in which two rows of one study and data set can differ."""


def with_claimed(found: Sequence[Row], *made: Rows) -> pd.DataFrame:
    """The result table of `found` and of the differences that `claimed_rows` adds, for each of
    those that made the rows."""
    found = list(found)
    for rows in made:
        found += claimed_rows(rows, found)
    return result_table(found)


def claimed_rows(rows: Rows, found: Sequence[Row]) -> list[Row]:
    """A row `<metric>_difference` for every two rows made by `rows` that a claim compares, both on
    the same drawn patients. found: all rows so far; differences among them are not made again.

    A claim that compares measures of different patients keeps its two separate intervals.
    """
    made = {tuple(row_keys(row).values()): (row, statistic) for row, statistic in rows.made}
    differences = []
    for keys in compared_pairs(result_table(list(found)), rows.study):
        both = [made.get(tuple(each.values())) for each in keys]
        if None in both:
            continue
        (one, statistic), (two, other) = both
        if np.array_equal(statistic.patients, other.patients):
            named = ({key: row.get(key) for key in NAMED} for row in (one, two))
            columns = pair_columns(*named)
            differences.append(rows.difference(statistic, other, **columns))
    return differences
