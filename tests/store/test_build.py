import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.store import Store, build_store, record as record_module
from ich_study.store.record import file_name
from tests.store.fake_reader import (
    FakeReader,
    built,
    head,
    make_scan,
    times,
    touch_later,
    write_source,
)

ROOT = Path(__file__).resolve().parents[2]


def test_content_does_not_depend_on_workers_order_or_place(tmp_path):
    class Reversed(FakeReader):
        def scans(self):
            return super().scans()[::-1]

    one = built(tmp_path / "a", 6)
    two = build_store(write_source(tmp_path / "b" / "elsewhere", 6), tmp_path / "b", workers=2)
    back = build_store(Reversed(tmp_path / "a" / "source"), tmp_path / "c", workers=1)
    assert one.content_hash == two.content_hash == back.content_hash
    pd.testing.assert_frame_equal(one.index, two.index)
    pd.testing.assert_frame_equal(one.index, back.index)
    pd.testing.assert_frame_equal(one.findings, two.findings)


@pytest.mark.parametrize("change", ["pixels", "label", "intensity", "box", "mask"])
def test_content_hash_sees_every_change(tmp_path, change):
    class Changed(FakeReader):
        def load(self, ref):
            volume = super().load(ref)
            if change == "pixels":
                volume.hu[4, 5, 6] += 1
            if change == "label":
                volume.labels.loc[7, "any"] = True
            if change == "box":
                volume.boxes.loc[0, "width"] += 1
            if change == "mask" and volume.mask is not None:
                volume.mask[3, 20, 20] = volume.mask.max()
            return volume

    one = built(tmp_path)
    reader = Changed(tmp_path / "source", intensity="8-bit grey" if change == "intensity" else "hu")
    assert build_store(reader, tmp_path / "other", workers=1).content_hash != one.content_hash


def test_unchanged_store_is_left_alone_and_one_changed_file_rebuilds_one_scan(tmp_path):
    store = built(tmp_path)
    before, meta = times(store.path), (store.path / "store.json").stat().st_mtime_ns
    built_again = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    assert (store.path / "store.json").stat().st_mtime_ns == meta and times(store.path) == before
    np.savez(tmp_path / "source" / "2.npz", hu=head(99))
    touch_later(tmp_path / "source" / "2.npz")
    changed = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    after = times(store.path)
    assert [name for name in before if before[name] != after[name]] == [
        f"{file_name('scan 2')}.npy"
    ]
    assert changed.content_hash != built_again.content_hash
    changed.verify()


def test_reader_options_rebuild_everything_and_gone_scans_leave(tmp_path):
    store = built(tmp_path)
    before = times(store.path)
    (tmp_path / "source" / "3.npz").unlink()
    other = build_store(FakeReader(tmp_path / "source", offset=1), tmp_path / "stores", workers=1)
    after = times(other.path)
    assert set(before) - set(after) == {f"{file_name('scan 3')}.npy"}
    assert all(after[name] != before[name] for name in after)
    np.testing.assert_array_equal(other.volume("scan 0"), head(0) + 1)


def test_a_bad_scan_is_named_the_others_are_kept(tmp_path):
    reader = write_source(tmp_path / "source", 5)
    (tmp_path / "source" / "1.npz").write_bytes(b"PK not a zip")
    (tmp_path / "source" / "3.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 5 scans.*bad") as caught:
        build_store(reader, tmp_path / "stores", workers=2)
    for words in ("scan 1", "1.npz", "scan 3", "3.npz", "unreadable-scan"):
        assert words in str(caught.value)
    kept = times(tmp_path / "stores" / "fake")
    assert len(kept) == 3
    with pytest.raises(DataError, match="not finished"):
        Store(tmp_path / "stores" / "fake")
    store = build_store(reader, tmp_path / "stores", workers=1, allow=["unreadable-scan"])
    assert times(store.path) == kept
    assert store.meta["left_out"] == ["scan 1", "scan 3"] and "scan 1" not in store.scan_ids
    assert set(store.findings.loc[store.findings["check"] == "unreadable-scan", "scan_id"]) == {
        "scan 1",
        "scan 3",
    }


