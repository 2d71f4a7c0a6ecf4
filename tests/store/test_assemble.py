"""The tables of a store: each row of which scan, what was left out, and nothing without a scan."""

import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.integrity import Finding
from ich_study.store.assemble import assemble
from ich_study.store.record import write_scan
from tests.store.fake_reader import FakeReader, make_scan


def test_tables_hold_the_scans_sorted_and_what_was_left_out(tmp_path):
    for seed in (2, 1):
        write_scan(tmp_path, make_scan(seed), "source", "hu")
    bad = [Finding("error", "unreadable", "fake", "scan 9", None, "damaged")]
    assemble(tmp_path, FakeReader(tmp_path), ["scan 2", "scan 1"], bad)
    index = pd.read_parquet(tmp_path / "index.parquet")
    assert index["scan_id"].unique().tolist() == ["scan 1", "scan 2"]
    assert index.groupby("scan_id")["patient_id"].unique().map(list).to_dict() == {
        "scan 1": ["P1"],
        "scan 2": ["P2"],
    }
    boxes = pd.read_parquet(tmp_path / "boxes.parquet")
    assert boxes.set_index("scan_id")["label"].to_dict() == {"scan 1": "IVH", "scan 2": "SAH"}
    findings = pd.read_csv(tmp_path / "findings.csv")
    assert findings.loc[findings["check"] == "unreadable", "scan_id"].tolist() == ["scan 9"]


def test_a_store_without_scans_and_a_record_that_is_gone_are_errors(tmp_path):
    with pytest.raises(DataError, match="no scan under"):
        assemble(tmp_path, FakeReader(tmp_path), [], [])
    with pytest.raises(DataError, match=r"the record of scan scan 1 .* disappeared"):
        assemble(tmp_path, FakeReader(tmp_path), ["scan 1"], [])
