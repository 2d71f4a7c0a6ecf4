"""Surface distances in mm: Hausdorff distance and surface Dice (ResNet-LSTM, Table 1; INSTANCE
2022).

The surface of a mask is its voxels with a face neighbour outside the mask; voxels beyond the
array's border count as outside. Distances are Euclidean between voxel centres, where these lie in
space: slices may be tilted, shifted in their plane and at varying distances (`ct.planes`).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from ich_study.ct.planes import PixelGrid
from ich_study.errors import StudyError
from ich_study.metrics.cores import cores

ROUNDING_MM = 1e-9
"""By how much sums of positions may be off: a voxel at the tolerance is within it."""


def surface_measures(
    prediction: np.ndarray, truth: np.ndarray, grid: PixelGrid, tolerance_mm: float
) -> tuple[float, float]:
    """Hausdorff distance (mm) and surface Dice (in [0, 1]) of two masks.

    The Hausdorff distance is the larger of the two directed distances, NaN where a mask is empty:
    no distance exists, and any number put there decides the mean. Surface Dice is the share of both
    surfaces that lies within `tolerance_mm` of the other; both empty is NaN, one empty is 0
    (MONAI's rule). Surface voxels are counted, not weighed by area.

    >>> truth = np.zeros((1, 5, 8), bool)
    >>> truth[0, 1:4, 1:4] = True
    >>> grid = PixelGrid.even(1, (5.0, 0.5, 0.5))
    >>> surface_measures(np.roll(truth, 2, axis=2), truth, grid, tolerance_mm=0.5)
    (1.0, 0.6666666666666666)
    """
    if tolerance_mm < 0:
        raise StudyError(f"tolerance is {tolerance_mm} mm; expected 0 or more")
    predicted, true = bool(np.any(prediction)), bool(np.any(truth))
    if not predicted or not true:
        return float("nan"), 0.0 if predicted or true else float("nan")
    distances = surface_distances(prediction, truth, grid)
    hausdorff = max(float(directed.max()) for directed in distances)
    return hausdorff, float(np.mean(np.concatenate(distances) <= tolerance_mm + ROUNDING_MM))


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, grid: PixelGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm of every surface voxel of the prediction to the truth's surface, and the
    reverse.

    prediction, truth: bool (slices, rows, columns) of `grid`, not empty. grid: known.
    """
    first, second = grid.points_mm(_surface(prediction)), grid.points_mm(_surface(truth))
    workers = cores()
    return (
        KDTree(second).query(first, workers=workers)[0],
        KDTree(first).query(second, workers=workers)[0],
    )


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~binary_erosion(mask)
