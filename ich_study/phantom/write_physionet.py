"""The phantom in the layout of PhysioNet ct-ich: uncompressed LAS volumes, 0/255 masks, a
table of slice labels.

As there, patients are numbered from 49, and 59-65 have no scan. Their demographics are not written:
the phantom has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.atomic import write_csv
from ich_study.datasets.physionet import COLUMNS, NO_HEMORRHAGE
from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_nifti import flag_rows, save_scan

WITHOUT_SCAN = range(59, 66)
ORDER = ("IVH", "IPH", "SAH", "EDH", "SDH")
FRACTURE = "Fracture_Yes_No"


def write_physionet(root: Path, scans: Iterable[PhantomScan]) -> list[dict[str, str]]:
    """Writes `ct_scans`, `masks` and the slice table under `root`, one scan in memory at a time.

    Returns a patient_id and scan_id per scan.
    """
    written, slices = [], []
    numbers = (number for number in count(49) if number not in WITHOUT_SCAN)
    for number, scan in zip(numbers, scans):
        name, mask = f"{number:03d}", np.where(scan.mask > 0, 255, 0)
        save_scan(scan, mask, (root / "ct_scans", root / "masks"), f"{name}.nii")
        slices += _slice_rows(number, scan)
        written.append({"patient_id": name, "scan_id": name})
    columns = [
        "PatientNumber",
        "SliceNumber",
        *(COLUMNS[name] for name in ORDER),
        NO_HEMORRHAGE,
        FRACTURE,
    ]
    write_csv(root / "hemorrhage_diagnosis_raw_ct.csv", pd.DataFrame(slices, columns=columns))
    return written


def _slice_rows(number: int, scan: PhantomScan) -> Iterator[dict[str, int]]:
    for slice_number, flags in enumerate(flag_rows(scan, COLUMNS), start=1):
        none = int(not any(flags.values()))
        yield {
            "PatientNumber": number,
            "SliceNumber": slice_number,
            **flags,
            NO_HEMORRHAGE: none,
            FRACTURE: 0,
        }
