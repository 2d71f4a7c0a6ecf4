"""Lesions of stored scans as numbers: volume in mL and attenuation in HU, per subtype."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd

from ich_study.schema import MASK_CODES, UNSPECIFIED_HEMORRHAGE

_CLASSES = {**MASK_CODES, "hemorrhage": UNSPECIFIED_HEMORRHAGE}


class MaskedScans(Protocol):
    """What a store gives: an index, volumes in HU and masks by scan."""

    index: pd.DataFrame

    def volume(self, scan_id: str) -> np.ndarray:
        """int16 HU (slices, rows, columns)."""

    def mask(self, scan_id: str) -> np.ndarray:
        """uint8 mask codes, same shape."""


def slice_gap_mm(rows: pd.DataFrame) -> float:
    """Median distance of neighbouring slices of one scan in mm; its thickness where positions are
    unknown or there is one slice; NaN where neither is known."""
    gaps = np.diff(np.sort(rows["z_mm"].to_numpy(float)))
    known = gaps[np.isfinite(gaps) & (gaps > 0)]
    return float(np.median(known)) if len(known) else float(rows["thickness_mm"].iloc[0])


def lesion_statistics(scans: MaskedScans) -> pd.DataFrame:
    """A row per scan and class present in its mask: `scan_id, patient_id, class, volume_ml,
    mean_hu, median_hu, slices`. The median is the lesion's own density: partial volume with bone
    lifts the mean of thin extra-axial blood. Scans without masks give no rows; unknown spacing
    gives NaN volumes."""
    rows = []
    masked = scans.index[scans.index["has_mask"]]
    for scan_id, slices in masked.groupby("scan_id", sort=True):
        volume, mask = scans.volume(str(scan_id)), scans.mask(str(scan_id))
        first = slices.iloc[0]
        voxel_ml = first["spacing_x_mm"] * first["spacing_y_mm"] * slice_gap_mm(slices) / 1000
        for name, code in _CLASSES.items():
            lesion = mask == code
            count = int(lesion.sum())
            if count:
                rows.append(
                    {
                        "scan_id": scan_id,
                        "patient_id": first["patient_id"],
                        "class": name,
                        "volume_ml": count * voxel_ml,
                        "mean_hu": float(volume[lesion].mean()),
                        "median_hu": float(np.median(volume[lesion])),
                        "slices": int(lesion.any((1, 2)).sum()),
                    }
                )
    return pd.DataFrame(
        rows,
        columns=["scan_id", "patient_id", "class", "volume_ml", "mean_hu", "median_hu", "slices"],
    )
