"""BHX's boxes: which name is which subtype, a box of two files once, lines that are no box."""

import pandas as pd
import pytest

from ich_study.datasets import bhx
from ich_study.datasets.bhx import BOXED_BY_HAND, CHRONIC, read_boxes, unvouched
from ich_study.errors import DataError
from ich_study.hashing import sha256_file


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


def test_a_table_cut_between_two_lines_has_fewer_boxes_than_were_published(tmp_path, monkeypatch):
    path = write(tmp_path / BOXED_BY_HAND, row(), row(image="i2"), row(image="i3"))
    monkeypatch.setitem(bhx.PUBLISHED_BOXES, BOXED_BY_HAND, 3)
    assert unvouched(path) == []
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert len(read_boxes([path])) == 2
    (told,) = unvouched(path)
    assert told.startswith(f"missing-labels: {BOXED_BY_HAND} holds 2 boxes, expected 3")


def test_a_table_of_ones_own_is_vouched_for_by_its_checksum_alone(tmp_path):
    path = write(tmp_path / "mine.csv", row())
    (told,) = unvouched(path)
    assert told.startswith("mine.csv holds 1 boxes; how many there should be is not known")
    (tmp_path / "SHA256SUMS.txt").write_text(f"{sha256_file(path)}  mine.csv\n")
    assert unvouched(path) == []
