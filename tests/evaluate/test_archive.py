from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, MapError
from ich_study.evaluate.archive import MapArchive, archive_slices

INPUTS = torch.arange(10 * 4 * 4, dtype=torch.float32).reshape(10, 1, 4, 4)
KEY = {"weights": "a", "rows": "b"}


class Slices:
    """What an archive asks of a data set; a run that reads from `upto` on is killed."""

    source = SimpleNamespace(content_hash="c")
    preprocessing = SimpleNamespace(describe=dict, inputs=lambda hu: hu)

    def __init__(self, count=10, upto=None):
        self.rows, self.upto = pd.DataFrame({"scan_id": "s", "slice": range(count)}), upto

    def __len__(self):
        return len(self.rows)

    def __getitems__(self, numbers):
        if self.upto is not None and numbers[0] >= self.upto:
            raise KeyboardInterrupt
        return INPUTS[list(numbers)], None


def write(folder, slices, maps_of, key):
    return archive_slices(folder, slices, 3, torch.device("cpu"), maps_of, key, "maps")


def maps_of(inputs):
    return {("m", "[-1]"): inputs[:, 0], ("m", "[-2]"): -inputs[:, 0, ::2, ::2]}


def test_maps_come_back_as_they_were(tmp_path):
    archive = write(tmp_path, Slices(), maps_of, KEY)
    assert archive.names == [("m", "[-1]"), ("m", "[-2]")] and archive.count == 10
    assert np.array_equal(archive.raw(("m", "[-1]")), INPUTS[:, 0].numpy())
    assert np.array_equal(
        MapArchive(tmp_path).raw(("m", "[-2]"), slice(2, 5)), -INPUTS[2:5, 0, ::2, ::2].numpy()
    )


def test_a_killed_run_goes_on_and_a_finished_one_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("ich_study.evaluate.archive._SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Slices(upto=6), maps_of, KEY)
    seen = []

    def counted(inputs):
        seen.append(len(inputs))
        return maps_of(inputs)

    archive = write(tmp_path, Slices(), counted, KEY)
    assert seen == [3, 1]
    assert np.array_equal(archive.raw(("m", "[-1]")), INPUTS[:, 0].numpy())
    write(tmp_path, Slices(), counted, KEY)
    assert seen == [3, 1]
    write(tmp_path, Slices(), counted, {**KEY, "weights": "other"})
    assert sum(seen) == 14


def test_maps_that_failed_are_named(tmp_path):
    with pytest.raises(MapError, match=r"m at layer \[-1\], slices 3 to 5.*NaN"):
        write(
            tmp_path,
            Slices(),
            lambda inputs: {("m", "[-1]"): inputs[:, 0] / (inputs[:, 0] != 50) * 1.0},
            KEY,
        )
    with pytest.raises(DataError, match="part is empty"):
        write(tmp_path, Slices(0), maps_of, KEY)


def flip_a_bit(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_flipped_bits_are_not_used(tmp_path):
    write(tmp_path, Slices(), maps_of, KEY)
    flip_a_bit(tmp_path / "m[-1].npy", -3)
    for archive in (MapArchive(tmp_path), write(tmp_path, Slices(), maps_of, KEY)):
        assert len(archive.raw(("m", "[-2]"))) == 10  # the other file is whole
        with pytest.raises(DataError, match=r"m\[-1\]\.npy: its maps are not .* delete the folder"):
            archive.raw(("m", "[-1]"), slice(0, 2))
    (tmp_path / "m[-1].npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"cannot be read.*delete the folder"):
        MapArchive(tmp_path).raw(("m", "[-1]"))


def test_a_killed_run_goes_on_from_whole_maps_only(tmp_path, monkeypatch):
    monkeypatch.setattr("ich_study.evaluate.archive._SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Slices(upto=6), maps_of, KEY)
    pixels = 10 * 16 * 4  # of the file m[-1].npy, in bytes
    flip_a_bit(tmp_path / "m[-1].npy", -pixels + 100)
    with pytest.raises(DataError, match="not those that were written"):
        write(tmp_path, Slices(), maps_of, KEY)
