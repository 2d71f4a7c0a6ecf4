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
    z_mm: float64 (slices,), ascending, of the table: planes of a tilted gantry are closer together.
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

    def slice_labels(self, at_least_mm2: float = 0.0) -> dict[str, np.ndarray]:
        """Per slice, bool (slices,): each subtype whose area in the mask is above 0 and at least
        `at_least_mm2`, and `any`, the OR of them."""
        pixels = max(at_least_mm2 / self.spacing_mm**2, 1)
        labels = {
            name: (self.mask == code).sum((1, 2)) >= pixels for name, code in MASK_CODES.items()
        }
        return {"any": np.any(list(labels.values()), axis=0), **labels}

    @property
    def plane_mm(self) -> np.ndarray:
        """Position of every slice along the normal of the slices, float64 (slices,)."""
        return self.z_mm * np.cos(np.radians(self.tilt_degrees))
