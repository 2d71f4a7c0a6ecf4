"""The phantom in BHSD's layout: axes in the qform alone."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from ich_study.phantom.write_bhsd import write_bhsd
from ich_study.phantom.write_rsna import rsna_patient_id
from tests.phantom.fake_scans import fake_scan


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
        assert image.header.get_zooms()[2] == pytest.approx(5 * np.cos(np.radians(tilt)), abs=1e-4)
    assert row["patient_id"] == rsna_patient_id(5)
