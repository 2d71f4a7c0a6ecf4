"""Losses on logits that ignore unknown labels.

Binary cross-entropy with positive weights (CAM benchmark, Section IV), focal loss (Lin et al.
2017), and cross-entropy over two outputs (HGI-SAM). Each is the mean over the known labels of the
batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from ich_study.errors import DataError
from ich_study.training.config import TrainingConfig


class BinaryCrossEntropy(nn.Module):
    """Sigmoid cross-entropy, logits and labels (B, K); `positive_weight` multiplies the positives'
    term."""

    def __init__(self, positive_weight: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer(
            "positive_weight", torch.tensor(list(positive_weight), dtype=torch.float32)
        )

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar mean over known labels; 0 where the batch has none."""
        known = ~labels.isnan()
        terms = functional.binary_cross_entropy_with_logits(
            logits,
            labels.nan_to_num(),
            pos_weight=self.positive_weight,
            reduction="none",
        )
        return masked_mean(terms, known)


class Focal(nn.Module):
    """Sigmoid focal loss, logits and labels (B, K): -(1 - p_t)^gamma log p_t."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar mean over known labels; 0 where the batch has none."""
        from torchvision.ops import sigmoid_focal_loss  # slow to import

        known = ~labels.isnan()
        return masked_mean(
            sigmoid_focal_loss(logits, labels.nan_to_num(), alpha=-1, gamma=self.gamma),
            known,
        )


class TwoOutputCrossEntropy(nn.Module):
    """Softmax cross-entropy, logits (B, 2) for absent and present, labels (B, 1).

    softmaxed: the softmax is taken twice, as HGI-SAM's code does; the loss then lies in [0.3133,
    1.3133] (printed_and_authors, 003.7).
    """

    def __init__(self, softmaxed: bool = False) -> None:
        super().__init__()
        self.softmaxed = softmaxed

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar mean over known labels; 0 where the batch has none."""
        known = ~labels[:, 0].isnan()
        logits = logits.softmax(1) if self.softmaxed else logits
        return masked_mean(
            functional.cross_entropy(logits, labels[:, 0].nan_to_num().long(), reduction="none"),
            known,
        )


def balancing_weight(labels: Iterable[bool | None]) -> float:
    """`positive_weight` with which positives and negatives weigh the same in all: negatives /
    positives.

    The MIL detector's code weighs positives by N / N+ and negatives by N / N-, which is this times
    a constant that Adam does not see (printed_and_authors, 004.5). Unknown labels are left out.
    Raises DataError where the known ones are all alike.
    """
    known = pd.array(list(labels), dtype="boolean").dropna()
    positives = int(known.sum())
    if positives in (0, len(known)):
        raise DataError(
            f"{positives} of {len(known)} known training labels are positive; a balancing weight"
            " needs both kinds"
        )
    return (len(known) - positives) / positives


def masked_mean(terms: Tensor, known: Tensor) -> Tensor:
    """Mean of `terms` where `known`; 0, with zero gradients, where nothing is."""
    return terms.where(known, 0).sum() / known.sum().clamp(min=1)


def build_loss(config: TrainingConfig) -> nn.Module:
    """The configured loss."""
    if config.loss == "focal":
        return Focal(config.focal_gamma)
    if config.two_outputs:
        return TwoOutputCrossEntropy(config.loss == "cross_entropy_softmaxed")
    return BinaryCrossEntropy(config.class_weights)
