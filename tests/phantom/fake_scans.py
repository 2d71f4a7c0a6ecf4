"""Small hand-made phantom scans: no anatomy, every voxel different enough to notice a swap or a
flip."""

from __future__ import annotations

import numpy as np

from ich_study.ct.planes import slice_depths_mm
from ich_study.metrics.volume import volume_ml
from ich_study.phantom.scan import PhantomScan
from ich_study.schema import MASK_CODES

LESIONS = {"SDH": (1, 10, 14, 20, 40), "IPH": (2, 30, 38, 12, 22), "IVH": (2, 40, 44, 36, 42)}
"""Subtype -> slice, rows from-to, columns from-to."""


def fake_scan(
    seed: int,
    *,
    slices: int = 6,
    rows: int = 64,
    columns: int = 64,
    tilt: float = 0.0,
    positive: bool = True,
    thickness_mm: float = 5.0,
) -> PhantomScan:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-900, 3000, (slices, rows, columns)).astype(np.int16)
    mask = np.zeros(hu.shape, np.uint8)
    for subtype, (index, top, bottom, left, right) in LESIONS.items() if positive else ():
        mask[index, top:bottom, left:right] = MASK_CODES[subtype]
    z_mm = np.arange(slices) * thickness_mm + 3.25
    return PhantomScan(
        hu, mask, z_mm, spacing_mm=0.5, thickness_mm=thickness_mm, tilt_degrees=tilt, seed=seed
    )


def volumes_ml(scan: PhantomScan) -> dict[str, float]:
    """Lesion volume per subtype, from the mask and the depth of its slices."""
    pixel_ml = scan.spacing_mm**2 * slice_depths_mm(scan.plane_mm, scan.thickness_mm) / 1000
    return {name: volume_ml(scan.mask == code, pixel_ml) for name, code in MASK_CODES.items()}
