"""The papers' counts beside a data set that has them, and beside one that has not."""

import pandas as pd
import pytest

from ich_study.published.counts import counts_beside_printed, disagreements
from ich_study.schema import LABELS

HEMORICA = {"IPH": 1616, "IVH": 471, "EDH": 157, "SDH": 752, "SAH": 253}


def hemorica(slices=12067, positive=2679, scans=327):
    """An index with the printed numbers of Hemorica, its subtypes overlapping."""
    number = pd.Series(range(slices))
    index = pd.DataFrame({"dataset": "hemorica", "scan_id": (number % scans).astype("string")})
    index["patient_id"] = index["scan_id"]
    for name in LABELS:
        index[name] = (number < HEMORICA.get(name, positive)).astype("boolean")
    return index


def test_a_copy_with_the_printed_numbers_agrees():
    counts = counts_beside_printed(hemorica())
    assert len(counts) == 11 and counts["agrees"].all() and disagreements(counts) == []


def test_a_copy_that_lacks_a_scan_and_slices_is_named():
    counts = counts_beside_printed(hemorica(slices=12000, scans=326))
    wrong = counts[~counts["agrees"]]
    assert wrong["ours"].tolist() == [326, 326, 326, 12000, 12000 - 2679]
    assert disagreements(counts)[3] == (
        "hemorica is not the paper's: slices 12,067 in print, 12000 here (CAM benchmark, Section"
        ' III-A: "it contains 12,067 axial slices")'
    )


@pytest.mark.parametrize(
    ("dataset", "scans", "agreeing"),
    [
        ("rsna", 26000, {"over 25,000", "over 20,000", "More than 25,000"}),
        ("rsna", 21784, {"over 20,000"}),
        ("cq500", 491, {"around 500", "almost 500"}),
        ("cq500", 520, {"around 500"}),
        ("cq500", 400, {"almost 500"}),
    ],
)
def test_bounds_are_read_as_bounds(dataset, scans, agreeing):
    ids = pd.Series(range(scans)).astype("string")
    index = pd.DataFrame({"dataset": dataset, "scan_id": ids, "patient_id": ids})
    counts = counts_beside_printed(index)
    counts = counts[counts["counted"] == "scans"]
    assert set(counts.loc[counts["agrees"].astype(bool), "printed"]) == agreeing


def test_data_sets_that_are_not_there_have_no_row():
    assert counts_beside_printed(hemorica().assign(dataset="phe_sich")).empty
    assert disagreements(counts_beside_printed(hemorica().assign(dataset="phe_sich"))) == []
