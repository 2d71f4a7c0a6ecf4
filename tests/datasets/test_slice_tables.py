"""Slice labels from CSV: each row reaches its slice, whatever the order of the volume."""

import numpy as np
import pandas as pd
import pytest

from ich_study.datasets.slice_tables import read_slice_table, rows_by_slice
from ich_study.errors import DataError

TABLE = pd.DataFrame({"scan": "s", "slice": [1, 2, 3], "any": [True, False, True]})


def test_rows_follow_the_volume_not_the_table():
    rows, notes = rows_by_slice(TABLE, "slice", 1, np.array([2, 1, 0]), "s", allow_missing=False)
    assert rows["slice"].tolist() == [3, 2, 1] and rows["any"].tolist() == [True, False, True]
    assert notes == []


def test_a_slice_without_a_row_is_unknown_only_where_that_is_allowed():
    order = np.array([0, 1, 2, 3])
    with pytest.raises(DataError, match="1 slices have no row in the table, the first is number 4"):
        rows_by_slice(TABLE, "slice", 1, order, "s", allow_missing=False)
    rows, notes = rows_by_slice(TABLE, "slice", 1, order, "s", allow_missing=True)
    assert rows["any"].isna().tolist() == [False, False, False, True]
    assert notes == ["1 slices have no row in the table; their labels are unknown"]


def test_a_row_without_its_slice_is_refused():
    with pytest.raises(DataError, match=r"slice numbers \[3\], the scan 2 slices"):
        rows_by_slice(TABLE, "slice", 1, np.array([0, 1]), "s", allow_missing=True)


def test_a_table_is_read_without_its_other_columns_and_equal_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffscan, slice,any,note\ns,1,1,x\ns,2,0,y\ns,2,0,z\n", encoding="utf-8")
    table, twice = read_slice_table(path, ["scan", "slice"], ["any"], "layout")
    assert table.to_numpy().tolist() == [["s", 1, True], ["s", 2, False]] and twice == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scan,slice\ns,1\n", r"no columns \['any'\]"),
        ("scan,slice,any\ns,1,2\n", r"any is not 0 or 1 in 1 rows, the first are lines \[2\]"),
        ("scan,slice,any\ns,1.5,1\n", "slice is not a whole number"),
        ("scan,slice,any\ns,1,1\ns,1,0\n", "one slice stands there with different answers"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, text, says):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        read_slice_table(path, ["scan", "slice"], ["any"], "layout")
