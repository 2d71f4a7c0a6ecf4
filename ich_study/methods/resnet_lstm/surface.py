"""Surface distances in mm: Hausdorff, its 95th percentile, surface Dice (ResNet-LSTM, Table 1;
INSTANCE 2022).

The surface of a mask is its voxels with a face neighbour outside the mask; voxels beyond the
array's border count as outside. Distances are Euclidean between voxel centres, from SciPy's exact
distance transform with anisotropic spacing.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ich_study.errors import StudyError


def _crop(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    box = ndimage.find_objects((prediction | truth).view(np.uint8))[0]
    return prediction[box], truth[box]


def _surface(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    for axis in range(mask.ndim):
        moved, kept = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= moved[:-1]
        kept[:-1] &= moved[1:]
        kept[0], kept[-1] = False, False
    return mask & ~inner


def _distances(
    points: np.ndarray, surface: np.ndarray, spacing_mm: tuple[float, ...]
) -> np.ndarray:
    """Distance of the voxels of one surface to the nearest of another; sums as in SciPy, but of
    these voxels alone."""
    nearest = ndimage.distance_transform_edt(
        ~surface, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    steps = (nearest[:, points] - np.stack(np.nonzero(points))).astype(np.float64)
    steps *= np.array(spacing_mm, np.float64)[:, None]
    return np.sqrt(np.add.reduce(steps * steps, axis=0))


def surface_distances(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...]
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
    prediction, truth = _crop(prediction, truth)
    edges = _surface(prediction), _surface(truth)
    return _distances(edges[0], edges[1], spacing_mm), _distances(edges[1], edges[0], spacing_mm)


def hausdorff(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_mm: tuple[float, ...],
    percentile: float = 100,
) -> float:
    """Hausdorff distance in mm: the larger of the two directed distances at `percentile` (100, or
    95 for HD95).

    NaN where prediction or truth is empty: no distance exists, and any number put there decides the
    mean.
    """
    if not np.any(prediction) or not np.any(truth):
        return float("nan")
    return _largest(surface_distances(prediction, truth, spacing_mm), percentile)


def surface_dice(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, ...], tolerance_mm: float
) -> float:
    """Share of both surfaces that lies within `tolerance_mm` of the other, in [0, 1].

    Both empty is NaN, one empty is 0 (MONAI's rule). Surface voxels are counted, not weighed by
    area.
    """
    return surface_measures(prediction, truth, spacing_mm, tolerance_mm)[1]


def surface_measures(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_mm: tuple[float, ...],
    tolerance_mm: float,
) -> tuple[float, float]:
    """`hausdorff` (mm) and `surface_dice` of the same masks, from one search for the distances."""
    if tolerance_mm < 0:
        raise StudyError(f"tolerance is {tolerance_mm} mm; expected 0 or more")
    predicted, true = bool(np.any(prediction)), bool(np.any(truth))
    if not predicted or not true:
        return float("nan"), 0.0 if predicted or true else float("nan")
    distances = surface_distances(prediction, truth, spacing_mm)
    return _largest(distances, 100), float(np.mean(np.concatenate(distances) <= tolerance_mm))


def _largest(distances: tuple[np.ndarray, np.ndarray], percentile: float) -> float:
    return float(max(np.percentile(side, percentile) for side in distances))
