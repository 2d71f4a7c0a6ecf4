"""The phantom in PhysioNet's layout: numbers of patients, masks of 0 and 255, labels by slice."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd

from ich_study.datasets.physionet import COLUMNS, NO_HEMORRHAGE
from ich_study.phantom.write_physionet import write_physionet
from tests.phantom.fake_scans import LESIONS, fake_scan


def test_physionet_numbers_and_masks(tmp_path):
    rows = write_physionet(tmp_path, (fake_scan(seed, rows=48, columns=48) for seed in range(12)))
    assert [row["patient_id"] for row in rows] == [f"{n:03d}" for n in [*range(49, 59), 66, 67]]
    image = nibabel.load(tmp_path / "masks" / "066.nii")
    assert set(np.unique(np.asarray(image.dataobj))) == {0, 255}
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "S")


def test_a_label_stands_on_the_slice_that_shows_it(tmp_path):
    write_physionet(tmp_path, [fake_scan(1), fake_scan(2, positive=False)])
    table = pd.read_csv(tmp_path / "hemorrhage_diagnosis_raw_ct.csv")
    first = table[table["PatientNumber"] == 49]
    for subtype in ("SDH", "IPH", "IVH"):
        numbers = first.loc[first[COLUMNS[subtype]] == 1, "SliceNumber"]
        assert numbers.tolist() == [LESIONS[subtype][0] + 1]
    assert first[NO_HEMORRHAGE].tolist() == [1, 0, 0, 1, 1, 1]
    assert table.loc[table["PatientNumber"] == 50, NO_HEMORRHAGE].eq(1).all()
