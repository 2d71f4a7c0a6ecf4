"""Which slices an epoch sees, in which order: a function of (seed, epoch) alone.

Because nothing carries over between epochs, a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from ich_study.errors import DataError
from ich_study.inputs.seeds import seeded_generator
from ich_study.training.config import TrainingConfig

ORDER_STREAM = 1
"""Keeps the order's random stream apart from the augmentation's."""


def inverse_frequency_weights(label: Tensor) -> Tensor:
    """Weight per row, 1 / frequency of its label value, float64 (rows,).

    Raises DataError when a label is unknown or only one value occurs.
    """
    unknown = int(label.isnan().sum())
    if unknown:
        raise DataError(
            f"the sampler's label is unknown in {unknown} of {len(label)} training slices; choose"
            " another sampler_label"
        )
    positives = int(label.sum())
    if positives in (0, len(label)):
        raise DataError(
            f"the sampler's label is positive in {positives} of {len(label)} training slices; it"
            " cannot be balanced"
        )
    return 1 / torch.where(label > 0, positives, len(label) - positives).double()


def epoch_order(kind: str, rows: int, label: Tensor, seed: int, epoch: int) -> Tensor:
    """Row numbers of one epoch, int64.

    kind: "none" is a permutation of all rows; "inverse_frequency" draws `rows` with replacement,
    weighted by 1/frequency of `label`; "balanced" draws 2 x positives without replacement, weighted
    the same (HGI-SAM's code; reproduction facts, 003).
    """
    generator = seeded_generator(seed, epoch, ORDER_STREAM)
    if kind == "none":
        return torch.randperm(rows, generator=generator)
    weights = inverse_frequency_weights(label)
    balanced = kind == "balanced"
    count = min(rows, 2 * int(label.sum())) if balanced else rows
    return torch.multinomial(weights, count, replacement=not balanced, generator=generator)


class TrainingBatches(Sampler[list[int]]):
    """Batches of one epoch, for one of `world` processes, which all do equally many steps."""

    def __init__(
        self, config: TrainingConfig, sampler_label: Tensor, rank: int = 0, world: int = 1
    ) -> None:
        self._config, self._label, self._rank, self._world = config, sampler_label, rank, world
        self.epoch = 0
        self._length = len(self._batched(self._order()))

    def set_epoch(self, epoch: int) -> None:
        """Order of `epoch` from the next iteration on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batched(self._order()))

    def _order(self) -> np.ndarray:
        config = self._config
        order = epoch_order(
            config.sampler, len(self._label), self._label, config.seed, self.epoch
        ).numpy()
        even = max(len(order) // self._world, 1) * self._world
        return np.resize(order, even)[self._rank :: self._world]

    def _batched(self, order: np.ndarray) -> list[list[int]]:
        size, limit = self._config.batch_size, self._config.max_train_batches
        batches = [order[start : start + size].tolist() for start in range(0, len(order), size)]
        if self._config.drop_last and len(batches) > 1 and len(batches[-1]) < size:
            batches.pop()
        return batches[:limit]


class OrderedBatches(Sampler[list[int]]):
    """Rows in their order, for validation and prediction: process `rank` takes every `world`-th
    batch."""

    def __init__(
        self, rows: int, batch_size: int, limit: int | None = None, rank: int = 0, world: int = 1
    ) -> None:
        starts = range(0, rows, batch_size)[:limit]
        self.batches = [list(range(start, min(start + batch_size, rows))) for start in starts][
            rank::world
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    @property
    def positions(self) -> list[int]:
        """Row numbers this process sees, in the order it sees them."""
        return [row for batch in self.batches for row in batch]
