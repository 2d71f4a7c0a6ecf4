"""The phantom in INSTANCE 2022's layout: LAS volumes `train_2/data/001.nii.gz`, binary masks beside
them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_nifti import contract_affine, save_nifti


def write_instance2022(root: Path, scans: Iterable[PhantomScan]) -> list[dict[str, str]]:
    """Writes `train_2/data` and `train_2/label` under `root`, one scan in memory at a time.

    Subtypes are merged to 1. Returns a patient_id and scan_id per scan.
    """
    written = []
    for number, scan in enumerate(scans, start=1):
        name, affine = f"{number:03d}", contract_affine(scan)
        save_nifti(root / "train_2" / "data" / f"{name}.nii.gz", scan.hu, affine, np.int16)
        save_nifti(root / "train_2" / "label" / f"{name}.nii.gz", scan.mask > 0, affine, np.uint8)
        written.append({"patient_id": name, "scan_id": name})
    return written