def test_any_error_of_a_reader_is_a_bad_scan(tmp_path):
    class Broken(FakeReader):
        def load(self, ref):
            raise ZeroDivisionError("slope is 0")

    write_source(tmp_path / "source", 1)
    with pytest.raises(DataError, match="ZeroDivisionError: slope is 0"):
        build_store(Broken(tmp_path / "source"), tmp_path / "stores", workers=1)


def test_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    reader, real, calls = write_source(tmp_path / "source", 4), np.save, []

    def full(stream, array, **options):
        calls.append(array)
        if len(calls) == 3:
            stream.write(b"half")
            raise OSError(28, "No space left on device")
        real(stream, array, **options)

    monkeypatch.setattr(record_module.np, "save", full)
    with pytest.raises(DataError, match=r"cannot write scan .*No space left on device"):
        build_store(reader, tmp_path / "stores", workers=1)
    folder = tmp_path / "stores" / "fake"
    assert [path.stem for path in (folder / "records").iterdir()] == [file_name("scan 0")]
    arrays = [path for kind in ("scans", "masks") for path in (folder / kind).iterdir()]
    assert len(arrays) == 2 and all(np.load(path).shape == (12, 32, 32) for path in arrays)
    assert not (folder / "store.json").exists()
    monkeypatch.setattr(record_module.np, "save", real)
    store = build_store(reader, tmp_path / "stores", workers=1)
    assert store.content_hash == built(tmp_path / "whole").content_hash


def test_arrays_are_on_the_disk_before_their_record_and_out_of_the_page_cache_after(
    tmp_path, monkeypatch
):
    done, folder = [], tmp_path / "stores" / "fake"
    fsync, replace = os.fsync, Path.replace

    def noted(name, act=None):
        def call(file, *rest):
            done.append(name)
            return act(file, *rest) if act else None

        return call

    monkeypatch.setattr(record_module.os, "fsync", noted("on disk", fsync))
    monkeypatch.setattr(record_module.os, "posix_fadvise", noted("let go"), raising=False)
    monkeypatch.setattr(
        Path,
        "replace",
        lambda path, target: (done.append(target.parent.name), replace(path, target))[1],
    )
    record_module.write_scan(folder, make_scan(1), "fingerprint", "hu")
    assert done == ["on disk", "let go", "scans", "on disk", "let go", "masks", "records"]


KILLED = """
import sys
from pathlib import Path
from ich_study.store import build_store
from tests.store.fake_reader import FakeReader, built, times
if __name__ == "__main__":
    reader = FakeReader(Path(sys.argv[1]), _seconds=0.5)
    build_store(reader, Path(sys.argv[2]), workers=int(sys.argv[3]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_build_goes_on_and_ends_the_same(tmp_path, workers):
    write_source(tmp_path / "source", 10)
    script = tmp_path / "build.py"
    script.write_text(KILLED)
    folder = tmp_path / "stores" / "fake"
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "source", tmp_path / "stores", str(workers)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 60
    while len(list((folder / "records").glob("[!.]*.json"))) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(0.5)
    kept = times(folder)
    assert 3 <= len(kept) < 10
    (folder / "scans" / ".left-behind.npy").write_bytes(b"half")
    store = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    recorded = [name for name in kept if times(folder)[name] == kept[name]]
    assert len(recorded) >= 3
    assert not (folder / "scans" / ".left-behind.npy").exists()
    whole = build_store(FakeReader(tmp_path / "source"), tmp_path / "whole", workers=1)
    assert store.content_hash == whole.content_hash
    pd.testing.assert_frame_equal(store.index, whole.index)
    store.verify()


@pytest.mark.parametrize("left", [b"", b"\0" * 500, None])
def test_a_record_cut_short_by_a_loss_of_power_builds_its_scan_anew(tmp_path, left):
    store = built(tmp_path)
    before, record = times(store.path), store.path / "records" / f"{file_name('scan 2')}.json"
    record.write_bytes(record.read_bytes()[:300] if left is None else left)
    again = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    after = times(again.path)
    assert [name for name in before if before[name] != after[name]] == [
        f"{file_name('scan 2')}.npy"
    ]
    assert again.content_hash == store.content_hash
    again.verify()


def test_resume_checks_what_it_keeps(tmp_path):
    store = built(tmp_path)
    path = store.path / "scans" / f"{file_name('scan 1')}.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    state = path.stat()
    path.write_bytes(damaged)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    (store.path / "store.json").unlink()
    again = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    assert again.content_hash == store.content_hash
    again.verify()
