"""One synthetic head CT as the phantom hands it to the writers of the data sets' layouts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ich_study.schema import MASK_CODES


@dataclass(frozen=True)
class PhantomScan:
    """A simulated scan, slices from inferior to superior, row 0 anterior, column 0 patient's right.

    hu: int16 (slices, rows, columns), HU, with noise and artefacts.
    mask: uint8 of the same shape, codes 1-5 of `schema.MASK_CODES`, from the noiseless lesion.
    z_mm: float64 (slices,), ascending.
    spacing_mm: in-plane pixel size, isotropic; thickness_mm: slice thickness.
    tilt_degrees: gantry tilt about the left-right axis that the header must state.
    seed: the seed that gives these bytes again.
    """

    hu: np.ndarray
    mask: np.ndarray
    z_mm: np.ndarray
    spacing_mm: float
    thickness_mm: float
    tilt_degrees: float
    seed: int

    def slice_labels(self) -> dict[str, np.ndarray]:
        """Per slice, bool (slices,): `any` and each subtype that its mask holds."""
        labels = {name: (self.mask == code).any((1, 2)) for name, code in MASK_CODES.items()}
        return {"any": (self.mask > 0).any((1, 2)), **labels}

    def volume_ml(self) -> dict[str, float]:
        """Lesion volume per subtype in mL, from the mask and the mean distance of slices."""
        gap_mm = float(np.diff(self.z_mm).mean()) if len(self.z_mm) > 1 else self.thickness_mm
        voxel_ml = self.spacing_mm**2 * gap_mm / 1000
        return {name: float((self.mask == code).sum()) * voxel_ml for name, code in MASK_CODES.items()}
