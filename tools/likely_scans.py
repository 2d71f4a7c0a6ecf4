"""What the shipped weights see in scans that users are likely to bring:
`python -m tools.likely_scans` writes `ich_study/new_scan/weights/likely_scans.csv`.

Synthetic phantoms, generated and not patients: a head of each subtype and one of none; the one of
IPH in thin and thick slices, tilted, with a contrast agent, the one of none with it too; and real
series without hemorrhage where ICH_REAL_DATA has them. A row per scan and method: slices with
hemorrhage and how many of them are marked, slices without and how many of these are, points in the
lesion (2 mm around it) of all points, volumes in mL.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt

from ich_study.atomic import write_csv
from ich_study.evaluate.scan_methods import ScanMethod
from ich_study.new_scan.apply import SHIPPED, apply_method, open_methods, shipped
from ich_study.new_scan.find import choose_series, find_studies
from ich_study.new_scan.read import OwnScan
from ich_study.phantom.patient import PatientSpec, simulate
from ich_study.phantom.write_cq500 import write_cq500
from ich_study.schema import SUBTYPES

TABLE = SHIPPED / "likely_scans.csv"
NEAR_MM = 2.0
SEED, MATRIX = 4000, 256
SCANS: dict[str, dict[str, Any]] = {
    **{f"synthetic, {name}": {"subtypes": (name,)} for name in SUBTYPES},
    "synthetic, no hemorrhage": {},
    "synthetic, IPH, thin slices": {"subtypes": ("IPH",), "thickness_mm": 1.25},
    "synthetic, IPH, tilt of 20 degrees": {"subtypes": ("IPH",), "tilt_degrees": 20.0},
    "synthetic, IPH, thick slices": {"subtypes": ("IPH",), "thickness_mm": 8.0},
    "synthetic, IPH, contrast agent": {"subtypes": ("IPH",), "contrast": True},
    "synthetic, no hemorrhage, contrast agent": {"contrast": True},
}
REAL = {
    "ge_head_dicom": "real, no hemorrhage seen, GE, tilt of 18.5 degrees",
    "cq500": "real, no hemorrhage by two of three readers, thin slices with gaps",
}


def counted(kind: str, scan: OwnScan, truth: np.ndarray, method: ScanMethod) -> dict[str, object]:
    """One method on one scan. truth: bool of the shape of its HU."""
    found = apply_method(method.recipe.name, method, scan)
    bleeds, marked = truth.any((1, 2)), (found.mask > 0).any((1, 2))
    hits = 0
    for point in found.points.itertuples():
        mask = truth[point.slice_index]
        if mask.any():
            away = distance_transform_edt(~mask, sampling=scan.spacing_mm[::-1])
            row, column = round(point.row), round(point.column)
            hits += int(away[row, column] <= NEAR_MM)
    return {
        "scan": kind,
        "method": method.recipe.name,
        "slices_with": int(bleeds.sum()),
        "of_them_marked": int((bleeds & marked).sum()),
        "slices_without": int((~bleeds).sum()),
        "of_these_marked": int((~bleeds & marked).sum()),
        "points": len(found.points),
        "points_in_lesion": hits,
        "true_ml": round(float(truth.sum((1, 2)) @ scan.pixel_ml), 2),
        "marked_ml": round(found.volumes_ml["any"], 2),
        "seconds": round(found.seconds, 1),
    }


def read(folder: Path) -> OwnScan:
    """The head series of the one study in `folder`."""
    (candidates,) = find_studies(folder).values()
    return choose_series(candidates)[0]


def main() -> int:
    """Measures every scan by every shipped method and writes the table."""
    methods = open_methods(shipped(), torch.device("cpu"))
    rows = []
    heads: dict[tuple[str, ...], int] = {}
    for number, (kind, settings) in enumerate(SCANS.items()):
        # one head of each subtype: thin, thick and tilted slices are of the same lesion
        seed = SEED + heads.setdefault(settings.get("subtypes", ()), len(heads))
        settings = {"seed": seed, "matrix": MATRIX, "tilt_degrees": 0.0, **settings}
        phantom = simulate(contrast=settings.pop("contrast", False), spec=PatientSpec(**settings))
        with tempfile.TemporaryDirectory() as folder:
            write_cq500(Path(folder), [phantom], second_series=False)
            scan = read(Path(folder))
        rows += [counted(kind, scan, phantom.mask > 0, each) for each in methods.values()]
        print(pd.DataFrame(rows[-len(methods) :]).to_string(header=number == 0), flush=True)
    for name, kind in REAL.items():
        folder = Path(os.environ.get("ICH_REAL_DATA", "")) / name
        if folder.is_dir():
            scan = read(folder)
            none = np.zeros(scan.hu.shape, bool)
            rows += [counted(kind, scan, none, each) for each in methods.values()]
    write_csv(TABLE, pd.DataFrame(rows).drop(columns="seconds"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
