"""The phantom in INSTANCE 2022's layout: LAS volumes `train_2/data/001.nii.gz`, binary masks beside
them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_nifti import save_scan


def write_instance2022(root: Path, scans: Iterable[PhantomScan]) -> list[dict[str, str]]:
    """Writes `train_2/data` and `train_2/label` under `root`, one scan in memory at a time.

    Subtypes are merged to 1. Returns a patient_id and scan_id per scan.
    """
    folders = (root / "train_2" / "data", root / "train_2" / "label")
    written = []
    for number, scan in enumerate(scans, start=1):
        name = f"{number:03d}"
        save_scan(scan, scan.mask > 0, folders, f"{name}.nii.gz")
        written.append({"patient_id": name, "scan_id": name})
    return written
