"""The phantom in the layout that this study's Hemorica reader expects; it is not the official one,
which is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ich_study.atomic import write_csv
from ich_study.datasets.hemorica import COLUMNS, KEYS, LABEL_MAP
from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_nifti import flag_rows, recoded, save_scan


def write_hemorica(root: Path, scans: Iterable[PhantomScan]) -> list[dict[str, str]]:
    """Writes `images`, `masks` and slice_labels.csv under `root`, one scan in memory at a time.

    Returns a patient_id and scan_id per scan.
    """
    written, rows = [], []
    for number, scan in enumerate(scans, start=1):
        patient, study = f"P{number:03d}", f"P{number:03d}_1"
        mask = recoded(scan.mask, LABEL_MAP)
        save_scan(scan, mask, (root / "images", root / "masks"), f"{study}.nii.gz")
        rows += [
            dict(zip(KEYS, (patient, study, index))) | flags
            for index, flags in enumerate(flag_rows(scan, COLUMNS))
        ]
        written.append({"patient_id": patient, "scan_id": study})
    names = [COLUMNS[name] for name in LABEL_MAP.values()]
    write_csv(root / "slice_labels.csv", pd.DataFrame(rows, columns=[*KEYS, *names]))
    return written
