"""The phantom in BHSD's layout: float64 volumes and uint16 masks, LAS, tilt in the qform only.

As there, the mask folder's name has a space, dataset.json names folders that do not exist, and
each file name begins with an RSNA patient.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ich_study.atomic import write_json
from ich_study.datasets.bhsd import LONG_NAMES, PUBLISHED_MAP
from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_nifti import recoded, save_scan
from ich_study.phantom.write_rsna import rsna_patient_id, rsna_series_id


def write_bhsd(root: Path, scans: Iterable[PhantomScan]) -> list[dict[str, str]]:
    """Writes `label_192` and dataset.json under `root`, one scan in memory at a time.

    A file is named after the scan's RSNA patient and series, so that the same scan in both layouts
    has the same patient. Returns a patient_id and scan_id per scan.
    """
    folders = (root / "label_192" / "images", root / "label_192" / "ground truths")
    written = []
    for scan in scans:
        patient = rsna_patient_id(scan.seed)
        stem, mask = f"{patient}_{rsna_series_id(scan.seed)}", recoded(scan.mask, PUBLISHED_MAP)
        save_scan(scan, mask, folders, f"{stem}.nii.gz", (np.float64, np.uint16), sform=0)
        written.append({"patient_id": patient, "scan_id": stem})
    write_json(root / "dataset.json", _description([row["scan_id"] for row in written]))
    return written


def _description(stems: list[str]) -> dict[str, object]:
    """Half of the volumes as training, half as test, under the paths of the published file."""
    names = {short: long for long, short in LONG_NAMES.items()}
    half = (len(stems) + 1) // 2
    return {
        "name": "BHSD",
        "modality": {"0": "CT"},
        "labels": {
            "0": "background",
            **{str(value): names[short] for value, short in PUBLISHED_MAP.items()},
        },
        "numTraining": half,
        "numTest": len(stems) - half,
        "training": [
            {"image": f"./imagesTr/{stem}.nii.gz", "label": f"./labelsTr/{stem}.nii.gz"}
            for stem in stems[:half]
        ],
        "test": [f"./imagesTs/{stem}.nii.gz" for stem in stems[half:]],
    }
