from types import SimpleNamespace

import pandas as pd
import pytest

from ich_study.errors import SplitError
from ich_study.splits.overlap import (
    assert_disjoint,
    exclude_overlap,
    find_overlap,
)
from ich_study.splits.split import EXCLUDED, make_split, read_split, rows_of, write_split
from ich_study.store import build_store
from tests.splits.test_split import make_index
from tests.store.fake_reader import FakeReader, head, write_source

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def scans(dataset, images):
    """A store's tables; images: {patient: list of image names}, `=...` constant."""
    rows = [
        (dataset, patient, patient, i, name, name.startswith("="))
        for patient, names in images.items()
        for i, name in enumerate(names)
    ]
    table = pd.DataFrame(
        rows, columns=["dataset", "patient_id", "scan_id", "slice_index", "image_hash", "constant"]
    )
    return SimpleNamespace(index=table, images=table)


def test_ids_count_only_where_they_are_shared():
    rsna, bhsd = (
        scans("rsna", {"ID_1": ["a"], "ID_2": ["b"]}),
        scans("bhsd", {"ID_2": ["c"], "ID_3": ["d"]}),
    )
    physionet, instance = scans("physionet", {"049": ["e"]}), scans("instance", {"049": ["f"]})
    overlap = find_overlap([rsna, bhsd, physionet, instance])
    assert overlap[["patient_id", "dataset_a", "dataset_b", "reason"]].to_numpy().tolist() == [
        ["ID_2", "rsna", "bhsd", "same patient id"]
    ]


def test_spellings_of_one_id_are_one_patient():
    rsna, bhsd = scans("rsna", {"ID_0a": ["a"]}), scans("bhsd", {"ID_0A": ["c"], "ID_0B": ["d"]})
    overlap = find_overlap([rsna, bhsd])
    assert overlap[["patient_id", "patient_id_b"]].to_numpy().tolist() == [["ID_0a", "ID_0A"]]
    with pytest.raises(SplitError, match="1 patients stand in the training"):
        assert_disjoint(rsna.index, bhsd.index)
    assert_disjoint(rsna.index, bhsd.index.iloc[1:])


def test_identical_images_count_everywhere_but_constant_ones_do_not():
    one = scans("physionet", {"049": ["a", "b", "=0"], "050": ["c", "=0"]})
    two = scans("cq500", {"7": ["x", "b", "a"], "8": ["=0"]})
    overlap = find_overlap([one, two])
    assert overlap.to_numpy().tolist() == [["049", "physionet", "cq500", "identical image", "7", 2]]


def left_out(split):
    """Ids of the patients that the guard took out of a split."""
    return split.loc[split["part"] == EXCLUDED, "patient_id"].tolist()


def test_excluded_patients_leave_the_training_and_are_named(tmp_path):
    index = make_index(20)
    split = make_split(index, FRACTIONS, 0)
    bhsd = make_index(12, dataset="bhsd")
    overlap = find_overlap(
        [
            SimpleNamespace(
                index=frame, images=scans(frame["dataset"][0], {"x": [frame["dataset"][0]]}).images
            )
            for frame in (index, bhsd)
        ]
    )
    cleaned = exclude_overlap(split, overlap, "bhsd")
    shared = {f"P{i}" for i in range(12)}
    trained = set(split.loc[split["part"].isin(["train", "validation"]), "patient_id"])
    assert set(left_out(cleaned)) == shared & trained != set()
    assert not set(rows_of(index, cleaned, "train")["patient_id"]) & shared
    assert_disjoint(rows_of(index, cleaned, "train"), bhsd)
    with pytest.raises(SplitError, match="rsna P"):
        assert_disjoint(rows_of(index, split, "train"), bhsd)
    pd.testing.assert_frame_equal(
        cleaned[cleaned["part"] == "test"], split[split["part"] == "test"]
    )
    pd.testing.assert_frame_equal(exclude_overlap(split, overlap, "rsna"), split)
    path = tmp_path / "split.csv"
    write_split(path, cleaned)
    assert sorted(left_out(read_split(path))) == sorted(left_out(cleaned))


def test_images_exclude_under_the_other_name():
    split = make_split(make_index(10, dataset="physionet"), FRACTIONS, 0).assign(part="train")
    overlap = find_overlap([scans("cq500", {"7": ["b"]}), scans("physionet", {"P4": ["b"]})])
    assert left_out(exclude_overlap(split, overlap, "cq500")) == ["P4"]


def test_equal_ids_of_unrelated_data_sets_are_disjoint():
    assert_disjoint(make_index(5, dataset="physionet"), make_index(5, dataset="instance"))
    with pytest.raises(SplitError, match="physionet P0"):
        assert_disjoint(make_index(1, dataset="physionet"), make_index(5, dataset="physionet"))


def test_guard_on_stores(tmp_path):
    write_source(tmp_path / "a", 3)
    write_source(tmp_path / "b", 1)
    (tmp_path / "b" / "9.npz").write_bytes((tmp_path / "a" / "2.npz").read_bytes())
    (tmp_path / "b" / "0.npz").unlink()
    assert head(2).any()
    stores = [
        build_store(FakeReader(tmp_path / name, name=name), tmp_path / "stores", workers=1)
        for name in ("a", "b")
    ]
    assert find_overlap(stores).to_numpy().tolist() == [
        ["P2", "a", "b", "identical image", "P9", 12]
    ]
