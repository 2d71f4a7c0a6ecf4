"""Files that are no files, sizes that are no sizes, tables that are no tables: a sentence each."""

import hashlib
import os

import pytest

from ich_study.datasets import files
from ich_study.datasets.bhx import read_boxes
from ich_study.datasets.cq500 import read_majority
from ich_study.datasets.files import read_json, read_table, require_file, require_room
from ich_study.datasets.phe_sich import _read_labels
from ich_study.datasets.rsna import read_labels
from ich_study.datasets.slice_tables import read_slice_table
from ich_study.errors import DataError


def test_cells_are_text_without_blanks_and_empty_ones_missing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("\ufeffid , b\r\n001, é \r\n\r\n NA,\r\n".encode())
    table = read_table(path, ["b", "id"], "")
    assert list(table) == ["id", "b"] and table["id"].tolist() == ["001", "NA"]
    assert table["b"].iloc[0] == "é" and table["b"].isna().tolist() == [False, True]


NOT_TABLES = {
    "empty": b"",
    "blank lines": b"\n\n",
    "binary": bytes(range(256)) * 20,
    "zeros": bytes(1000),
    "Latin-1": "a,b\n1,caf\u00e9\n".encode("latin-1"),
    "UTF-16": "a,b\n1,2\n".encode("utf-16"),
    "a cell too many": b"a,b\n1,2,3\n",
    "a cell too few, as in a file cut short": b"a,b\n1,2\n3",
    "an open quote": b'a,b\n1,"2\n',
    "header alone": b"a,b\n",
    "a column wanting": b"a,c\n1,2\n",
    "a column twice": b"a,b,b\n1,2,3\n",
}


@pytest.mark.parametrize("content", NOT_TABLES.values(), ids=NOT_TABLES)
def test_what_is_no_table_names_file_and_remedy(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"(?s)t\.csv .*fetch it again"):
        read_table(path, ["a", "b"], "fetch it again")


READERS = {
    "rsna": read_labels,
    "cq500": read_majority,
    "bhx": lambda path: read_boxes([path]),
    "phe_sich": _read_labels,
    "physionet, hemorica": lambda path: read_slice_table(path, ["a", "b"], ["c"], "layout"),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"a,b\n1,2,3\n", b"\xff\xfea"])
def test_every_label_table_goes_through_the_one_reader(tmp_path, read, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv"):
        read(path)


def test_a_box_table_that_ends_inside_a_line_was_cut(tmp_path):
    path = tmp_path / "t.csv"
    row = "i,s,\"{'x': 1, 'y': 1, 'width': 2, 'height': 2}\",Subdural,handDr"
    path.write_text(f"SOPInstanceUID,SeriesInstanceUID,data,labelName,labelType\n{row}")
    with pytest.raises(DataError, match="was cut"):
        read_boxes([path])
    path.write_text(path.read_text() + "awn\n")
    assert len(read_boxes([path])) == 1


@pytest.mark.parametrize("mark", ["  ", " *", "  ./"])
def test_a_table_cut_between_two_lines_is_told_by_the_checksums_beside_it(tmp_path, mark):
    path, lines = tmp_path / "boxes.csv", [b"a,b\n", b"1,2\n", b"3,4\n"]
    path.write_bytes(b"".join(lines))
    digest = hashlib.sha256(path.read_bytes()).hexdigest().upper()
    sums = tmp_path / "SHA256SUMS.txt"
    sums.write_text(f"{'0' * 64}{mark}other.csv\n{digest}{mark}boxes.csv\n")
    assert len(read_table(path, ["a"], "Fetch it")) == 2
    path.write_bytes(b"".join(lines[:2]))
    with pytest.raises(DataError, match=r"boxes\.csv is not the file of .*SHA256SUMS.*Fetch it"):
        read_table(path, ["a"], "Fetch it")
    sums.unlink()
    assert len(read_table(path, ["a"], "Fetch it")) == 1  # nothing tells


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.dcm")
    with pytest.raises(DataError, match=r"x\.dcm: is a folder, pipe or device; expected a slice"):
        require_file(tmp_path / "x.dcm", "a slice")
    with pytest.raises(DataError, match="does not exist"):
        require_file(tmp_path / "y.dcm", "a slice")


def test_the_largest_size_is_the_last_that_passes(tmp_path, monkeypatch):
    require_room(tmp_path, files.MAX_BYTES)
    with pytest.raises(DataError, match=r"1024 MiB or more; expected at most 1024 MiB"):
        require_room(tmp_path, files.MAX_BYTES + 1)
    (tmp_path / "a").write_bytes(bytes(11))
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="expected at most"):
        require_file(tmp_path / "a", "")


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"a":' * 100_000, b"{'a': 1}"])
def test_json_that_is_no_object(tmp_path, content):
    path = tmp_path / "d.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"d\.json .*expected a map"):
        read_json(path, "a map")
