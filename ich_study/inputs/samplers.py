"""Which slices an epoch sees, in which order: a function of (seed, epoch) alone.

Because nothing carries over between epochs, a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from ich_study.errors import DataError
from ich_study.inputs.seeds import seeded_generator

ORDER_STREAM = 1
"""Keeps the order's random stream apart from the augmentation's."""
SAMPLERS = ("none", "inverse_frequency", "balanced", "same_height", "mostly_same_height")
ELSEWHERE = 0.25
"""Share of the negative slices that `mostly_same_height` draws from anywhere in the head."""
HEIGHTS = 12
"""Parts of equal height that `same_height` cuts the head into: a centimetre or so each."""


def inverse_frequency_weights(label: Tensor, group: Tensor) -> Tensor:
    """Weight per row, 1 / frequency of its label value in its group, float64 (rows,).

    group: number of each row's data set, int64, so that all weigh alike and the data set says
    nothing about the label. Raises DataError when a label is unknown or a group
    has only one value.
    """
    unknown = int(label.isnan().sum())
    if unknown:
        raise DataError(
            f"the sampler's label is unknown in {unknown} of {len(label)} training slices; set"
            " sampler to none"
        )
    weights = torch.empty(len(label), dtype=torch.float64)
    for number in group.unique():
        own = group == number
        rows, positives = int(own.sum()), int(label[own].sum())
        if positives in (0, rows):
            raise DataError(
                f"the sampler's label is positive in {positives} of {rows} training slices of a"
                " data set; it cannot be balanced"
            )
        weights[own] = 1 / torch.where(label[own] > 0, positives, rows - positives).double()
    return weights


def same_height_weights(label: Tensor, group: Tensor, height: Tensor) -> Tensor:
    """`inverse_frequency_weights`, but a negative slice weighs as much more as its part of the head
    has more of the positive slices than of the negative ones, float64 (rows,).

    What is drawn then tells nothing of the label by its height: a network that is taught so must
    look for something else. height: 0 to 1 (rows,). A positive slice whose part of the head holds
    no negative one keeps its weight. Raises DataError as `inverse_frequency_weights`, and where
    no part holds slices of both labels.
    """
    weights = inverse_frequency_weights(label, group)
    part = (height * HEIGHTS).long().clamp(0, HEIGHTS - 1)
    for number in group.unique():
        own, negative = group == number, (group == number) & (label == 0)
        shares = [
            torch.bincount(part[chosen], weights[chosen], HEIGHTS)
            for chosen in (own & (label > 0), negative)
        ]
        drawn = (shares[0] / shares[1]).nan_to_num(0, posinf=0)[part[negative]] * weights[negative]
        if not drawn.sum() > 0:
            raise DataError(
                "the positive slices of a data set stand at heights of the head without any"
                " negative one; set sampler to inverse_frequency"
            )
        weights[negative] = drawn / drawn.sum()
    return weights


def epoch_order(
    kind: str, label: Tensor, seed: int, epoch: int, *, group: Tensor, height: Tensor
) -> Tensor:
    """Row numbers of one epoch, int64.

    kind: "none" is a permutation of all rows; "inverse_frequency" draws as many with replacement,
    weighted by 1/frequency of `label` in its `group`; "balanced" draws 2 x positives without
    replacement, weighted the same (HGI-SAM's code; printed_and_authors, 003.8); "same_height" is
    inverse_frequency by `same_height_weights`, and "mostly_same_height" draws ELSEWHERE of the
    negatives as inverse_frequency does: a network that never meets the skull's base may call it
    positive.
    """
    generator, rows = seeded_generator(seed, epoch, ORDER_STREAM), len(label)
    if kind == "none":
        return torch.randperm(rows, generator=generator)
    weights = inverse_frequency_weights(label, group)
    if kind == "same_height":
        weights = same_height_weights(label, group, height)
    elif kind == "mostly_same_height":
        weights = weights.lerp(same_height_weights(label, group, height), 1 - ELSEWHERE)
    balanced = kind == "balanced"
    count = min(rows, 2 * int(label.sum())) if balanced else rows
    return torch.multinomial(weights, count, replacement=not balanced, generator=generator)


RowBatches = list[list[int]]
"""Row numbers of each batch."""


class TrainingBatches(Sampler[list[int]]):
    """Batches of one epoch, for one of `world` processes, which all do equally many steps.

    order: epoch to numbers, int64. drop_last: leaves out a last batch that is not full, unless it
    is the only one. limit: batches of an epoch at most.
    """

    def __init__(
        self,
        order: Callable[[int], Tensor],
        batch_size: int,
        drop_last: bool = False,
        limit: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._order, self._size, self._drop_last, self._limit = order, batch_size, drop_last, limit
        self._rank, self._world, self.epoch = rank, world, 0
        self._length = len(self._batched())

    def set_epoch(self, epoch: int) -> None:
        """Order of `epoch` from the next iteration on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batched())

    def _batched(self) -> RowBatches:
        order = self._order(self.epoch).numpy()
        even = max(len(order) // self._world, 1) * self._world
        own = np.resize(order, even)[self._rank :: self._world]
        starts = range(0, len(own), self._size)
        batches = [own[start : start + self._size].tolist() for start in starts]
        if self._drop_last and len(batches) > 1 and len(batches[-1]) < self._size:
            batches.pop()
        return batches[: self._limit]


def in_order(
    rows: int, batch_size: int, limit: int | None = None, rank: int = 0, world: int = 1
) -> RowBatches:
    """Batches of rows in their order, for validation and prediction: process `rank` takes every
    `world`-th."""
    starts = range(0, rows, batch_size)[:limit]
    return [list(range(start, min(start + batch_size, rows))) for start in starts][rank::world]
