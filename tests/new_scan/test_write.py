"""What is written of a scan says what was found: subtypes, places, and nobody's name."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from ich_study.new_scan import write
from ich_study.new_scan.apply import apply_method
from ich_study.new_scan.read import read_dicom
from tests.new_scan.heads import head, write_series
from tests.new_scan.methods import bright


@pytest.fixture
def scan(tmp_path):
    return read_dicom(tuple(write_series(tmp_path / "scan", head()[0], tilt_degrees=20)), "anon")


@pytest.fixture
def finding(scan):
    return apply_method("bright", bright(), scan)


def test_written_files_hold_the_voxels_of_mask_and_heat_subtypes_included(scan, finding, tmp_path):
    mask = np.zeros(scan.hu.shape, np.uint8)
    mask[4, 20:22, 30:33], mask[6, 20, 30] = 5, 1
    write.write_finding(tmp_path, scan, replace(finding, mask=mask))
    files = {path.name: nibabel.load(path) for path in tmp_path.glob("*.nii.gz")}
    assert set(files) == {"bright_heat_any.nii.gz", "bright_mask.nii.gz"}
    found = np.asanyarray(files["bright_mask.nii.gz"].dataobj).transpose(2, 1, 0)
    # six voxels of code 5 and one of code 1; a mask of blood alone would be seven of code 1
    assert np.bincount(found.ravel()).tolist()[1:] == [1, 0, 0, 0, 6]
    assert np.array_equal(found, mask)
    heat = np.asanyarray(files["bright_heat_any.nii.gz"].dataobj).transpose(2, 1, 0)
    assert np.array_equal(heat, finding.heat[0])


def test_the_same_voxels_give_the_same_bytes(scan, finding, tmp_path):
    for name in ("one", "two"):
        write.write_nifti(tmp_path / f"{name}.nii.gz", scan, finding.mask)
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


def test_heat_that_is_not_marked_stays_below_what_a_picture_draws(scan, finding):
    assert write.shown_heat(finding, 5).max() > 0.5
    uncalled = replace(finding, mask=np.zeros_like(finding.mask))
    assert (finding.heat[0, 5] >= 0.6).any() and write.shown_heat(uncalled, 5).max() < 0.5
    assert write.shown_heat(uncalled, 5, 0.3).max() < 0.3
    bare = write.contact_sheet(scan, [uncalled], [5])
    assert not bare.axes[1].images[1].get_alpha().any()


def test_slices_that_are_marked_most_are_shown_and_others_between_them(finding):
    mask = np.zeros((12, 8, 8), np.uint8)
    mask[3, :2], mask[7, :5], mask[8, :1] = 1, 1, 1
    marked = replace(finding, mask=mask)
    assert write.shown_slices([marked], 1).tolist() == [7]
    # three of four by their marks, were there so many; the fourth lies in the middle of the rest
    assert write.shown_slices([marked], 4).tolist() == [3, 5, 7, 8]
    assert write.shown_slices([replace(finding, mask=0 * mask)], 3).tolist() == [3, 6, 8]


def test_labels_of_a_contact_sheet_do_not_run_into_each_other(scan, finding):
    sheet = write.contact_sheet(scan, [finding, finding], [3, 4, 5, 6])
    sheet.draw_without_rendering()
    for axis in sheet.axes:
        words, picture = axis.yaxis.label.get_window_extent(), axis.get_window_extent()
        assert words.height <= picture.height, "a label would run into the next row's"


def test_an_identity_in_a_file_is_found(scan, tmp_path):
    folder = tmp_path / "written"
    folder.mkdir()
    (folder / "report.json").write_text("Patient Muster")
    assert write.identities_in(folder, scan) == []
    (folder / "report.json").write_text("Patient Muster^Erika")
    assert write.identities_in(folder, scan) == ["PatientName"]
