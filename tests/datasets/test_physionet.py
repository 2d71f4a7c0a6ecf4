import nibabel
import numpy as np
import pandas as pd
import pytest

from ich_study.datasets.physionet import PhysionetReader
from ich_study.errors import DataError
from ich_study.phantom.write_physionet import write_physionet
from ich_study.schema import MASK_CODES, SUBTYPES
from tests.phantom.fake_scans import fake_scan

TABLE = "hemorrhage_diagnosis_raw_ct.csv"


@pytest.fixture
def written(tmp_path):
    scans = [fake_scan(5), fake_scan(6, positive=False)]
    return tmp_path, scans, write_physionet(tmp_path, iter(scans))


def edit(root, change):
    table = pd.read_csv(root / TABLE)
    change(table).to_csv(root / TABLE, index=False)


def test_round_trip(written):
    root, scans, ids = written
    reader = PhysionetReader(root)
    refs = reader.scans()
    assert [{"patient_id": ref.patient_id, "scan_id": ref.scan_id} for ref in refs] == ids
    for ref, scan in zip(refs, scans):
        volume = reader.load(ref)
        np.testing.assert_array_equal(volume.hu, scan.hu)
        np.testing.assert_array_equal(volume.mask > 0, scan.mask > 0)
        for name, truth in scan.slice_labels().items():
            assert volume.labels[name].tolist() == truth.tolist()
        assert volume.spacing_mm == (scan.spacing_mm, scan.spacing_mm)


def test_masks_take_the_only_subtype_of_their_slice(written):
    root, (scan, _), _ = written
    reader = PhysionetReader(root)
    mask = reader.load(reader.scans()[0]).mask
    shown = np.stack([scan.slice_labels()[name] for name in SUBTYPES])
    assert sorted(set(shown.sum(0).tolist())) == [0, 1, 2]
    for index in np.flatnonzero(shown.any(0)):
        code = (
            MASK_CODES[SUBTYPES[int(shown[:, index].argmax())]] if shown[:, index].sum() == 1 else 6
        )
        assert set(np.unique(mask[index])) == {0, code}


def test_slice_numbers_follow_the_file_whose_axis_runs_downwards(written):
    root, (scan, _), _ = written
    for folder in ("ct_scans", "masks"):
        image = nibabel.load(root / folder / "049.nii", mmap=False)
        downwards = image.as_reoriented(np.array([[0, 1], [1, 1], [2, -1]]))
        nibabel.save(downwards, root / folder / "049.nii")
    edit(
        root,
        lambda table: table.assign(
            SliceNumber=table["SliceNumber"].where(
                table["PatientNumber"] != 49, 7 - table["SliceNumber"]
            )
        ),
    )
    reader = PhysionetReader(root)
    volume = reader.load(reader.scans()[0])
    np.testing.assert_array_equal(volume.hu, scan.hu)
    assert volume.labels["SDH"].tolist() == scan.slice_labels()["SDH"].tolist()


def test_rows_are_joined_by_number_not_by_order(written):
    root, (scan, _), _ = written
    edit(root, lambda table: table.sample(frac=1, random_state=0))
    reader = PhysionetReader(root)
    assert (
        reader.load(reader.scans()[0]).labels["SDH"].tolist() == scan.slice_labels()["SDH"].tolist()
    )


def test_missing_rows_are_errors_unless_allowed(written):
    root, *_ = written
    edit(root, lambda table: table.drop(index=3))
    reader = PhysionetReader(root)
    with pytest.raises(DataError, match="1 slices have no row in the table, the first is number 4"):
        reader.load(reader.scans()[0])
    reader = PhysionetReader(root, allow_missing_labels=True)
    volume = reader.load(reader.scans()[0])
    assert volume.labels.isna().all(axis=1).tolist() == [False, False, False, True, False, False]
    edit(root, lambda table: table[table["PatientNumber"] == 49])
    with pytest.raises(DataError, match="no row of patient 50"):
        PhysionetReader(root).scans()


def test_too_many_rows_are_an_error(written):
    root, *_ = written
    edit(root, lambda table: pd.concat([table, table[:1].assign(SliceNumber=7)]))
    reader = PhysionetReader(root)
    with pytest.raises(DataError, match=r"slice numbers \[7\]"):
        reader.load(reader.scans()[0])


def test_equal_duplicates_are_noted_and_contradicting_ones_refused(written):
    root, *_ = written
    edit(root, lambda table: pd.concat([table, table[:2]]))
    reader = PhysionetReader(root)
    assert any("2 rows" in note for note in reader.load(reader.scans()[0]).notes)
    edit(root, lambda table: pd.concat([table, table[:1].assign(Subdural=1)]))
    with pytest.raises(DataError, match="different answers"):
        PhysionetReader(root).scans()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.rename(columns={"Subdural": "SDH"}), r"no columns \['Subdural'\]"),
        (lambda table: table.assign(Epidural=2), "Epidural is not 0 or 1"),
        (lambda table: table.assign(SliceNumber="one"), "SliceNumber is not a whole number"),
        (
            lambda table: table.assign(PatientNumber="x" + table["PatientNumber"].astype(str)),
            "PatientNumber is not a number",
        ),
    ],
)
def test_wrong_tables_are_refused(written, change, message):
    root, *_ = written
    edit(root, change)
    with pytest.raises(DataError, match=message):
        PhysionetReader(root).scans()


def test_missing_table_and_folder(written):
    root, *_ = written
    (root / TABLE).unlink()
    with pytest.raises(DataError, match=TABLE):
        PhysionetReader(root).scans()
    (root / "ct_scans").rename(root / "scans")
    with pytest.raises(DataError, match="ct_scans"):
        PhysionetReader(root).scans()
