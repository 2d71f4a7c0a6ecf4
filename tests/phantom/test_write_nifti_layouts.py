from pathlib import Path

import nibabel
import numpy as np
import pytest

from ich_study.errors import ParameterError
from ich_study.hashing import sha256_file
from ich_study.phantom.write_bhsd import write_bhsd
from ich_study.phantom.write_hemorica import write_hemorica
from ich_study.phantom.write_instance2022 import write_instance2022
from ich_study.phantom.write_nifti import contract_affine, save_nifti
from ich_study.phantom.write_physionet import write_physionet
from ich_study.phantom.write_rsna import rsna_patient_id
from tests.phantom.fake_scans import fake_scan

WRITERS = [write_bhsd, write_physionet, write_instance2022, write_hemorica]


def hashes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("write", WRITERS)
def test_equal_scans_give_equal_bytes(tmp_path, write):
    for name in "ab":
        write(tmp_path / name, [fake_scan(1, tilt=15.0), fake_scan(2)])
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    write(tmp_path / "c", [fake_scan(3), fake_scan(2)])
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")


@pytest.mark.parametrize("write", WRITERS)
def test_one_scan_at_a_time_is_in_memory(tmp_path, write):
    written = []

    def scans():
        for seed in range(3):
            assert (
                len([path for path in tmp_path.rglob("*.nii*") if not path.name.startswith(".")])
                == 2 * seed
            )
            written.append(seed)
            yield fake_scan(seed)

    assert len(write(tmp_path, scans())) == len(written) == 3


@pytest.mark.parametrize("tilt", [0.0, 7.3, -12.0, 18.5, 29.0])
def test_bhsd_states_its_axes_in_the_qform_only(tmp_path, tilt):
    (row,) = write_bhsd(tmp_path, [fake_scan(5, tilt=tilt)])
    for folder, dtype in (("images", np.float64), ("ground truths", np.uint16)):
        image = nibabel.load(tmp_path / "label_192" / folder / f"{row['scan_id']}.nii.gz")
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 0)
        assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")
        assert image.get_data_dtype() == dtype
        assert image.header["pixdim"][0] == -1
        vector = image.affine[:3, 1]
        assert np.degrees(np.arctan2(vector[2], vector[1])) == pytest.approx(tilt, abs=1e-3)
        assert image.header.get_zooms()[2] == pytest.approx(5 / np.cos(np.radians(tilt)), abs=1e-4)
    assert row["patient_id"] == rsna_patient_id(5)


def test_bhsd_takes_names_from_the_caller(tmp_path):
    rows = write_bhsd(
        tmp_path, [fake_scan(5)], names=lambda scan: (f"ID_{scan.seed:08x}", "ID_0123456789")
    )
    assert rows == [{"patient_id": "ID_00000005", "scan_id": "ID_00000005_ID_0123456789"}]


def test_physionet_numbers_and_masks(tmp_path):
    rows = write_physionet(tmp_path, (fake_scan(seed, rows=48, columns=48) for seed in range(12)))
    assert [row["patient_id"] for row in rows] == [f"{n:03d}" for n in [*range(49, 59), 66, 67]]
    image = nibabel.load(tmp_path / "masks" / "066.nii")
    assert set(np.unique(np.asarray(image.dataobj))) == {0, 255}
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")


@pytest.mark.parametrize("axes", ["LAS", "RAS", "SPL", "AIR"])
@pytest.mark.parametrize("tilt", [0.0, 15.0])
def test_a_voxels_place_in_mm_does_not_depend_on_the_files_axes(tmp_path, axes, tilt):
    scan = fake_scan(9, tilt=tilt)
    affine = contract_affine(scan)
    save_nifti(tmp_path / "scan.nii.gz", scan.hu, affine, np.int16, axes=axes)
    image = nibabel.load(tmp_path / "scan.nii.gz")
    voxels = np.asarray(image.dataobj)
    for index in ((0, 0, 0), (2, 10, 40), (5, 63, 1)):
        place = affine @ [*index[::-1], 1]
        found = np.rint(np.linalg.inv(image.affine) @ place)[:3].astype(int)
        np.testing.assert_allclose(image.affine @ [*found, 1], place, atol=1e-3)
        assert voxels[tuple(found)] == scan.hu[index]


def test_uneven_slices_cannot_be_written(tmp_path):
    scan = fake_scan(1)
    scan.z_mm[3] += 2
    with pytest.raises(ParameterError, match="not evenly spaced"):
        write_instance2022(tmp_path, [scan])


def test_a_single_slice_can_be_written(tmp_path):
    assert write_instance2022(tmp_path, [fake_scan(1, slices=1, positive=False)]) == [
        {"patient_id": "001", "scan_id": "001"}
    ]
