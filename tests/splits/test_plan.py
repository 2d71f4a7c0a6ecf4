import pandas as pd
import pytest

from ich_study.errors import ParameterError, SplitError
from ich_study.schema import INDEX_COLUMNS, LABELS
from ich_study.splits.overlap import OVERLAP_COLUMNS
from ich_study.splits.plan import (
    assert_no_shared_training,
    plan_split,
    split_summary,
    without_shared,
    write_splits,
)
from ich_study.splits.split import read_split, split_hash


def index_of(dataset, patients, slices=4):
    rows = [
        {
            "dataset": dataset,
            "patient_id": patient,
            "scan_id": f"{patient}-s",
            "slice_index": i,
            "z_mm": i * 5.0,
            "shift_x_mm": 0.0,
            "shift_y_mm": 0.0,
            "spacing_x_mm": 0.5,
            "spacing_y_mm": 0.5,
            "thickness_mm": 5.0,
            "rows": 8,
            "columns": 8,
            **dict.fromkeys(LABELS, i == 0 and number % 2 == 0),
            "has_mask": False,
            "has_boxes": False,
            "source": "x",
        }
        for number, patient in enumerate(patients)
        for i in range(slices)
    ]
    return pd.DataFrame(rows).astype(INDEX_COLUMNS)


OVERLAP = pd.DataFrame(
    [("p0", "rsna", "bhsd", "same patient id", "p0", 0)], columns=list(OVERLAP_COLUMNS)
)
THIRDS = {
    "dataset": "rsna",
    "kind": "parts",
    "fractions": {"train": 0.5, "validation": 0.25, "test": 0.25},
}


def test_a_shared_patient_leaves_the_training_part_and_is_named():
    split = pd.DataFrame(
        {"dataset": "rsna", "patient_id": ["p0", "p1"], "part": ["train", "train"]}
    )
    cleaned = without_shared(split, OVERLAP)
    assert dict(zip(cleaned["patient_id"], cleaned["part"])) == {"p0": "excluded", "p1": "train"}
    with pytest.raises(SplitError, match="p0"):
        assert_no_shared_training(split, OVERLAP)
    assert_no_shared_training(cleaned, OVERLAP)


def test_splits_are_written_with_hashes_and_summarised(tmp_path):
    index = index_of("rsna", [f"p{i}" for i in range(12)])
    table, hashes = write_splits(index, {"rsna": THIRDS}, OVERLAP.iloc[:0], tmp_path, seed=1)
    read = read_split(tmp_path / "rsna.csv")
    assert split_hash(read) == hashes["rsna"] and read["patient_id"].nunique() == 12
    assert table.set_index("part")["patients"].to_dict() == {"train": 6, "validation": 3, "test": 3}
    assert (
        table["slices"].sum() == len(index) and table["positive_slices"].sum() == index["any"].sum()
    )


def test_listed_splits_must_list_every_patient_once():
    index = index_of("phe_sich", ["0001", "0002"])
    plan = {"dataset": "phe_sich", "kind": "listed", "parts": {"a": ["0001"], "b": ["0002"]}}
    assert plan_split(index, "x", plan, 0)["part"].tolist() == ["a", "b"]
    with pytest.raises(ParameterError, match="0002"):
        plan_split(index, "x", {**plan, "parts": {"a": ["0001"]}}, 0)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"dataset": "rsna", "kind": "thirds"}, "thirds"),
        ({"dataset": "rsna", "kind": "folds"}, r"\['k'\] missing"),
        ({"dataset": "rsna", "kind": "folds", "k": 2, "seed": 3}, "seed"),
        ({"dataset": "bhsd", "kind": "folds", "k": 2}, "no data set 'bhsd'"),
    ],
)
def test_a_wrong_plan_says_what_is_wrong(plan, message):
    with pytest.raises(ParameterError, match=message):
        plan_split(index_of("rsna", ["a", "b", "c"]), "mine", plan, 0)


def test_slice_level_summary_counts_slices_once():
    index = index_of("rsna", [f"p{i}" for i in range(6)])
    split = plan_split(
        index, "leaky", {"dataset": "rsna", "kind": "slices", "validation_fraction": 0.25}, 0
    )
    assert split_summary(index, "leaky", split)["slices"].sum() == len(index)
