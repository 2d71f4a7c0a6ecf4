from pathlib import Path

import nibabel
import numpy as np
import pytest

from ich_study.hashing import sha256_file
from ich_study.phantom.write_bhsd import write_bhsd
from ich_study.phantom.write_hemorica import write_hemorica
from ich_study.phantom.write_instance2022 import write_instance2022
from ich_study.phantom.write_nifti import contract_affine, save_nifti
from ich_study.phantom.write_physionet import write_physionet
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


@pytest.mark.parametrize("tilt", [0.0, 15.0])
def test_a_voxels_place_in_mm_is_that_of_the_scan(tmp_path, tilt):
    scan = fake_scan(9, tilt=tilt)
    affine = contract_affine(scan)
    save_nifti(tmp_path / "scan.nii.gz", scan.hu, affine, np.int16)
    image = nibabel.load(tmp_path / "scan.nii.gz")
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")
    voxels = np.asarray(image.dataobj)
    for index in ((0, 0, 0), (2, 10, 40), (5, 63, 1)):
        place = affine @ [*index[::-1], 1]
        found = np.rint(np.linalg.inv(image.affine) @ place)[:3].astype(int)
        np.testing.assert_allclose(image.affine @ [*found, 1], place, atol=1e-3)
        assert voxels[tuple(found)] == scan.hu[index]
