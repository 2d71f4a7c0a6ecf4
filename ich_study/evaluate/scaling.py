"""What every heatmap has in common: it is checked, scaled and brought to the slice's size here.

A raw map is what a method computes, signed, at the resolution of its layer. Scaled maps lie in [0,
1].
"""

from __future__ import annotations

from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ich_study.errors import MapError

Maps = TypeVar("Maps", np.ndarray, Tensor)
HEAT_MAXIMUM = 255
"""Of heat as whole numbers 0..255 of each slice's own maximum (LSE-UNet, Appendix A)."""


def checked_maps(maps: Maps, what: str) -> Maps:
    """`maps` as they are, if they are non-empty, at least two-dimensional and finite.

    `what` names method and slices in the error. Raises MapError otherwise: a map that failed must
    not pass for one that is empty.
    """
    if maps.ndim < 2 or 0 in tuple(maps.shape):
        raise MapError(
            f"{what}: a map of shape {tuple(maps.shape)}; expected rows and columns, and at least"
            " one of each"
        )
    library = np if isinstance(maps, np.ndarray) else torch
    count = int((~library.isfinite(maps)).sum())
    if count:
        raise MapError(f"{what}: {count} of {prod(maps.shape)} values are NaN or infinite")
    return maps


def check_heat(heatmaps: np.ndarray, present: np.ndarray) -> None:
    """Raises MapError unless heatmaps are finite (slices, classes, rows, columns) and present is
    bool (slices, classes)."""
    if heatmaps.ndim != 4 or present.shape != heatmaps.shape[:2] or present.dtype != bool:
        raise MapError(
            f"heatmaps {heatmaps.shape}, present {present.dtype} {present.shape}; expected (slices,"
            " classes, rows, columns) and bool (slices, classes)"
        )
    if heatmaps.dtype.kind not in "uif" or (
        heatmaps.dtype.kind == "f" and not np.isfinite(heatmaps).all()
    ):
        raise MapError(
            f"heatmaps of type {heatmaps.dtype} hold NaN, infinite or no numbers; a method that"
            " failed must not become a mask"
        )


def minmax(maps: Maps) -> Maps:
    """Each map, over its last two axes, to [0, 1]: (x - min) / (max - min). A flat map gives zeros.

    maps: (..., rows, columns), finite, floating. Raises MapError where they are not finite.
    """
    checked_maps(maps, "min-max")
    if isinstance(maps, np.ndarray):
        low, high = maps.min((-2, -1), keepdims=True), maps.max((-2, -1), keepdims=True)
        return (maps - low) / np.where(high > low, high - low, 1)
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, torch.ones_like(high))


def resized_maps(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Maps (..., rows, columns) brought to `size` bilinearly, corners not aligned, as cv2 and
    pytorch-grad-cam do it upwards."""
    target = (size, size) if isinstance(size, int) else tuple(size)
    checked_maps(maps, "resizing")
    if tuple(maps.shape[-2:]) == target:
        return maps
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    resized = functional.interpolate(flat, size=target, mode="bilinear", align_corners=False)
    return resized.reshape(*maps.shape[:-2], *target)
