"""Surface distances in mm: Hausdorff distance and surface Dice (ResNet-LSTM, Table 1; INSTANCE
2022).

The surface of a mask is its voxels with a face neighbour outside the mask; voxels beyond the
array's border count as outside. Distances are Euclidean between voxel centres, from SciPy's exact
distance transform with anisotropic spacing.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ich_study.errors import StudyError

Spacing = tuple[float, ...]


def surface_measures(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Spacing, tolerance_mm: float
) -> tuple[float, float]:
    """Hausdorff distance (mm) and surface Dice (in [0, 1]) of two masks.

    The Hausdorff distance is the larger of the two directed distances, NaN where a mask is empty:
    no distance exists, and any number put there decides the mean. Surface Dice is the share of both
    surfaces that lies within `tolerance_mm` of the other; both empty is NaN, one empty is 0
    (MONAI's rule). Surface voxels are counted, not weighed by area.

    >>> truth = np.zeros((1, 5, 8), bool)
    >>> truth[0, 1:4, 1:4] = True
    >>> surface_measures(np.roll(truth, 2, axis=2), truth, (5.0, 0.5, 0.5), tolerance_mm=0.5)
    (1.0, 0.6666666666666666)
    """
    if tolerance_mm < 0:
        raise StudyError(f"tolerance is {tolerance_mm} mm; expected 0 or more")
    predicted, true = bool(np.any(prediction)), bool(np.any(truth))
    if not predicted or not true:
        return float("nan"), 0.0 if predicted or true else float("nan")
    distances = surface_distances(prediction, truth, spacing_mm)
    hausdorff = max(float(directed.max()) for directed in distances)
    return hausdorff, float(np.mean(np.concatenate(distances) <= tolerance_mm))


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm of every surface voxel of the prediction to the truth's surface, and the
    reverse.

    prediction, truth: bool, two- or three-dimensional, one shape. spacing_mm: a side per axis.
    Raises StudyError on an empty mask, on other shapes and on spacing that is not positive and
    finite.
    """
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if prediction.shape != truth.shape or prediction.ndim != len(spacing_mm):
        raise StudyError(
            f"prediction {prediction.shape}, truth {truth.shape}, spacing {spacing_mm}: need one"
            " shape and a side per axis"
        )
    if not all(np.isfinite(side) and side > 0 for side in spacing_mm):
        raise StudyError(
            f"spacing is {spacing_mm} mm; surface distances need positive, known sides"
        )
    if not prediction.any() or not truth.any():
        raise StudyError("an empty mask has no surface")
    # both masks lie in their common box, and the transform costs by its volume
    box = ndimage.find_objects((prediction | truth).view(np.uint8))[0]
    first, second = _surface(prediction[box]), _surface(truth[box])
    return _distances(first, second, spacing_mm), _distances(second, first, spacing_mm)


def _surface(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    for axis in range(mask.ndim):
        moved, kept = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= moved[:-1]
        kept[:-1] &= moved[1:]
        kept[0], kept[-1] = False, False
    return mask & ~inner


def _distances(points: np.ndarray, surface: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Distance of the voxels of one surface to the nearest of another; sums as in SciPy, but of
    these voxels alone."""
    nearest = ndimage.distance_transform_edt(
        ~surface, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    steps = (nearest[:, points] - np.stack(np.nonzero(points))).astype(np.float64)
    steps *= np.array(spacing_mm, np.float64)[:, None]
    return np.sqrt(np.add.reduce(steps * steps, axis=0))
