"""Lesions of stored scans as numbers: volume in mL and attenuation in HU, per subtype."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_study.ct.planes import PixelGrid
from ich_study.metrics.volume import volume_ml
from ich_study.schema import MASK_CODES, UNSPECIFIED_HEMORRHAGE
from ich_study.store.read import Store

_CLASSES = {**MASK_CODES, "hemorrhage": UNSPECIFIED_HEMORRHAGE}


def lesion_statistics(scans: Store) -> pd.DataFrame:
    """A row per scan and class present in its mask: `scan_id, patient_id, class, volume_ml,
    mean_hu, median_hu, slices`. The median is the lesion's own density: partial volume with bone
    lifts the mean of thin extra-axial blood. Scans without masks give no rows; unknown spacing
    gives NaN volumes."""
    rows = []
    masked = scans.index[scans.index["has_mask"]]
    for scan_id, slices in masked.groupby("scan_id", sort=True):
        volume, mask = scans.volume(str(scan_id)), scans.mask(str(scan_id))
        pixel_ml = PixelGrid.of(slices).pixel_ml
        for name, code in _CLASSES.items():
            lesion = mask == code
            if lesion.any():
                rows.append(
                    {
                        "scan_id": scan_id,
                        "patient_id": slices["patient_id"].iloc[0],
                        "class": name,
                        "volume_ml": volume_ml(lesion, pixel_ml),
                        "mean_hu": float(volume[lesion].mean()),
                        "median_hu": float(np.median(volume[lesion])),
                        "slices": int(lesion.any((1, 2)).sum()),
                    }
                )
    return pd.DataFrame(
        rows,
        columns=["scan_id", "patient_id", "class", "volume_ml", "mean_hu", "median_hu", "slices"],
    )
