"""BHX's boxes: which name is which subtype, a box of two files once, lines that are no box."""

import pandas as pd
import pytest

from ich_study.datasets.bhx import CHRONIC, read_boxes
from ich_study.errors import DataError


def write(path, *rows):
    columns = ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "data", "labelName"]
    table = pd.DataFrame(rows, columns=columns)
    table.assign(labelType="handDrawn").to_csv(path)
    return path


def row(name="Subdural", data="{'x': 3, 'y': 4.5, 'width': 10, 'height': 20}", image="i1"):
    return image, "s1", "t1", data, name


def test_a_box_keeps_its_sides_and_gets_the_studys_name(tmp_path):
    found = read_boxes([write(tmp_path / "a.csv", row(), row("Chronic", image="i2"))])
    assert found.to_numpy().tolist() == [
        ["i1", "s1", 3, 4.5, 10, 20, "SDH", False],
        ["i2", "s1", 3, 4.5, 10, 20, "any", True],
    ]


@pytest.mark.parametrize(("published", "ours"), [("Subdural", "SDH"), ("Epidural", "EDH")])
def test_names_that_look_alike_are_told_apart(tmp_path, published, ours):
    assert read_boxes([write(tmp_path / "a.csv", row(published))])["label"].tolist() == [ours]


def test_a_box_of_two_files_counts_once_and_two_boxes_of_a_slice_twice(tmp_path):
    other = row(data="{'x': 30, 'y': 4.5, 'width': 10, 'height': 20}")
    first = write(tmp_path / "a.csv", row(), other)
    assert len(read_boxes([first, write(tmp_path / "b.csv", row())])) == 2


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (row(data="{'x': 3}"), "line 3 has no box"),
        (row(data="__import__('os').getcwd()"), "line 3 has no box"),
        (row(data="{'x': 3, 'y': 4, 'width': 0, 'height': 2}"), "line 3 has a box of no area"),
        (row("Extradural"), "line 3 has labelName 'Extradural'"),
    ],
)
def test_what_is_no_box_is_named_by_its_line(tmp_path, bad, says):
    with pytest.raises(DataError, match=says):
        read_boxes([write(tmp_path / "a.csv", row(CHRONIC), bad)])


def test_another_table_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="Fetch this box table of BHX again"):
        read_boxes([tmp_path / "a.csv"])
