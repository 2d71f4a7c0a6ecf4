"""Where the pixels of a scan lie, and the depth of its slices: what every mL and every distance
in mm of the study rests on.

A tilted gantry moves the table by more than the distance of the slice planes, and shifts each slice
within its plane; heads are often scanned thin at the base and thick above. So depth is a slice's
own, measured along the normal of the planes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import pandas as pd

from ich_study.errors import DataError


def slice_depths_mm(plane_mm: np.ndarray, thickness_mm: float) -> np.ndarray:
    """Depth of every slice in mm, float64 (slices,): half of the gap to the plane on each side.

    A slice at an end of the stack has its one gap, half of it on each side. plane_mm: (slices,),
    positions along the normal of the slices, in any order. Where a position is unknown, or there is
    one slice, all have the thickness (NaN where that is unknown too).

    >>> slice_depths_mm(np.array([0.0, 2.0, 4.0, 9.0]), 5.0).tolist()
    [2.0, 2.0, 3.5, 5.0]
    """
    plane_mm = np.asarray(plane_mm, np.float64)
    if len(plane_mm) < 2 or not np.isfinite(plane_mm).all():
        return np.full(len(plane_mm), thickness_mm, np.float64)
    order = np.argsort(plane_mm, kind="stable")
    gaps = np.diff(plane_mm[order])
    depths = np.empty(len(plane_mm))
    depths[order] = (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2
    return depths


@dataclass(frozen=True)
class PixelGrid:
    """The pixels of one scan in space.

    first_mm: of each slice's first pixel, float64 (slices, 3): along the normal of the slices, down
    a column, along a row. depth_mm: (slices,), see `slice_depths_mm`. pixel_mm: (y, x). NaN where
    unknown.
    """

    first_mm: np.ndarray = field(repr=False)
    depth_mm: np.ndarray = field(repr=False)
    pixel_mm: tuple[float, float]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Self:
        """Of all slices of one scan, rows of the slice index. DataError where some are missing."""
        rows = rows.sort_values("slice_index")
        if rows["slice_index"].tolist() != list(range(len(rows))):
            raise DataError(
                f"{len(rows)} rows of the slice index with slices {rows['slice_index'].tolist()};"
                " the depth of a slice needs all slices of one scan, each once"
            )
        first, places = rows.iloc[0], rows[["z_mm", "shift_y_mm", "shift_x_mm"]]
        return cls(
            places.to_numpy(np.float64),
            slice_depths_mm(rows["z_mm"].to_numpy(), float(first["thickness_mm"])),
            (float(first["spacing_y_mm"]), float(first["spacing_x_mm"])),
        )

    @classmethod
    def even(cls, slices: int, spacing_mm: tuple[float, float, float]) -> Self:
        """Straight slices at even distances. spacing_mm: (z, y, x)."""
        first = np.zeros((slices, 3))
        first[:, 0] = np.arange(slices) * spacing_mm[0]
        return cls(first, slice_depths_mm(first[:, 0], spacing_mm[0]), spacing_mm[1:])

    @property
    def known(self) -> bool:
        """Whether positions and pixel size are known."""
        return bool(np.isfinite(self.first_mm).all() and np.isfinite(self.pixel_mm).all())

    @property
    def pixel_ml(self) -> np.ndarray:
        """What a pixel of each slice measures in mL, (slices,); NaN where unknown."""
        return self.depth_mm * self.pixel_mm[0] * self.pixel_mm[1] / 1000

    def points_mm(self, mask: np.ndarray) -> np.ndarray:
        """Where the pixels of a mask (slices, rows, columns) lie, (pixels, 3) as `first_mm`."""
        index = np.argwhere(mask)
        points = self.first_mm[index[:, 0]]
        points[:, 1:] += index[:, 1:] * np.array(self.pixel_mm)
        return points
