"""A transcribed table is complete, and its values are the numbers that are printed."""

import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.published import tables
from tools.printed.rounding import parse_printed
from tools.printed.transcribed import check_table


def test_every_committed_table_is_as_it_should_be():
    for paper, table in tables.list_tables().to_numpy():
        check_table(tables.load_table(paper, table), f"{paper}/{table}")


def test_values_and_spreads_are_the_printed_ones():
    for row in tables.load_all().itertuples():
        number = parse_printed(row.as_printed, percent="[%]" in row.column)
        assert row.value == float(number.value)
        assert (row.spread_kind == "none") == (number.spread is None)
        assert pd.isna(row.spread) if number.spread is None else row.spread == float(number.spread)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("value", 0.5, "not what is printed"),
        ("as_printed", "n/a", "no number"),
        ("source", pd.NA, "no source"),
        ("emphasis", "italic", "emphasis"),
    ],
)
def test_a_damaged_table_is_refused(column, value, message):
    frame = tables.load_table("mil_detector", "table_1")
    frame.loc[2, column] = value
    with pytest.raises(StudyError, match=message):
        check_table(frame, "copy")


def test_a_cell_given_twice_or_an_unknown_column_is_refused():
    frame = tables.load_table("mil_detector", "table_1")
    with pytest.raises(StudyError, match="twice"):
        check_table(pd.concat([frame, frame.head(1)]), "copy")
    with pytest.raises(StudyError, match="unknown columns"):
        check_table(frame.assign(page=1), "copy")
