import json
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study import store as store_package
from ich_study.errors import DataError, ParameterError
from ich_study.schema import BOX_COLUMNS, INDEX_COLUMNS
from ich_study.store import Store, build_store, concat_index, open_stores
from ich_study.store.fingerprint import LAYOUT, plain, reader_options
from ich_study.store.record import file_name
from tests.store.fake_reader import FakeReader, built, head, make_scan, times, write_source

ROOT = Path(__file__).resolve().parents[2]


def test_store_gives_back_what_the_reader_gave(tmp_path):
    store = built(tmp_path)
    expected = make_scan(1)
    assert {name: str(dtype) for name, dtype in store.index.dtypes.items()} == INDEX_COLUMNS
    assert {name: str(dtype) for name, dtype in store.boxes.dtypes.items()} == BOX_COLUMNS
    np.testing.assert_array_equal(store.volume("scan 1"), expected.hu)
    np.testing.assert_array_equal(store.slice("scan 1", 5), expected.hu[5])
    np.testing.assert_array_equal(store.mask("scan 1"), expected.mask)
    rows = store.index[store.index["scan_id"] == "scan 1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows[list(expected.labels)], expected.labels)
    assert rows["z_mm"].tolist() == expected.z_mm.tolist() and rows["thickness_mm"].isna().all()
    pd.testing.assert_frame_equal(
        store.boxes[store.boxes["scan_id"] == "scan 1"].reset_index(drop=True), expected.boxes
    )
    assert store.meta["scans"] == 4 and store.meta["slices"] == 48 and store.intensity == "hu"
    assert set(store.notes["note"]) == {"padding set to air"}
    assert "4 scans" in repr(store)


def test_unknown_labels_stay_unknown(tmp_path):
    class Unlabelled(FakeReader):
        def load(self, ref):
            labels = make_scan(0).labels
            labels["IPH"] = pd.array([pd.NA] * len(labels), dtype="boolean")
            return make_scan(int(ref.files[0].stem), ref=ref, labels=labels)

    reader = Unlabelled(write_source(tmp_path / "source", 2).root)
    store = build_store(reader, tmp_path / "stores", workers=1)
    assert store.index["IPH"].isna().all() and store.index["any"].notna().all()
    store.verify()


def test_arrays_are_read_only_and_slices_are_not(tmp_path):
    store = built(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        store.volume("scan 1")[0, 0, 0] = 1
    image = store.slice("scan 1", 2)
    image[:] = 0
    assert type(image) is np.ndarray
    assert store.volume("scan 1")[2].any()


def test_missing_things_are_named(tmp_path):
    store = built(tmp_path)
    assert not store.has_mask("scan 0") and store.has_mask("scan 1")
    with pytest.raises(DataError, match="has no mask"):
        store.mask("scan 0")
    with pytest.raises(DataError, match="no scan 'scan 9'"):
        store.volume("scan 9")
    with pytest.raises(ParameterError, match="slice -1"):
        store.slice("scan 1", -1)
    with pytest.raises(DataError, match=r"does not exist.*python -m ich_study\.run 00_data"):
        Store(tmp_path / "nowhere")
    with pytest.raises(DataError, match="content hash"):
        store.__setstate__({"path": store.path, "content_hash": "0" * 64})


def test_open_arrays_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(store_package.read, "OPEN_ARRAYS", 2)
    store = built(tmp_path)
    for _ in range(2):
        for seed in range(4):
            np.testing.assert_array_equal(store.slice(f"scan {seed}", 1), head(seed)[1])
    assert len(store._arrays) == 2


class Slices(torch.utils.data.Dataset):
    def __init__(self, store):
        self.store = store

    def __len__(self):
        return len(self.store.index)

    def __getitem__(self, row):
        at = self.store.index.iloc[row]
        return torch.from_numpy(self.store.slice(at["scan_id"], at["slice_index"]))


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_data_loader_workers_read_it(tmp_path, context, workers):
    store = built(tmp_path)
    store.volume("scan 0")
    loader = torch.utils.data.DataLoader(
        Slices(store), batch_size=12, num_workers=workers, multiprocessing_context=context
    )
    np.testing.assert_array_equal(
        torch.cat(list(loader)).numpy(), np.concatenate([head(seed) for seed in range(4)])
    )


def test_no_open_file_and_no_table_is_pickled(tmp_path):
    store = built(tmp_path)
    store.volume("scan 0")
    content = pickle.dumps(store)
    assert len(content) < 1000
    np.testing.assert_array_equal(pickle.loads(content).slice("scan 2", 3), head(2)[3])


@pytest.mark.parametrize("kind", ["scans", "masks"])
def test_verify_finds_a_flipped_bit(tmp_path, kind):
    store = built(tmp_path)
    store.verify()
    path = store.path / kind / f"{file_name('scan 1')}.npy"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"1 scans .*scan 1"):
        Store(store.path).verify()


def test_truncated_array_is_an_error_that_says_how_to_repair(tmp_path):
    store = built(tmp_path)
    path = store.path / "scans" / f"{file_name('scan 1')}.npy"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="damaged"):
        store.slice("scan 1", 0)
    repaired = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    np.testing.assert_array_equal(repaired.slice("scan 1", 0), head(1)[0])
    assert repaired.content_hash == store.content_hash


