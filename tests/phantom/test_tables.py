"""Tables of the phantom's anatomy: every row complete, and what has two sides has them alike."""

import numpy as np
import pytest

from ich_study.phantom import tables


@pytest.mark.parametrize(
    ("table", "groups"),
    [
        ("solids", {"bone", "orbit", "air"}),
        ("brain_solids", {"stem", "cistern", "nucleus"}),
        ("vessels", {"sinus", "artery"}),
        ("ventricles", {"body", "temporal horn"}),
    ],
)
def test_groups_make_up_the_table_in_its_order(table, groups):
    rows = tables.read_rows(table)
    assert {row["group"] for row in rows} == groups
    for group in groups:
        assert tables.read_rows(table, group) == [row for row in rows if row["group"] == group]


def test_an_empty_cell_is_none_and_a_number_a_float():
    petrous, capsule = tables.read_rows("solids", "bone")[:2]
    assert tables.centre(petrous) == (13, 19, -31) and tables.axes(petrous) == (6.5, 10, 0)
    assert tables.end(petrous) == (60, 44, -29) and tables.end(capsule) is None
    assert petrous["cells"] is None and petrous["name"] == "petrous pyramid"


def test_every_solid_has_a_size_and_lies_in_the_head():
    for table in ("solids", "brain_solids", "calcifications"):
        for row in tables.read_rows(table):
            assert max(tables.axes(row)) > 0 and np.abs(tables.centre(row)).max() < 110, row


@pytest.mark.parametrize("group", ["sinus", "artery"])
def test_vessels_off_the_midline_have_a_twin(group):
    courses = {tables.centre(row) + tables.end(row) for row in tables.read_rows("vessels", group)}
    for x, y, z, end_x, end_y, end_z in courses:
        assert (-x, y, z, -end_x, end_y, end_z) in courses
