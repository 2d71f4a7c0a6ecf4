import nibabel
import numpy as np
import pydicom
import pytest

from ich_study.errors import DataError
from ich_study.new_scan.find import choose_series, find_studies
from ich_study.new_scan.read import check_head, read_dicom, read_nifti
from tests.new_scan.heads import head, write_series


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("tilt", [0.0, 15.0, -20.0])
def test_every_voxel_of_a_series_lies_where_its_header_says(tmp_path, tilt, flipped):
    hu, _ = head()
    paths = write_series(tmp_path, hu, tilt_degrees=tilt, flipped=flipped)
    scan = read_dicom(tuple(paths), "anon")
    assert np.array_equal(scan.hu, hu)
    # the oracle: place and value of stored pixels, by DICOM PS3.3 C.7.6.2.1.1, from each file alone
    image = scan.image(scan.hu)
    back = np.linalg.inv(image.affine)
    for path in paths[::5]:
        stored = pydicom.dcmread(path)
        origin = np.array(stored.ImagePositionPatient, float)
        cosines = np.array(stored.ImageOrientationPatient, float)
        between_rows, between_columns = map(float, stored.PixelSpacing)
        for row, column in ((0, 0), (5, 40), (20, 22), (63, 10)):
            lps = origin + cosines[:3] * between_columns * column
            lps = lps + cosines[3:] * between_rows * row
            voxel = back @ np.array([-lps[0], -lps[1], lps[2], 1])
            place = tuple(np.rint(voxel[:3]).astype(int))
            assert np.allclose(voxel[:3], place, atol=1e-3)
            value = stored.pixel_array[row, column] - 1024
            assert np.asanyarray(image.dataobj)[place] == value


def test_depth_is_along_the_normal_of_tilted_slices_and_each_slices_own(tmp_path):
    hu, lesion = head()
    table = np.r_[np.arange(6) * 4.0, 20 + 8.0 * np.arange(1, 7)]  # thin below, thick above
    scan = read_dicom(tuple(write_series(tmp_path, hu, tilt_degrees=30, z_mm=table)), "anon")
    cosine = np.cos(np.deg2rad(30))
    expected = np.array([4] * 5 + [6] + [8] * 6) * cosine
    assert scan.depth_mm == pytest.approx(expected, abs=1e-4)
    # 48 pixels of 3.0 x 2.8 mm in slices 4 to 7
    volume = lesion.sum((1, 2)) @ scan.pixel_ml
    assert volume == pytest.approx(48 * 3.0 * 2.8 * (4 + 6 + 8 + 8) * cosine / 1000, rel=1e-4)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "LSA"])
def test_a_nifti_file_gets_its_own_axes_and_affine_back(tmp_path, axes):
    hu, lesion = head()
    shear = np.array([[-2.8, 0, 0.4, 3], [0, -3.0, 1.7, 5], [0, 0.2, 6, -9], [0, 0, 0, 1.0]])
    stored = nibabel.Nifti1Image(hu.transpose(2, 1, 0), shear)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(shear), nibabel.orientations.axcodes2ornt(axes)
    )
    turned = stored.as_reoriented(turn)
    nibabel.save(turned, tmp_path / "Erika Muster.nii.gz")
    scan = read_nifti(tmp_path / "Erika Muster.nii.gz", "anon")
    assert np.array_equal(scan.hu, hu)
    written = scan.image(lesion.astype(np.uint8))
    assert np.allclose(written.affine, turned.affine, atol=1e-5)
    bright = np.asanyarray(turned.dataobj) == 70
    assert np.array_equal(np.asanyarray(written.dataobj) > 0, bright)
    normal = np.cross(shear[:3, 0], shear[:3, 1])
    depth = abs(shear[:3, 2] @ normal) / np.linalg.norm(normal)
    assert scan.depth_mm == pytest.approx([depth] * len(hu), rel=1e-4)
    assert not any("Muster" in note for note in scan.notes)


def test_a_point_lies_at_its_voxel_in_patient_coordinates(tmp_path):
    hu, _ = head()
    scan = read_dicom(tuple(write_series(tmp_path, hu)), "anon")
    # slice 3, row and column at the centre of 64 pixels: x = y = 0, z = 18
    assert scan.world_mm(np.array([[3, 31.5, 31.5]])) == pytest.approx(np.array([[0, 0, 18]]))
    # to the left of the picture is the patient's right: x falls
    assert scan.world_mm(np.array([[3, 31.5, 11.5]]))[0, 0] == pytest.approx(-20 * 2.8)
    assert not any("NIfTI" in note for note in scan.notes)


def test_a_point_of_uneven_slices_lies_where_its_slice_does_and_the_scan_says_what_nifti_loses(
    tmp_path,
):
    hu, _ = head()
    table = np.r_[np.arange(6) * 4.0, 20 + 8.0 * np.arange(1, 7)]
    paths = write_series(tmp_path, hu, tilt_degrees=15, z_mm=table)
    scan = read_dicom(tuple(paths), "anon")
    for number, path in enumerate(sorted(paths, key=lambda p: stored_place(p)[2])):
        assert scan.world_mm(np.array([[number, 0, 0]]))[0] == pytest.approx(stored_place(path))
    # the constant step of 68 / 11 mm has slice 5 at 30.9 mm of the table, not at 20
    assert any("up to 10.9 mm beside" in note for note in scan.notes)


def stored_place(path):
    return np.array(pydicom.dcmread(path).ImagePositionPatient, float)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda hu: np.clip(hu, 0, 255), "below -500 HU"),
        (lambda hu: np.clip(hu, -1000, 100), "bone"),
        (lambda hu: np.where(hu > 300, -900, hu), "bone"),
        (lambda hu: np.where((hu > 20) & (hu < 100), -700, hu), "mL of brain"),
        (lambda hu: np.where((hu > 20) & (hu < 100), hu - 40, hu), "mL of brain|median"),
    ],
)
def test_what_is_no_head_ct_in_hu_is_refused(tmp_path, change, says):
    hu = change(head()[0].astype(int)).astype(np.int16)
    scan = read_dicom(tuple(write_series(tmp_path, hu)), "anon")
    with pytest.raises(DataError, match=says):
        check_head(scan)


@pytest.mark.parametrize(
    ("check", "fields"),
    [("burned-in", {"BurnedInAnnotation": "YES"}), ("bits-stored", {"HighBit": 11})],
)
def test_a_header_that_speaks_against_it_refuses_a_scan_unless_allowed(tmp_path, check, fields):
    write_series(tmp_path, head()[0], **fields)
    (candidates,) = find_studies(tmp_path).values()
    with pytest.raises(DataError, match=check):
        choose_series(candidates)
    scan, _ = choose_series(candidates, [check])
    assert any(note.startswith(check) for note in scan.notes)


def test_the_head_itself_is_taken(tmp_path):
    write_series(tmp_path, head()[0])
    (candidates,) = find_studies(tmp_path).values()
    scan, verdicts = choose_series(candidates)
    assert verdicts["verdict"].tolist() == ["taken"] and scan.headers
