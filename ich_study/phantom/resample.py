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


def filled_cells(field: np.ndarray, outside: float) -> np.ndarray:
    """Bool of the field's shape: whether one of the eight samples from there on is not
    `outside`."""
    filled = field != np.float32(outside)
    filled[:-1] |= filled[1:]
    filled[:, :-1] |= filled[:, 1:]
    filled[:, :, :-1] |= filled[:, :, 1:]
    return filled


def linear_at(
    field: np.ndarray,
    places: np.ndarray | Sequence[np.ndarray],
    outside: float | None = None,
    filled: np.ndarray | None = None,
) -> np.ndarray:
    """`field` (2 or more along each of its 3 axes) at fractional indices (3, ...), linearly
    interpolated, float32.

    Beyond the first and the last sample of an axis: `outside`, or where that is None the border
    repeated. filled: the field's `filled_cells`; elsewhere nothing is interpolated, which is
    faster.
    """
    field = np.ascontiguousarray(field, np.float32)
    flat = [of_axis.reshape(-1) for of_axis in places]
    values = np.empty(len(flat[0]), np.float32)
    for start in range(0, len(values), CHUNK):
        near = [of_axis[start : start + CHUNK] for of_axis in flat]
        part = values[start : start + CHUNK]
        below = _below(field, near)
        first = np.ravel_multi_index(below, field.shape)
        if filled is not None:
            wanted = np.flatnonzero(filled.ravel().take(first))
            part[:] = outside
            near, below, first = (
                [each.take(wanted) for each in near],
                [each.take(wanted) for each in below],
                first.take(wanted),
            )
            part[wanted] = _linear(field, near, below, first, outside)
        else:
            part[:] = _linear(field, near, below, first, outside)
    return values.reshape(places[0].shape)


def _below(field: np.ndarray, places: list[np.ndarray]) -> list[np.ndarray]:
    """The samples at and before each place, all with a next one."""
    return [
        np.clip(place, 0, size - 2).astype(np.int32) for place, size in zip(places, field.shape)
    ]


def _linear(
    field: np.ndarray,
    places: list[np.ndarray],
    below: list[np.ndarray],
    first: np.ndarray,
    outside: float | None,
) -> np.ndarray:
    shares = [
        np.clip(place, 0, size - 1) - index.astype(np.float32)
        for place, index, size in zip(places, below, field.shape)
    ]
    _, rows, columns = field.shape
    values = _between(field.ravel(), first, shares, (rows * columns, columns, 1))
    if outside is not None:
        for place, size in zip(places, field.shape):
            values[(place < 0) | (place > size - 1)] = outside
    return values


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
