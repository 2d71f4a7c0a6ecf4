"""What every reader gives: labels that may be missing, and a volume whose parts fit together."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_study.datasets.contract import ScanRef, box_frame, label_frame
from ich_study.errors import DataError
from ich_study.schema import BOX_COLUMNS, LABELS
from tests.store.fake_reader import make_scan


def test_a_label_that_is_not_given_is_missing_and_not_no():
    labels = label_frame({"any": [True, False], "SDH": [None, True], "EDH": None}, 2)
    assert list(labels) == list(LABELS)
    assert labels["any"].tolist() == [True, False]
    assert labels["SDH"].isna().tolist() == [True, False]
    assert labels[["EDH", "IPH"]].isna().all(axis=None)


def test_no_boxes_are_an_empty_table_with_its_columns():
    assert {name: str(dtype) for name, dtype in box_frame([]).dtypes.items()} == BOX_COLUMNS


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hu": np.zeros((12, 4, 4))}, "volume is float64"),
        ({"mask": np.zeros((12, 4, 4), np.uint8)}, r"mask is uint8 \(12, 4, 4\)"),
        ({"z_mm": np.arange(11.0)}, "12 slices, but {'z_mm': 11}"),
        ({"shift_mm": np.zeros((11, 2))}, "12 slices, but {'shift_mm': 11}"),
        ({"labels": pd.DataFrame({"any": [True]})}, "12 slices, but {'labels': 1}"),
        ({"sources": ()}, "12 slices, but {'sources': 0}"),
    ],
)
def test_parts_of_a_volume_that_do_not_fit_are_named(change, says):
    with pytest.raises(DataError, match=says):
        make_scan(0, **change)


def test_a_patient_id_is_stripped_and_never_empty():
    assert ScanRef("d", " P1\t", "s", ()).patient_id == "P1"
    for blank in ("", " ", "\u00a0"):
        with pytest.raises(DataError, match=r"d, scan s, a\.dcm: it has no patient id"):
            ScanRef("d", blank, "s", (Path("a.dcm"),))


def test_a_name_that_is_not_utf8_is_refused_with_a_message_that_can_be_written():
    ScanRef("d", "P1", "s", (Path("Schädel 頭.dcm"),))
    with pytest.raises(DataError, match=r"scan\\udcff.*is not UTF-8; rename it") as error:
        ScanRef("d", "P1", "s", (Path(os.fsdecode(b"scan\xff.dcm")),))
    assert str(error.value).encode("utf-8")
