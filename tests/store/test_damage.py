"""Every kind of damage to a store is a sentence with file and remedy where it is used, and building
again, which the sentence asks for, makes it whole."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.store import Store, build_store
from ich_study.store.record import file_name, read_record
from tests.store.fake_reader import FakeReader, built

NAME = f"{file_name('scan 1')}.npy"


def flip(path: Path) -> None:
    """One bit, and the time of the file as it was."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


def edit_label(path: Path) -> None:
    index = pd.read_parquet(path)
    index.loc[5, "any"] = ~index.loc[5, "any"]
    index.to_parquet(path, index=False)


def edit_json(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "intensity": "other"}))


def zeros(path: Path) -> None:
    np.save(path, np.zeros_like(np.load(path)))


def other_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float32))


DAMAGES = [
    *(("store.json", act) for act in (Path.unlink, empty, cut, flip, edit_json, folder_instead)),
    ("store.json", lambda path: path.write_text("[]")),
    ("store.json", lambda path: path.write_bytes(b"\xff\xfe\x00")),
    *(("index.parquet", act) for act in (Path.unlink, empty, cut, flip, edit_label)),
    ("index.parquet", folder_instead),
    ("boxes.parquet", flip),
    ("images.parquet", cut),
    ("scans.parquet", Path.unlink),
    ("findings.csv", empty),
    ("notes.csv", cut),
    *((f"scans/{NAME}", act) for act in (Path.unlink, empty, cut, flip, zeros, other_type)),
    (f"scans/{NAME}", folder_instead),
    *((f"masks/{NAME}", act) for act in (Path.unlink, cut, flip, zeros)),
    ("scans", lambda path: (shutil.rmtree(path), path.touch())),
]


def use(folder: Path) -> None:
    """What notebooks do with a store."""
    store = Store(folder)
    _ = store.index, store.boxes, store.images, store.findings, store.notes
    for scan in store.scan_ids:
        for number in range(12):
            store.slice(scan, number)
        store.volume(scan)
        if store.has_mask(scan):
            store.mask(scan)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return built(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_damage_is_a_sentence_and_building_again_repairs_it(whole, tmp_path, number):
    file, act = DAMAGES[number]
    root = whole.path.parents[1]
    shutil.copytree(root, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    folder = tmp_path / "stores" / "fake"
    use(folder)
    act(folder / file)
    with pytest.raises(DataError, match=r"python -m ich_study\.run 00_data") as caught:
        use(folder)
    said = str(caught.value)
    assert file in said or file == "scans" or (file == "store.json" and str(folder) in said)
    again = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    use(folder)
    again.verify()
    assert again.content_hash == whole.content_hash


@pytest.mark.parametrize("act", [Path.unlink, cut, flip, folder_instead])
def test_a_damaged_record_is_none_and_its_scan_is_built_anew(whole, tmp_path, act):
    shutil.copytree(whole.path.parents[1], tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "stores" / "fake"
    act(folder / "records" / f"{file_name('scan 1')}.json")
    assert read_record(folder, "scan 1") is None
    reader = FakeReader(tmp_path / "source")
    again = build_store(reader, tmp_path / "stores", workers=1)
    assert read_record(folder, "scan 1") is not None and again.content_hash == whole.content_hash


def test_the_command_is_that_of_the_run(tmp_path):
    store = built(tmp_path)
    command = "python -m ich_study.run 00_data -f 'params/my scale/00_data.yaml'"
    (tmp_path / "run.json").write_text(json.dumps({"command": command}))
    (store.path / "store.json").unlink()
    with pytest.raises(DataError, match="params/my scale"):
        Store(store.path)


def test_a_file_where_the_store_belongs_is_named(tmp_path):
    store = built(tmp_path)
    shutil.rmtree(store.path)
    store.path.touch()
    with pytest.raises(DataError, match="is a file where the store"):
        build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
