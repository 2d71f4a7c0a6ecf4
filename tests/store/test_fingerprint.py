"""A scan is built anew when what it is built from changed, and only then."""

import os
import re
from pathlib import Path

import pytest

from ich_study import sources
from ich_study.datasets.bhsd import BhsdReader
from ich_study.datasets.contract import ScanRef
from ich_study.errors import DataError
from ich_study.hashing import file_mark
from ich_study.store import fingerprint as fingerprint_module
from ich_study.store.fingerprint import fingerprint, plain, reader_options, source_marks
from tests.store.fake_reader import FakeReader, touch_later


def ref(path, **changes):
    fields = {"dataset": "d", "patient_id": "p", "scan_id": "s", "files": (path,), "details": {}}
    return ScanRef(**{**fields, **changes})


def test_each_part_of_the_source_has_a_say(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"1")

    def now(options="options", **changes):
        marks = source_marks(ref(path), tmp_path)
        return fingerprint(ref(path, **changes), options, tmp_path, marks)

    first = now()
    assert now() == first and now("other options") != first
    for change in ({"scan_id": "t"}, {"patient_id": "q"}, {"details": {"part": "test"}}):
        assert now(**change) != first
    touch_later(path)
    assert now() == first, "a time is no content"
    path.write_bytes(b"2")
    assert now() != first
    path.unlink()
    assert now() != first


def test_content_of_the_same_size_and_time_is_seen_and_the_unchanged_is_not_read(
    tmp_path, monkeypatch
):
    path, other = tmp_path / "a.npz", tmp_path / "b.npz"
    path.write_bytes(b"one")
    other.write_bytes(b"one")
    both = ref(path, files=(path, other))
    known, state = source_marks(both, tmp_path), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    read = []
    monkeypatch.setattr(
        fingerprint_module, "file_mark", lambda file: (read.append(file), file_mark(file))[1]
    )
    marks = source_marks(both, tmp_path, known)
    assert marks["a.npz"][:2] == known["a.npz"][:2] and marks["a.npz"][-1] != known["a.npz"][-1]
    assert read == [path] and marks["b.npz"] == known["b.npz"]


def test_where_the_data_lie_and_how_fast_they_are_read_has_none():
    here, there = FakeReader(Path("/a")), FakeReader(Path("/b"), _seconds=3.0)
    assert reader_options(here) == reader_options(there)
    assert reader_options(FakeReader(Path("/a"), offset=1)) != reader_options(here)
    assert reader_options(FakeReader(Path("/a"), intensity="grey")) != reader_options(here)


def test_equal_values_are_equal_text_whatever_their_order():
    root = Path("/root")
    assert plain({"b": {2, 1}, "a": root / "x"}, root) == {"b": ["1", "2"], "a": "x"}
    assert plain(re.compile("a", re.IGNORECASE), root) != plain(re.compile("a"), root)
    assert plain(1, root) != plain("1", root)
    with pytest.raises(DataError, match="whether a object changed"):
        plain(object(), root)


def test_other_code_of_the_reader_or_of_what_it_imports_is_another_fingerprint(
    tmp_path, monkeypatch
):
    before = reader_options(BhsdReader(tmp_path))
    marks = sources.code_marks

    def edited(starts, **options):
        found = marks(starts, **options)
        assert {"ich_study/datasets/nifti.py", "ich_study/store/record.py", "nibabel"} <= set(found)
        return {**found, "ich_study/datasets/nifti.py": "0" * 16}

    monkeypatch.setattr(sources, "code_marks", edited)
    assert reader_options(BhsdReader(tmp_path)) != before
