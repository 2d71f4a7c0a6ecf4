import numpy as np
import pandas as pd
import pytest

from ich_study.datasets.hemorica import HemoricaReader
from ich_study.errors import DataError
from ich_study.phantom.write_hemorica import write_hemorica
from tests.phantom.fake_scans import fake_scan


@pytest.fixture
def written(tmp_path):
    scans = [fake_scan(7, tilt=10.0), fake_scan(8, positive=False)]
    return tmp_path, scans, write_hemorica(tmp_path, iter(scans))


def edit(root, change):
    change(pd.read_csv(root / "slice_labels.csv")).to_csv(root / "slice_labels.csv", index=False)


@pytest.mark.parametrize("name_of_iph", ["IPH", "ICH"])
def test_round_trip(written, name_of_iph):
    root, scans, ids = written
    edit(root, lambda table: table.rename(columns={"IPH": name_of_iph}))
    reader = HemoricaReader(root)
    refs = reader.scans()
    assert [{"patient_id": ref.patient_id, "scan_id": ref.scan_id} for ref in refs] == ids
    for ref, scan in zip(refs, scans):
        volume = reader.load(ref)
        np.testing.assert_array_equal(volume.hu, scan.hu)
        np.testing.assert_array_equal(volume.mask, scan.mask)
        for name, truth in scan.slice_labels().items():
            assert volume.labels[name].tolist() == truth.tolist()


def test_bad_tables(written):
    root, *_ = written
    edit(
        root,
        lambda table: table.assign(patient_id=table["patient_id"].where(table.index != 2, "P009")),
    )
    with pytest.raises(DataError, match="expected one"):
        HemoricaReader(root).scans()
    edit(root, lambda table: table[table["study"] == "P002_1"])
    with pytest.raises(DataError, match="no row of study P001_1"):
        HemoricaReader(root).scans()
    edit(root, lambda table: table.drop(columns="EPH"))
    with pytest.raises(DataError, match="EPH"):
        HemoricaReader(root).scans()
    (root / "slice_labels.csv").unlink()
    with pytest.raises(DataError, match="layout of our own"):
        HemoricaReader(root).scans()


def test_missing_rows_leave_labels_unknown_where_allowed(written):
    root, *_ = written
    edit(root, lambda table: table.drop(index=1))
    reader = HemoricaReader(root)
    with pytest.raises(DataError, match="first is number 1"):
        reader.load(reader.scans()[0])
    reader = HemoricaReader(root, allow_missing_labels=True)
    assert reader.load(reader.scans()[0]).labels["any"].isna().tolist() == [
        False,
        True,
        False,
        False,
        False,
        False,
    ]
