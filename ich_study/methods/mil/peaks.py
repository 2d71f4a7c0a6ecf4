"""Peaks of a likelihood map as points: the detector of the MIL paper (Section II-D).

`authors` is the order of the code (printed_and_authors, 004.6): scikit-image's `peak_local_max`
with minimal distance d and threshold T, blind within d pixels of the border, then what remains must
be an h-maximum. `printed` is the order of the text: local maxima of 3 x 3 pixels that are h-maxima,
above T, and of two closer than d the higher one. Either order runs with and without the blind
border.

The results are those of scikit-image's `peak_local_max` and `h_maxima`, but the morphological
reconstruction is replaced by a look at each candidate: a peak of height v is an h-maximum when the
region above v - h around it holds nothing higher. That and separable maximum filters make it fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from skimage.morphology import h_maxima

from ich_study.errors import MapError, ParameterError

ORDERS = ("printed", "authors")
MANY_CANDIDATES = 64
"""Candidates in one map from which on the reconstruction of the whole map is cheaper than a look at
each."""


@dataclass(frozen=True)
class Detector:
    """The detector's parameters, in pixels and units of the map that it looks at.

    prominence: h; 0 leaves the h-maxima out. threshold: T, exceeded strictly. distance: d, a whole
    number of pixels >= 1. blind_border: drop what lies within d of an edge, as the code does.
    """

    prominence: float
    threshold: float
    distance: int
    order: str = "authors"
    blind_border: bool = True

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ParameterError(
                f"detector order is {self.order!r}; expected one of {', '.join(ORDERS)}"
            )
        if (
            not self.prominence >= 0
            or np.isnan(self.threshold)
            or self.distance != int(self.distance)
            or self.distance < 1
        ):
            raise ParameterError(
                f"detector h={self.prominence}, T={self.threshold}, d={self.distance}; expected h"
                " >= 0, any T, and a whole d >= 1"
            )

    def changed(self, **changes: Any) -> Detector:
        """The same detector with some parameters replaced."""
        return replace(self, **changes)

    def on_side(self, side: int, reference: int = 256) -> Detector:
        """The same detector for maps of `side` pixels: d scaled from `reference`, at least 1."""
        return replace(self, distance=max(1, round(self.distance * side / reference)))

    def describe(self) -> dict[str, Any]:
        """JSON-able parameters."""
        return asdict(self)


PUBLISHED: dict[str, Detector] = {
    "max_pooling": Detector(0.024203, 0.75963, 10),
    "attention": Detector(0.00378, 0.02417, 58),
}
"""Tuned by the authors on 2/5 of CQ500 at 256 pixels: h = 0.024, T = 0.76, d = 10 and h = 0.0038, T
= 0.024, d = 58 in print, these digits in their histories."""


@dataclass(frozen=True)
class Peaks:
    """Points of one map, highest first. points: int64 (n, 2) of row, column. values: (n,)
    heights."""

    points: np.ndarray
    values: np.ndarray

    def above(self, threshold: float) -> Peaks:
        """The peaks that the same detector finds with a higher threshold."""
        kept = self.values > threshold
        return Peaks(self.points[kept], self.values[kept])


def find_peaks(likelihood: np.ndarray, detector: Detector) -> Peaks:
    """Peaks of one map (rows, columns). A flat map has none. Raises MapError for NaN, infinity or
    another shape."""
    likelihood = np.asarray(likelihood)
    if likelihood.ndim != 2 or likelihood.dtype.kind != "f" or not np.isfinite(likelihood).all():
        raise MapError(
            f"a likelihood map is {likelihood.dtype} {likelihood.shape}; expected finite floats"
            " (rows, columns)"
        )
    likelihood = np.ascontiguousarray(likelihood)
    wide = detector.distance if detector.order == "authors" else 1
    points = _local_maxima(likelihood, wide, detector.threshold)
    if detector.blind_border:
        inner = (points >= detector.distance) & (
            points < np.array(likelihood.shape) - detector.distance
        )
        points = points[inner.all(1)]
    points = points[np.argsort(-likelihood[points[:, 0], points[:, 1]], kind="stable")]
    if detector.order == "authors":
        points = _spaced(points, detector.distance)
    if detector.prominence > 0:
        points = points[_are_h_maxima(likelihood, points, detector.prominence)]
    if detector.order == "printed":
        points = _spaced(points, detector.distance)
    return Peaks(points, likelihood[points[:, 0], points[:, 1]])


def find_all_peaks(likelihoods: np.ndarray, detector: Detector) -> list[Peaks]:
    """`find_peaks` of every map (N, rows, columns)."""
    return [find_peaks(likelihood, detector) for likelihood in likelihoods]


def threshold_centroids(likelihood: np.ndarray, threshold: float) -> Peaks:
    """The rival that the paper names in Section I ([10], plain thresholding): the centre of mass of
    every 8-connected region above `threshold`, and the region's highest value."""
    count, labels, _, centres = cv2.connectedComponentsWithStats(
        (likelihood > threshold).astype(np.uint8), connectivity=8
    )
    values = np.full(count, -np.inf)
    np.maximum.at(values, labels.ravel(), likelihood.ravel())
    order = 1 + np.argsort(-values[1:], kind="stable")
    return Peaks(np.rint(centres[order][:, ::-1]).astype(np.int64), values[order])