def test_a_store_of_another_layout_is_refused_and_built_anew(tmp_path):
    store = built(tmp_path)
    before = times(store.path)
    for path in [store.path / "store.json", *(store.path / "records").glob("*.json")]:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"layout": LAYOUT - 1}))
    with pytest.raises(
        DataError, match=rf"layout {LAYOUT - 1}, this version reads {LAYOUT}; build it again"
    ):
        Store(store.path)
    again = build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)
    assert again.content_hash == store.content_hash and not set(before.values()) & set(
        times(again.path).values()
    )


def test_an_array_with_pickled_objects_is_refused(tmp_path):
    store = built(tmp_path)
    np.save(
        store.path / "scans" / f"{file_name('scan 1')}.npy",
        np.array([{}], dtype=object),
        allow_pickle=True,
    )
    with pytest.raises(DataError, match="damaged"):
        store.volume("scan 1")


def test_verify_finds_a_changed_table(tmp_path):
    store = built(tmp_path)
    index = pd.read_parquet(store.path / "index.parquet")
    index.loc[5, "any"] = True
    index.to_parquet(store.path / "index.parquet", index=False)
    with pytest.raises(DataError, match=r"index\.parquet: does not match its hash"):
        Store(store.path).verify()
    meta = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps({**meta, "layout": 0}))
    with pytest.raises(DataError, match="layout 0"):
        Store(store.path)


def test_what_the_reader_found_in_the_whole_joins_the_report(tmp_path):
    class Telling(FakeReader):
        def scans(self):
            self.findings = ("3 images have no label",)
            return super().scans()

    reader = Telling(write_source(tmp_path / "source", 2).root)
    store = build_store(reader, tmp_path / "stores", workers=1)
    assert store.findings.loc[store.findings["scan_id"] == "", "detail"].tolist() == [
        "3 images have no label"
    ]
    before = times(store.path)
    assert times(build_store(reader, tmp_path / "stores", workers=1).path) == before


def test_two_builds_at_once_are_refused(tmp_path):
    store = built(tmp_path)
    with store_package.build._locked(store.path), pytest.raises(DataError, match="another process"):
        build_store(FakeReader(tmp_path / "source"), tmp_path / "stores", workers=1)


def test_wrong_arguments_and_readers(tmp_path):
    reader = write_source(tmp_path / "source", 2)
    with pytest.raises(ParameterError, match="workers"):
        build_store(reader, tmp_path, workers=0)
    with pytest.raises(ParameterError, match="unreadable"):
        build_store(reader, tmp_path, workers=1, allow=["unreadable"])
    with pytest.raises(DataError, match="no scan under"):
        build_store(FakeReader(tmp_path / "empty"), tmp_path, workers=1)

    class Twice(FakeReader):
        def scans(self):
            return super().scans() * 2

    with pytest.raises(DataError, match="two scans are called"):
        build_store(Twice(tmp_path / "source"), tmp_path, workers=1)


def test_stores_together(tmp_path):
    one = built(tmp_path)
    build_store(
        FakeReader(tmp_path / "source", name="other"),
        tmp_path / "stores",
        workers=1,
    )
    stores = open_stores(tmp_path / "stores", ["fake", "other"])
    assert len(concat_index(stores)) == 2 * len(one.index)
    assert list(concat_index(stores)["dataset"].unique()) == ["fake", "other"]


def test_file_names_are_safe_and_never_shared():
    names = {
        file_name(scan_id)
        for scan_id in ("a/b", "a_b", "a b", "../../etc/passwd", "x" * 150, "x" * 151)
    }
    assert len(names) == 6
    assert not any("/" in name or name.startswith(".") for name in names)


def test_fingerprints_need_plain_values(tmp_path):
    assert plain({"b": {2, 1}, "a": tmp_path / "x", "c": re.compile("z")}, tmp_path) == {
        "b": ["1", "2"],
        "a": "x",
        "c": ["z", 32],
    }
    assert reader_options(FakeReader(tmp_path)) == reader_options(FakeReader(tmp_path / "moved"))
    with pytest.raises(DataError, match="plain values"):
        plain(object(), tmp_path)
