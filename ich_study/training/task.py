"""What a training is about: batches, a loss, and what a validation part is worth.

The loop (`training.loop`) knows nothing else of a classifier, a network over volumes or one that
segments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ich_study.inputs.samplers import RowBatches, TrainingBatches, in_order
from ich_study.training.distributed import rank, world_size

Batch = tuple[Any, ...]
"""Arguments of the network, and last the targets that the loss compares its output with."""


class Task(ABC):
    """Batches and loss of one training. Orders and random draws are functions of the epoch, so that
    a run that was killed goes on as if it had not been.

    loss: scalar of what the network gives and the targets. fused: the optimizer's step in one
    kernel, which is faster and rounds otherwise in the last bit.
    """

    loss: Callable[..., Tensor]
    fused: bool = False

    @abstractmethod
    def loaders(self, device: torch.device) -> tuple[Any, Any]:
        """Batches of training and of validation that this process takes, on `device`."""

    @abstractmethod
    def marks(self) -> dict[str, str]:
        """What must be the same, beside network and settings, for a run to be resumed."""

    def weight(self, targets: Tensor) -> float:
        """What a batch of validation counts for in the mean of the losses."""
        return 1.0

    def kept(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> tuple[Tensor, ...]:
        """What `scores` needs of a batch of validation."""
        return loss.detach(), torch.tensor(self.weight(targets), dtype=torch.float64)

    def scores(self, batches: Sequence[tuple[Tensor, ...]]) -> dict[str, float]:
        """What the history says of an epoch's validation: at least `valid_loss`.

        batches: what was `kept`, of the whole validation part in its order, on the CPU.
        """
        losses, weights = zip(*((float(loss), float(weight)) for loss, weight in batches))
        total = sum(loss * weight for loss, weight in zip(losses, weights))
        return {"valid_loss": total / sum(weights) if sum(weights) else float("nan")}

    def decided(self, batches: Sequence[tuple[Tensor, ...]]) -> Tensor | None:
        """What each epoch's validation decided of each item, bool, where that is kept beside the
        scores."""
        return None


class BatchLoader:
    """Batches as fastai's Learner takes them, read in this process.

    batches: numbers of what is in each batch. read: numbers, epoch and batch number to a batch. A
    batch number is one of all processes together, so that no two draw the same.
    """

    dataset: Any = None

    def __init__(
        self,
        batches: TrainingBatches | RowBatches,
        read: Callable[[list[int], int, int], Batch],
    ) -> None:
        self.batches, self._read = batches, read

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        epoch = getattr(self.batches, "epoch", 0)
        for number, chosen in enumerate(self.batches):
            yield self._read(chosen, epoch, number * world_size() + rank())

    def to(self, device: torch.device) -> BatchLoader:
        """Where batches lie is said by who reads them."""
        return self

    def close(self) -> None:
        """There are no workers to end."""


def ordered_batches(count: int, batch_size: int, limit: int | None = None) -> RowBatches:
    """What this process validates on."""
    return in_order(count, batch_size, limit, rank(), world_size())


def shuffled_batches(
    order: Callable[[int], Tensor],
    batch_size: int,
    drop_last: bool = False,
    limit: int | None = None,
) -> TrainingBatches:
    """What this process trains on, in the order of each epoch."""
    return TrainingBatches(order, batch_size, drop_last, limit, rank(), world_size())
