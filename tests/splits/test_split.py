import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from ich_study.errors import ParameterError, SplitError
from ich_study.schema import LABELS, SUBTYPES
from ich_study.splits.split import (
    assert_no_leak,
    drawn_scans,
    fold_split,
    leaking_patients,
    make_folds,
    make_split,
    patient_labels,
    read_split,
    rows_of,
    slice_level_split,
    split_hash,
    write_split,
)

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def make_index(patients, seed=0, dataset="rsna", slices=4, prevalence=(0.3, 0.15, 0.2, 0.25, 0.05)):
    """Index rows of patients P0.. with random subtypes, positive in slice 1 only."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        has = rng.random(5) < prevalence
        for index in range(slices):
            answers = dict(zip(SUBTYPES, (bool(yes) and index == 1 for yes in has)))
            rows.append(
                {
                    "dataset": dataset,
                    "patient_id": f"P{patient}",
                    "scan_id": f"S{patient}",
                    "slice_index": index,
                    "any": any(answers.values()),
                    **answers,
                }
            )
    frame = pd.DataFrame(rows)
    return frame.astype(
        {
            **dict.fromkeys(LABELS, "boolean"),
            **dict.fromkeys(["dataset", "patient_id", "scan_id"], "string"),
        }
    )


@settings(max_examples=30, deadline=None)
@given(
    patients=st.integers(3, 120),
    seed=st.integers(0, 2**31),
    cut=st.floats(0.1, 0.8),
    data=st.integers(0, 1000),
)
def test_split_properties(patients, seed, cut, data):
    index = make_index(patients, data, slices=2)
    fractions = {"train": cut, "validation": (1 - cut) / 3, "test": 1 - cut - (1 - cut) / 3}
    split = make_split(index, fractions, seed)
    assert not split.duplicated(["dataset", "patient_id"]).any()
    assert set(split["patient_id"]) == set(index["patient_id"])
    sizes = split["part"].value_counts()
    for part, fraction in fractions.items():
        assert (sizes[part] >= 1 and abs(sizes[part] - fraction * patients) < 2) or sizes[part] == 1
    assert split_hash(make_split(index, fractions, seed)) == split_hash(split)
    assert split_hash(
        make_split(index.sample(frac=1, random_state=data), fractions, seed)
    ) == split_hash(split)


@pytest.mark.parametrize("seed", range(5))
def test_every_subtype_is_spread_by_the_fractions(seed):
    index = make_index(400, seed=1)
    labels = (
        patient_labels(index)
        .reset_index()
        .merge(make_split(index, FRACTIONS, seed), on=["dataset", "patient_id"])
    )
    for name in [*LABELS, "negative"]:
        counts = labels[labels[name]]["part"].value_counts()
        for part, fraction in FRACTIONS.items():
            assert abs(counts[part] - fraction * labels[name].sum()) <= 3, (name, part)


def test_another_seed_is_another_split():
    index = make_index(60)
    assert split_hash(make_split(index, FRACTIONS, 0)) != split_hash(
        make_split(index, FRACTIONS, 1)
    )


def test_data_sets_are_split_apart_and_alike_ids_are_not_one_patient():
    index = pd.concat(
        [make_index(20, dataset="physionet"), make_index(50, dataset="instance")], ignore_index=True
    )
    split = make_split(index, FRACTIONS, 0)
    assert split.groupby(["dataset", "part"]).size().to_dict() == {
        ("instance", "train"): 35,
        ("instance", "validation"): 5,
        ("instance", "test"): 10,
        ("physionet", "train"): 14,
        ("physionet", "validation"): 2,
        ("physionet", "test"): 4,
    }
    alone = make_split(index[index["dataset"] == "instance"], FRACTIONS, 0)
    assert split_hash(alone) == split_hash(split[split["dataset"] == "instance"])


def test_unknown_labels_are_neither_positive_nor_negative():
    index = make_index(10)
    index[list(LABELS)] = pd.NA
    labels = patient_labels(index.astype(dict.fromkeys(LABELS, "boolean")))
    assert not labels.to_numpy().any()
    assert len(make_split(index.astype(dict.fromkeys(LABELS, "boolean")), FRACTIONS, 0)) == 10


@pytest.mark.parametrize(
    "fractions", [{"train": 0.7, "test": 0.2}, {"train": 1.0}, {"train": 1.2, "test": -0.2}, {}]
)
def test_wrong_fractions(fractions):
    with pytest.raises(ParameterError, match="fractions"):
        make_split(make_index(10), fractions, 0)


def test_too_few_patients():
    with pytest.raises(SplitError, match="rsna has 2 patients"):
        make_split(make_index(2), FRACTIONS, 0)
    mil = make_split(make_index(10), {"train": 0.97, "validation": 0.03}, 0)
    assert mil["part"].value_counts().to_dict() == {"train": 9, "validation": 1}


@settings(max_examples=15, deadline=None)
@given(patients=st.integers(10, 60), k=st.integers(2, 6), seed=st.integers(0, 1000))
def test_folds_test_every_patient_once(patients, k, seed):
    index = make_index(patients, slices=2)
    folds = make_folds(index, k, seed)
    assert sorted(folds["fold"].unique()) == list(range(k))
    assert np.ptp(folds["fold"].value_counts()) <= 1
    tested = pd.concat(
        [rows_of(index, fold_split(index, folds, fold), "test") for fold in range(k)]
    )
    assert len(tested) == len(index) and not tested.duplicated(["patient_id", "slice_index"]).any()


def test_folds_of_the_resnet_lstm_paper():
    index = make_index(100)
    folds = make_folds(index, 5, 0)
    tests = []
    for fold in range(3):
        split = fold_split(index, folds, fold, validation_fraction=0.1, seed=fold)
        assert_no_leak(split)
        assert split["part"].value_counts().to_dict() == {"train": 70, "test": 20, "validation": 10}
        tests.append(set(split.loc[split["part"] == "test", "patient_id"]))
    assert len(set.union(*tests)) == 60
    with pytest.raises(ParameterError, match="fold 7"):
        fold_split(index, folds, 7)
    with pytest.raises(ParameterError, match="validation"):
        fold_split(index, folds, 0, validation_fraction=0.9)
    with pytest.raises(ParameterError, match="k is 1"):
        make_folds(index, 1, 0)


def test_drawn_scans_fill_each_part_and_keep_a_patients_scans_together():
    index = make_index(30, slices=2)
    index["scan_id"] = index["patient_id"] + index["slice_index"].astype("string")
    index.loc[index["patient_id"] >= "P2", "scan_id"] = index["patient_id"]  # one scan each
    split = drawn_scans(index, {"train": 11, "validation": 4}, 0)
    scans = index.merge(split).groupby("part")["scan_id"].nunique()
    assert scans.to_dict() == {
        "train": 11,
        "validation": 4,
        "unused": index["scan_id"].nunique() - 15,
    }
    assert_no_leak(split)
    again = drawn_scans(index.sample(frac=1, random_state=1), {"train": 11, "validation": 4}, 0)
    pd.testing.assert_frame_equal(again, split)
    assert not drawn_scans(index, {"train": 11, "validation": 4}, 1).equals(split)
    with pytest.raises(SplitError, match="'validation' wants 400 scans"):
        drawn_scans(index, {"train": 11, "validation": 400}, 0)
    with pytest.raises(ParameterError, match="each at least 1"):
        drawn_scans(index, {"train": 11, "validation": 0}, 0)


def test_slice_level_split_leaks_and_says_so(tmp_path):
    index = make_index(40, slices=10)
    split = slice_level_split(index, 0.1, 0)
    assert set(split["unit"]) == {"slice"} and len(split) == len(index)
    assert (split["part"] == "validation").mean() == 0.1
    assert len(leaking_patients(split)) > 20
    with pytest.raises(SplitError, match="stand in more than one part"):
        assert_no_leak(split)
    assert len(rows_of(index, split, "validation")) == 40
    assert split_hash(
        slice_level_split(index.sample(frac=1, random_state=1), 0.1, 0)
    ) == split_hash(split)
    content = write_split(tmp_path / "slices.csv", split)
    assert split_hash(read_split(tmp_path / "slices.csv")) == content
    with pytest.raises(SplitError, match="cannot split"):
        slice_level_split(make_index(20, slices=2), 0.01, 0)


def test_rows_of_names_missing_patients():
    index = make_index(12)
    split = make_split(index, FRACTIONS, 0)
    parts = [rows_of(index, split, part) for part in FRACTIONS]
    assert sum(map(len, parts)) == len(index)
    pd.testing.assert_frame_equal(
        pd.concat(parts).sort_values(["patient_id", "slice_index"], ignore_index=True),
        index.sort_values(["patient_id", "slice_index"], ignore_index=True),
    )
    with pytest.raises(SplitError, match="not in the index: rsna P3"):
        rows_of(index[index["patient_id"] != "P3"], split, "train")
    with pytest.raises(SplitError, match="not in the split: rsna P5"):
        rows_of(index, split[split["patient_id"] != "P5"], "train")
    with pytest.raises(SplitError, match="no part 'tset'"):
        rows_of(index, split, "tset")
    other = make_index(3, dataset="bhsd")
    assert len(rows_of(pd.concat([index, other]), split, "train")) == len(parts[0])


def test_a_row_belongs_to_the_part_its_patient_stands_in():
    index = make_index(3, slices=2)
    split = pd.DataFrame(
        {"dataset": "rsna", "patient_id": ["P2", "P0", "P1"], "part": ["test", "train", "test"]}
    )
    assert rows_of(index, split, "train")["patient_id"].tolist() == ["P0", "P0"]
    assert rows_of(index, split, "test")["patient_id"].tolist() == ["P1", "P1", "P2", "P2"]


def test_a_slice_belongs_to_the_part_it_stands_in_itself():
    index = make_index(2, slices=3)
    split = slice_level_split(index, 0.5, 0).assign(part="train")
    split.loc[(split["patient_id"] == "P1") & (split["slice_index"] == 2), "part"] = "test"
    found = rows_of(index, split, "test")[["patient_id", "slice_index"]]
    assert found.to_numpy().tolist() == [["P1", 2]]


def test_a_patient_is_tested_in_the_fold_named_and_trained_on_in_the_others():
    index = make_index(3, slices=1)
    folds = pd.DataFrame({"dataset": "rsna", "patient_id": ["P0", "P1", "P2"], "fold": [1, 0, 2]})
    split = fold_split(index, folds, 1)
    assert dict(zip(split["patient_id"], split["part"])) == {
        "P0": "test",
        "P1": "train",
        "P2": "train",
    }


def test_split_is_written_once(tmp_path):
    index = make_index(20)
    split, path = make_split(index, FRACTIONS, 0), tmp_path / "splits" / "rsna.csv"
    content = write_split(path, split)
    state = path.stat().st_mtime_ns
    assert (
        write_split(path, split.sample(frac=1, random_state=0)) == content
        and path.stat().st_mtime_ns == state
    )
    pd.testing.assert_frame_equal(
        rows_of(index, read_split(path), "test"), rows_of(index, split, "test")
    )
    with pytest.raises(SplitError, match="written once"):
        write_split(path, make_split(index, FRACTIONS, 1))
    lines = path.read_text().replace("validation", "train")
    path.write_text(lines)
    with pytest.raises(SplitError, match=r"says rsna\.json"):
        read_split(path)
    with pytest.raises(SplitError, match="no split at"):
        read_split(tmp_path / "none.csv")


def test_folds_round_trip_and_ids_stay_text(tmp_path):
    index = make_index(6)
    index["patient_id"] = index["patient_id"].str.replace("P", "00")
    index.loc[index["patient_id"] == "005", "patient_id"] = "NA"
    folds = make_folds(index, 2, 0)
    write_split(tmp_path / "f.csv", folds)
    read = read_split(tmp_path / "f.csv")
    assert set(read["patient_id"]) == {"000", "001", "002", "003", "004", "NA"}
    assert read["fold"].dtype == "int64"


def test_a_leaking_split_is_not_written(tmp_path):
    split = make_split(make_index(10), FRACTIONS, 0)
    leak = pd.concat([split, split[split["part"] == "train"].head(1).assign(part="test")])
    with pytest.raises(SplitError, match="more than one part"):
        write_split(tmp_path / "leak.csv", leak)
    with pytest.raises(SplitError, match="not a split"):
        write_split(tmp_path / "x.csv", split.drop(columns="part"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", b""),
        ("s.csv", bytes(range(256))),
        ("s.csv", b"dataset,patient_id,part\nd,p1,train,9\n"),
        ("s.csv", b"dataset,patient_id,scan_id,slice_index,part\nd,p,s,x,train\n"),
        ("s.csv", b"dataset,part\nd,train\n"),
        ("s.json", b""),
        ("s.json", b"\xff"),
        ("s.json", b"[1]"),
        ("s.json", b"{}"),
        ("s.json", b"[" * 100_000),
    ],
)
def test_a_damaged_file_of_a_split_is_named_with_its_remedy(tmp_path, name, content):
    write_split(tmp_path / "s.csv", make_split(make_index(20), {"train": 0.5, "test": 0.5}, 0))
    read_split(tmp_path / "s.csv")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SplitError, match=rf"(?s){name} .*Restore it, or delete it"):
        read_split(tmp_path / "s.csv")
