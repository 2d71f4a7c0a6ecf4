"""Noisy linear imputation (Rong 2022, ROAD): each removed pixel becomes the weighted mean of its
neighbours.

All removed pixels of a slice solve one linear system, direct neighbours with weight 1/6, diagonal
ones with 1/12. The published code builds a sparse matrix per slice; the system is symmetric and
positive definite, so that conjugate gradients on shifted slices solve it for a whole batch on any
device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ich_study.errors import MapError

TOLERANCE = 1e-4
"""It is solved until the residual is below this share of the right hand side."""
MOST_ITERATIONS = 4000
_COARSEST = 8
_LOOKS_EVERY_ON_GPU = 16
"""Iterations between looks at the residuals, each of which waits for the device; what is solved
stays as it is."""


def imputed_alike(channels: Tensor, removed: Sequence[Tensor], noise: float, seed: int) -> Tensor:
    """`channels` (N, C, S, S) with the pixels of each mask of `removed`, bool (N, S, S), imputed,
    one mask after the other, (masks * N, C, S, S). All are solved together, and noise of SD `noise`
    is added to what was removed, the same for each mask.

    Raises MapError where a slice has no pixel left to impute from, or the iterations do not
    suffice.
    """
    masks = torch.cat(list(removed))
    if masks.flatten(1).all(1).any():
        raise MapError("every pixel of a slice is removed; nothing is left to impute from")
    gone = masks[:, None].to(channels)
    solved = _imputed(channels.repeat(len(removed), 1, 1, 1) * (1 - gone), gone)
    generator = torch.Generator().manual_seed(seed)
    speckle = torch.randn(channels.shape, generator=generator).to(channels) * noise
    return solved + gone * speckle.repeat(len(removed), 1, 1, 1)


def _imputed(known: Tensor, gone: Tensor) -> Tensor:
    """known: 0 where gone. A coarser grid, solved first, gives what lies deep inside a hole, which
    takes the iterations longest."""
    if min(known.shape[-2:]) < 2 * _COARSEST:
        start = known.sum((2, 3), keepdim=True) / (1 - gone).sum((2, 3), keepdim=True).clamp_min(1)
    else:
        share = functional.avg_pool2d(1 - gone, 2, ceil_mode=True)
        seen = (share > 0).to(known)
        coarse = functional.avg_pool2d(known, 2, ceil_mode=True) / share.clamp_min(1e-6) * seen
        start = functional.interpolate(
            _imputed(coarse, 1 - seen),
            scale_factor=2,
            mode="bilinear",
            align_corners=False,
        )
        start = start[..., : known.shape[-2], : known.shape[-1]]
    weights = _neighbour_sum(torch.ones_like(known[:1, :1]))
    return known + _conjugate_gradients(gone * start, gone * _neighbour_sum(known), gone, weights)


def _neighbour_sum(values: Tensor) -> Tensor:
    """Sum over the eight neighbours with their weights. [1 2 1] x [1 2 1] less its centre, over 12:
    on a CPU seven times faster in sums of shifted slices than as a convolution of one channel."""
    padded = functional.pad(values, (1, 1, 1, 1))
    across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :] - 4 * values) / 12


def _conjugate_gradients(x: Tensor, right: Tensor, gone: Tensor, weights: Tensor) -> Tensor:
    def system(values: Tensor) -> Tensor:
        return gone * (weights * values - _neighbour_sum(values))

    def dot(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).sum((2, 3), keepdim=True)

    residual = right - system(x)
    direction, squared = residual, dot(residual, residual)
    enough = (TOLERANCE**2) * dot(right, right).clamp_min(1e-20)
    every = _LOOKS_EVERY_ON_GPU if x.is_cuda else 1
    for number in range(MOST_ITERATIONS):
        if number % every == 0 and bool((squared <= enough).all()):
            return x
        image = system(direction)
        curvature = dot(direction, image)
        step = torch.where(
            squared > enough, squared / curvature.clamp_min(1e-30), torch.zeros_like(squared)
        )
        x, residual = x + step * direction, residual - step * image
        following = dot(residual, residual)
        direction, squared = residual + following / squared.clamp_min(1e-30) * direction, following
    raise MapError(
        f"imputation did not converge in {MOST_ITERATIONS} iterations (tolerance {TOLERANCE:g})"
    )
