"""Does a map point at what the classifier used? Deletion, insertion and ROAD, for many slices at
once.

Pixels are taken away, or put back, in the order of the map, and the classifier's probability is
followed. Deletion and insertion: area under the probability over the share of pixels (Petsiuk 2018,
RISE). ROAD (Rong 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods"):
removed pixels are imputed from their surroundings, so that the shape of the removed region does not
give the answer away. None of them looks at the truth: a map may be faithful to a classifier that is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ich_study.errors import MapError, ParameterError, require_known
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.cams.imputation import imputed_alike

BASELINES = ("mean", "blur", "zero")
Score = Callable[[Tensor], Tensor]
"""Windowed channels in [0, 1], (N, C, S, S), to the probability of the class, (N,)."""


@dataclass(frozen=True)
class Probability:
    """The classifier's probability of class `target` for channels in [0, 1], `batch_size` at a
    time; a `Score`. `model` is in evaluation mode."""

    model: nn.Module
    preprocessing: Preprocessing
    target: int = 0
    batch_size: int = 64

    def __call__(self, channels: Tensor) -> Tensor:
        """Probabilities, float32 (N,). Raises MapError where the classifier's output is not
        finite."""
        with torch.inference_mode():
            parts = [
                self.model(self.preprocessing.normalised(part))[:, self.target].float()
                for part in channels.split(self.batch_size)
            ]
        logits = torch.cat(parts)
        if not torch.isfinite(logits).all():
            raise MapError(
                "the classifier's output on altered slices is not finite; its faithfulness cannot"
                " be measured"
            )
        return logits.sigmoid()


def baseline(channels: Tensor, kind: str) -> Tensor:
    """What a removed pixel becomes, shape of `channels` (N, C, S, S), values in [0, 1].

    `mean` is the slice's mean, `blur` the slice under a Gaussian of S / 16 pixels, `zero` the low
    edge of the window.
    """
    require_known("baseline", kind, BASELINES)
    if kind == "zero":
        return torch.zeros_like(channels)
    if kind == "mean":
        return channels.mean((-2, -1), keepdim=True).expand_as(channels)
    return _blurred(channels, channels.shape[-1] / 16)


def _blurred(channels: Tensor, sigma: float) -> Tensor:
    radius = min(int(3 * sigma) + 1, min(channels.shape[-2:]) - 1)
    steps = torch.arange(-radius, radius + 1, dtype=channels.dtype, device=channels.device)
    weights = torch.exp(-steps.square() / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(channels.shape[1], 1, -1)
    padded = functional.pad(channels, (radius,) * 4, mode="reflect")
    across = functional.conv2d(padded, weights[:, :, None, :], groups=channels.shape[1])
    return functional.conv2d(across, weights[..., None], groups=channels.shape[1])


def removal_ranks(maps: Tensor, seed: int) -> Tensor:
    """Place of every pixel in the order of removal, int64 (N, S, S), 0 for the most relevant.

    maps: (N, S, S), finite, higher is more relevant. Equal values, such as the zeros of a map after
    its ReLU, are ordered at random by `seed`, never by their place in the slice.
    """
    flat = maps.flatten(1)
    shuffle = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(
        maps.device
    )
    order = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).reshape(maps.shape)


def probability_curve(
    score: Score,
    channels: Tensor,
    ranks: Tensor,
    shares: Sequence[float],
    fill: Tensor,
    insert: bool,
) -> Tensor:
    """Probability at each share of pixels removed (`insert` false) or put back onto `fill`, (N,
    shares)."""
    steps = []
    for share in shares:
        first = (ranks < round(share * ranks[0].numel()))[:, None]
        steps.append(torch.where(first == insert, channels, fill))
    return score(torch.stack(steps, 1).flatten(0, 1)).reshape(len(channels), len(shares))


def deletion_and_insertion(
    score: Score,
    channels: Tensor,
    ranks: Tensor,
    steps: int,
    deletion_fill: str,
    insertion_fill: str,
) -> tuple[Tensor, Tensor]:
    """Areas under the deletion curve (lower is better) and the insertion curve (higher is better),
    each (N,).

    channels: (N, C, S, S) in [0, 1]. ranks: from `removal_ranks`. The curves have `steps` + 1
    points from none to all pixels; trapezoids.
    """
    if steps < 1:
        raise ParameterError(f"{steps} steps; expected at least 1")
    shares, areas = torch.linspace(0, 1, steps + 1), []
    for fill, insert in ((deletion_fill, False), (insertion_fill, True)):
        background = baseline(channels, fill)
        curve = probability_curve(score, channels, ranks, shares.tolist(), background, insert)
        areas.append(torch.trapezoid(curve, shares.to(curve), dim=1))
    return areas[0], areas[1]


def road_combined(
    score: Score,
    channels: Tensor,
    ranks: Tensor,
    shares: Sequence[float],
    noise: float,
    seed: int,
) -> Tensor:
    """ROADCombined of each slice, (N,): higher is better, 0 is chance.

    The probability after removing the least relevant pixels first (LeRF) less that after the most
    relevant (MoRF), over 2, averaged over the shares removed. Removed pixels are imputed from their
    neighbours, with Gaussian noise of SD `noise` in units of the window.
    """
    if not len(shares) or min(shares) < 0 or max(shares) > 1:
        raise ParameterError(f"shares {list(shares)}; expected values from 0 to 1")
    pixels, removed = ranks[0].numel(), []
    for share in shares:
        count = round(share * pixels)
        removed += [ranks < count, ranks >= pixels - count]
    # a GPU takes all shares together; a CPU is no faster with more than fits its cache
    together = len(removed) if channels.is_cuda else 1
    found = []
    for start in range(0, len(removed), together):
        masks = removed[start : start + together]
        imputed = imputed_alike(channels, masks, noise, seed)
        found.append(score(imputed).unflatten(0, (len(masks), -1)))
    probabilities = torch.cat(found)
    morf, lerf = probabilities[::2].T, probabilities[1::2].T
    return (lerf - morf).mean(1) / 2
