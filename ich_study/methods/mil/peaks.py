"""Peaks of a likelihood map as points: the detector of the MIL paper (Section II-D).

`printed` is the order of the text: local maxima of 3 x 3 pixels above T, of those the h-maxima, and
of two closer than d the higher one. `authors` is the order of the code (printed_and_authors,
004.6): scikit-image's `peak_local_max` with minimal distance d and threshold T, blind within d
pixels of the border, then what remains must be an h-maximum. Either order runs with and without the
blind border.

The results are those of scikit-image's `peak_local_max` and `h_maxima`, but the morphological
reconstruction is replaced by a look at each candidate: a peak of height v is an h-maximum when the
region above v - h around it holds nothing higher. That and separable maximum filters make it fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from ich_study.errors import ParameterError, require_known

ORDERS = ("printed", "authors")


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
        require_known("detector order", self.order, ORDERS)
        whole = self.distance == int(self.distance) and self.distance >= 1
        if not self.prominence >= 0 or np.isnan(self.threshold) or not whole:
            raise ParameterError(
                f"detector h={self.prominence}, T={self.threshold}, d={self.distance}; expected h"
                " >= 0, any T, and a whole d >= 1"
            )

    def find(self, likelihood: np.ndarray) -> Peaks:
        """Peaks of one map (rows, columns): what the last of its `detection_steps` leaves.

        A flat map has none. likelihood: finite.

        >>> likelihood = np.zeros((32, 32))
        >>> likelihood[5, 6], likelihood[5, 9], likelihood[20, 20] = 3.0, 2.0, 1.0
        >>> Detector(0.1, 0.5, 4, "printed", False).find(likelihood).points.tolist()
        [[5, 6], [20, 20]]
        """
        *_, points = detection_steps(likelihood, self).values()
        return Peaks(points, likelihood[points[:, 0], points[:, 1]])


PUBLISHED: dict[str, Detector] = {
    "max_pooling": Detector(0.024203, 0.75963, 10),
    "attention": Detector(0.00378, 0.02417, 58),
}
"""Tuned by the authors on 2/5 of CQ500 at 256 pixels: h = 0.024, T = 0.76, d = 10 and h = 0.0038, T
= 0.024, d = 58 in print, these digits in their histories."""


@dataclass(frozen=True)
class Centroids:
    """The rival that the paper names in Section I ([10], plain thresholding): no peaks, but the
    centre of mass of every 8-connected region above `threshold`."""

    threshold: float

    def find(self, likelihood: np.ndarray) -> Peaks:
        """Centres of one map (rows, columns), and the highest value of each one's region."""
        count, labels, _, centres = cv2.connectedComponentsWithStats(
            (likelihood > self.threshold).astype(np.uint8), connectivity=8
        )
        values = np.full(count, -np.inf)
        np.maximum.at(values, labels.ravel(), likelihood.ravel())
        # region 0 is the background
        order = 1 + np.argsort(-values[1:], kind="stable")
        return Peaks(np.rint(centres[order][:, ::-1]).astype(np.int64), values[order])


@dataclass(frozen=True)
class Peaks:
    """Points of one map, highest first. points: int64 (n, 2) of row, column. values: (n,)
    heights."""

    points: np.ndarray
    values: np.ndarray


def detection_steps(likelihood: np.ndarray, detector: Detector) -> dict[str, np.ndarray]:
    """The points (n, 2) that each step leaves, highest first, by the name of the step, in the
    detector's order.

    `maxima`: above T. `border`: not within d of an edge, where the border is blind. `h_maxima`:
    rising by h. `distance`: no higher one within d.

    >>> likelihood = np.zeros((32, 32))
    >>> likelihood[5, 6], likelihood[5, 9] = 3.0, 2.0
    >>> steps = detection_steps(likelihood, Detector(0.1, 0.5, 4, "printed", False))
    >>> {name: len(points) for name, points in steps.items()}
    {'maxima': 2, 'h_maxima': 2, 'distance': 1}
    """
    likelihood, distance = np.ascontiguousarray(likelihood), detector.distance
    points = local_maxima(
        likelihood, detector.threshold, distance if detector.order == "authors" else 1
    )
    steps = {"maxima": points}
    if detector.blind_border:
        inner = (points >= distance) & (points < np.array(likelihood.shape) - distance)
        steps["border"] = points = points[inner.all(1)]
    names = ("h_maxima", "distance") if detector.order == "printed" else ("distance", "h_maxima")
    for name in names:
        if name == "distance":
            points = spaced(points, distance)
        elif detector.prominence > 0:
            points = points[are_h_maxima(likelihood, points, detector.prominence)]
        steps[name] = points
    return steps


def local_maxima(likelihood: np.ndarray, threshold: float, reach: int = 1) -> np.ndarray:
    """(n, 2) pixels above the threshold that nothing within `reach` pixels exceeds, highest first.

    >>> local_maxima(np.array([[0.0, 1.0, 0.0, 2.0]]), threshold=0.5).tolist()
    [[0, 3], [0, 1]]
    >>> local_maxima(np.array([[0.0, 1.0, 0.0, 2.0]]), threshold=0.5, reach=2).tolist()
    [[0, 3]]
    """
    candidates = likelihood > threshold
    if not candidates.any():
        return np.empty((0, 2), np.int64)
    window = np.ones((2 * reach + 1, 1), np.uint8)
    maxima = likelihood == cv2.dilate(cv2.dilate(likelihood, window), window.T)
    # a flat map is all maxima and has no peak
    points = np.argwhere(maxima & candidates & ~maxima.all())
    return points[np.argsort(-likelihood[tuple(points.T)], kind="stable")]


def spaced(points: np.ndarray, distance: int) -> np.ndarray:
    """Points in their order without those closer than `distance` (Chebyshev) to one kept before.

    >>> spaced(np.array([[0, 0], [2, 2], [3, 0]]), distance=3).tolist()
    [[0, 0], [3, 0]]
    """
    kept: list[np.ndarray] = []
    while len(points):
        kept.append(points[0])
        points = points[(np.abs(points - points[0]) >= distance).any(1)]
    return np.array(kept, np.int64).reshape(-1, 2)


def are_h_maxima(likelihood: np.ndarray, points: np.ndarray, prominence: float) -> np.ndarray:
    """Which points `skimage.morphology.h_maxima` keeps, bool (n,): those that rise by h above the
    saddle to anything higher.

    >>> ridge = np.array([[0.0, 3.0, 2.0, 2.5, 0.0]])
    >>> are_h_maxima(ridge, np.array([[0, 1], [0, 3]]), prominence=0.5).tolist()
    [True, True]
    >>> are_h_maxima(ridge, np.array([[0, 1], [0, 3]]), prominence=0.6).tolist()
    [True, False]
    """
    if prominence > np.ptp(likelihood):
        return np.zeros(len(points), bool)
    return np.array([_is_h_maximum(likelihood, *point, prominence) for point in points], bool)


def _is_h_maximum(likelihood: np.ndarray, row: int, column: int, prominence: float) -> bool:
    height = likelihood[row, column]
    # the rounding that scikit-image allows for
    tolerance = 2 * np.finfo(likelihood.dtype).resolution * np.abs(height)
    higher = likelihood > height + tolerance
    if not higher.any():
        return True
    above = (likelihood > height - prominence).view(np.uint8)
    # 2 marks what hangs together with the peak
    cv2.floodFill(above, None, (int(column), int(row)), 2, flags=8)
    return not (higher & (above == 2)).any()


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