def upsampling_weights(cells: int, side: int) -> np.ndarray:
    """Matrix (side, cells) of linear interpolation between the centres of cells, mirrored about the
    outermost centres.

    scikit-image's `resize` of order 1 with its default border, which the authors' code uses.
    """
    centres = (np.arange(side) + 0.5) * cells / side - 0.5
    mirrored = np.abs(centres)
    mirrored = np.where(mirrored > cells - 1, np.maximum(2 * (cells - 1) - mirrored, 0), mirrored)
    low = np.minimum(mirrored.astype(int), max(cells - 2, 0))
    share = mirrored - low
    weights = np.zeros((side, cells))
    weights[np.arange(side), low] = 1 - share
    weights[np.arange(side), np.minimum(low + 1, cells - 1)] += share
    return weights


def upsampled(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps (N, h, w) to float32 (N, side, side), values kept (attention is not normalised
    again)."""
    # by torch, whose threads are awake already; those of NumPy's BLAS would fight with them for the
    # cores
    rows, columns = (
        torch.from_numpy(upsampling_weights(cells, side).astype(np.float32))
        for cells in maps.shape[1:]
    )
    return (rows @ torch.from_numpy(maps.astype(np.float32)) @ columns.T).numpy()


def _local_maxima(likelihood: np.ndarray, distance: int, threshold: float) -> np.ndarray:
    """(n, 2) pixels above the threshold that nothing within `distance` exceeds, in raster order."""
    candidates = likelihood > threshold
    if not candidates.any():
        return np.empty((0, 2), np.int64)
    window = np.ones((2 * distance + 1, 1), np.uint8)
    highest = cv2.dilate(cv2.dilate(likelihood, window), window.T)
    maxima = likelihood == highest
    return np.argwhere(maxima & candidates) if not maxima.all() else np.empty((0, 2), np.int64)


def _spaced(points: np.ndarray, distance: int) -> np.ndarray:
    """Points in their order without those closer than `distance` (Chebyshev) to one kept before."""
    kept: list[np.ndarray] = []
    while len(points):
        kept.append(points[0])
        points = points[(np.abs(points - points[0]) >= distance).any(1)]
    return np.array(kept, np.int64).reshape(-1, 2)


def _are_h_maxima(likelihood: np.ndarray, points: np.ndarray, prominence: float) -> np.ndarray:
    """Which points `skimage.morphology.h_maxima` keeps, bool (n,)."""
    if not len(points) or prominence > np.ptp(likelihood):
        return np.zeros(len(points), bool)
    if len(points) > MANY_CANDIDATES:
        return h_maxima(likelihood, prominence)[points[:, 0], points[:, 1]] != 0
    return np.array([_is_h_maximum(likelihood, point, prominence) for point in points])


def _is_h_maximum(likelihood: np.ndarray, point: Sequence[int], prominence: float) -> bool:
    height = likelihood[point[0], point[1]]
    # the rounding that scikit-image allows for
    tolerance = 2 * np.finfo(likelihood.dtype).resolution * np.abs(height)
    above = (likelihood > height - prominence).view(np.uint8)
    higher = likelihood > height + tolerance
    if not higher.any():
        return True
    # 2 marks what hangs together with the peak
    cv2.floodFill(above, None, (int(point[1]), int(point[0])), 2, flags=8)
    return not (higher & (above == 2)).any()
