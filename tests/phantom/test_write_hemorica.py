"""The phantom in the layout that the Hemorica reader expects: codes, and flags of each slice."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd

from ich_study.datasets.hemorica import COLUMNS, KEYS, LABEL_MAP
from ich_study.phantom.write_hemorica import write_hemorica
from ich_study.phantom.write_nifti import recoded
from ich_study.schema import MASK_CODES
from tests.phantom.fake_scans import LESIONS, fake_scan

CODES = {name: value for value, name in LABEL_MAP.items()}


def test_codes_are_the_readers_and_no_two_subtypes_share_one():
    every = np.arange(6, dtype=np.uint8)
    found = dict(zip(recoded(every, LABEL_MAP).tolist(), every.tolist()))
    assert found.pop(0) == 0
    assert {LABEL_MAP[value]: code for value, code in found.items()} == MASK_CODES


def test_flags_and_masks_say_the_same(tmp_path):
    scan = fake_scan(1)
    assert write_hemorica(tmp_path, [scan]) == [{"patient_id": "P001", "scan_id": "P001_1"}]
    table = pd.read_csv(tmp_path / "slice_labels.csv")
    assert table[KEYS[-1]].tolist() == list(range(6))
    mask = np.asarray(nibabel.load(tmp_path / "masks" / "P001_1.nii.gz").dataobj)
    for subtype, lesion in LESIONS.items():
        assert table.index[table[COLUMNS[subtype]] == 1].tolist() == [lesion[0]]
        code = CODES[subtype]
        assert (mask == code).sum() == (scan.mask == MASK_CODES[subtype]).sum()
