"""Interpolation of volumes: onto another grid along their axes, or at scattered places.

A grid's interpolation is separable, so each axis is one small matrix of weights; BLAS applies it in
a fraction of the time of gathering neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.interpolate import BSpline

CHUNK = 1 << 15
"""Places interpolated at once, so that what is computed about them stays in the processor's
cache."""


def centred(count: int) -> np.ndarray:
    """0, 1, ... of `count` samples, about their middle."""
    return np.arange(count) - (count - 1) / 2


def linear_weights(positions: np.ndarray, old: int) -> np.ndarray:
    """Linear interpolation of `old` samples at fractional `positions`, the border repeated.

    float64 (positions, old).
    """
    within = np.clip(positions, 0, old - 1)
    return np.clip(1 - np.abs(within[:, None] - np.arange(old)), 0, None)


def resize_weights(old: int, new: int) -> np.ndarray:
    """Linear interpolation of `old` samples at `new` places from the first to the last, float64
    (new, old)."""
    return linear_weights(np.linspace(0, old - 1, new), old)


@lru_cache(maxsize=256)
def cubic_weights(old: int, new: int) -> np.ndarray:
    """Cubic B-spline of `old` coefficients (4 or more) at `new` places from the second to the last
    but one.

    float64 (new, old).
    """
    weights = BSpline.design_matrix(
        np.linspace(1, old - 2, new), np.arange(old + 4) - 2.0, 3
    ).toarray()
    weights.flags.writeable = False  # the cache hands the same array to every caller
    return weights


def apply_weights(
    field: np.ndarray,
    weights: list[np.ndarray],
    planes: slice = slice(None),
) -> np.ndarray:
    """`field`, of 3 axes, with axis k of length n turned into one of length m by `weights[k]` (m,
    n), float32.

    planes: of the first axis of the result; all of them by default.
    """
    z, y, x = (of_axis.astype(np.float32) for of_axis in weights)
    rows = y @ np.tensordot(z, field, 1)[planes]
    return np.dot(rows.reshape(-1, rows.shape[2]), x.T).reshape(*rows.shape[:2], len(x))


def resize_linear(
    field: np.ndarray, shape: tuple[int, ...], planes: slice = slice(None)
) -> np.ndarray:
    """`field` on a grid of another shape with the same corners, linearly interpolated, float32; of
    it, some `planes`."""
    weights = [resize_weights(old, new) for old, new in zip(field.shape, shape)]
    return apply_weights(np.asarray(field, np.float32), weights, planes=planes)


def linear_at(
    field: np.ndarray, places: np.ndarray | Sequence[np.ndarray], outside: float | None = None
) -> np.ndarray:
    """`field` (2 or more along each of its 3 axes) at fractional indices (3, ...), linearly
    interpolated, float32.

    Beyond the first and the last sample of an axis: `outside`, or where that is None the border
    repeated.
    """
    field = np.ascontiguousarray(field, np.float32)
    flat = [of_axis.reshape(-1) for of_axis in places]
    values = np.empty(len(flat[0]), np.float32)
    for start in range(0, len(values), CHUNK):
        part = slice(start, start + CHUNK)
        near = [of_axis[part] for of_axis in flat]
        values[part] = _linear(field, near)
        if outside is not None:
            for of_axis, size in zip(near, field.shape):
                values[part][(of_axis < 0) | (of_axis > size - 1)] = outside
    return values.reshape(places[0].shape)


def _linear(field: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    within = [np.clip(place, 0, size - 1) for place, size in zip(places, field.shape)]
    below = [
        np.minimum(place.astype(np.int32), size - 2) for place, size in zip(within, field.shape)
    ]
    shares = [place - index.astype(np.float32) for place, index in zip(within, below)]
    first = np.ravel_multi_index(below, field.shape)
    _, rows, columns = field.shape
    return _between(field.ravel(), first, shares, (rows * columns, columns, 1))


def _between(
    flat: np.ndarray, first: np.ndarray, shares: list[np.ndarray], strides: tuple[int, ...]
) -> np.ndarray:
    """Mixes the two neighbours along the first axis, each mixed along the axes after it."""
    if not strides:
        return flat.take(first)
    lower = _between(flat, first, shares[1:], strides[1:])
    upper = _between(flat[strides[0] :], first, shares[1:], strides[1:])
    upper -= lower
    upper *= shares[0]
    lower += upper
    return lower
