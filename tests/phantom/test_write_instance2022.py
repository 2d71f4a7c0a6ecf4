"""The phantom in INSTANCE 2022's layout: all subtypes merged."""

from __future__ import annotations

import nibabel
import numpy as np

from ich_study.phantom.write_instance2022 import write_instance2022
from tests.phantom.fake_scans import fake_scan


def test_a_single_slice_can_be_written(tmp_path):
    assert write_instance2022(tmp_path, [fake_scan(1, slices=1, positive=False)]) == [
        {"patient_id": "001", "scan_id": "001"}
    ]


def test_subtypes_are_merged(tmp_path):
    scan = fake_scan(1)
    write_instance2022(tmp_path, [scan])
    written = nibabel.load(tmp_path / "train_2" / "label" / "001.nii.gz")
    mask = np.asarray(written.dataobj)
    assert set(np.unique(mask)) == {0, 1} and mask.sum() == (scan.mask > 0).sum()
