import json

import pandas as pd
import pytest

from ich_study import atomic


def test_text_json_csv_and_parquet_round_trip(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    atomic.write_json(tmp_path / "deep" / "a.json", {"b": 1})
    atomic.write_csv(tmp_path / "a.csv", frame)
    atomic.write_parquet(tmp_path / "a.parquet", frame)
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"b": 1}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), frame)


def test_an_error_while_writing_keeps_the_old_file_and_leaves_no_other(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(OSError, match="No space"), atomic.atomic_path(target) as temporary:
        temporary.write_text("half a ta")
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("sync", [True, False])
def test_only_what_asks_for_it_waits_for_the_disk(tmp_path, monkeypatch, sync):
    synced = []
    monkeypatch.setattr(atomic.os, "fsync", synced.append)
    atomic.write_text(tmp_path / "x.txt", "x", sync=sync)
    assert len(synced) == sync and (tmp_path / "x.txt").read_text() == "x"


def test_readers_of_a_shared_folder_can_read_what_was_written(tmp_path):
    atomic.write_text(tmp_path / "x.txt", "x")
    assert (tmp_path / "x.txt").stat().st_mode & 0o444 == 0o444
