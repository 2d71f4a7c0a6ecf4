"""LSE-UNet's loss: classification at four levels and consistency of neighbouring levels (Eq. 6 and
7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ich_study.errors import require_known
from ich_study.methods.lse_unet.network import LevelOutputs
from ich_study.training.losses import BinaryCrossEntropy


@dataclass(frozen=True)
class LossWeights:
    """alphas: of the classification losses of levels 0 to 3 (Eq. 6). betas: of the consistency of
    levels 0-1, 1-2, 2-3 (Eq. 7)."""

    alphas: tuple[float, float, float, float]
    betas: tuple[float, float, float]


LOSS_WEIGHTS: dict[str, LossWeights] = {
    "printed": LossWeights((2.0, 0.5, 0.25, 0.125), (0.5, 0.25, 0.125)),
    "authors": LossWeights((1.5, 0.25, 0.125, 0.0625), (0.5, 0.25, 0.125)),
}
"""Section 4, and what the authors' code adds up (printed_and_authors, 000.4)."""


class LSELoss(nn.Module):
    """Weighted sum of both losses; gradients flow into both sides of each consistency term.

    weights: a key of LOSS_WEIGHTS. consistency: False leaves Eq. 7 out (Section 6). The maps of Eq.
    7 are the class scores before the pooling's bias, pooled by their 2 x 2 mean; Appendix B's Eq. 8
    sums.

    Coarse maps that equal the pooled finer ones (4 here) cost nothing, others half their squared
    distance (beta of levels 0-1 is .5):

    >>> from torch import tensor
    >>> loss, fine = LSELoss("printed", True, [1.0]), tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    >>> for value in (4.0, 1.0):
    ...     coarse = tensor([[[[value]]]])
    ...     print(float(loss.consistency_losses([(fine, None), (coarse, None)])[0]))
    0.0
    4.5
    """

    def __init__(self, weights: str, consistency: bool, positive_weight: Sequence[float]) -> None:
        super().__init__()
        require_known("loss weights", weights, LOSS_WEIGHTS)
        self.weights, self.consistency = LOSS_WEIGHTS[weights], consistency
        self.classification = BinaryCrossEntropy(positive_weight)

    def forward(self, outputs: LevelOutputs | Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the training outputs; of evaluation's logits, their cross-entropy
        alone."""
        if isinstance(outputs, Tensor):
            return self.classification(outputs, labels)
        loss = sum(self.classification_losses(outputs, labels))
        return loss + sum(self.consistency_losses(outputs)) if self.consistency else loss

    def classification_losses(self, outputs: LevelOutputs, labels: Tensor) -> list[Tensor]:
        """The weighted terms of Eq. 6, finest level first."""
        return [
            alpha * self.classification(logits.float(), labels)
            for alpha, (_, logits) in zip(self.weights.alphas, outputs)
        ]

    def consistency_losses(self, outputs: LevelOutputs) -> list[Tensor]:
        """The weighted terms of Eq. 7: each level's maps, pooled, beside the next coarser ones."""
        terms = []
        for beta, (fine, _), (coarse, _) in zip(self.weights.betas, outputs, outputs[1:]):
            pooled = functional.avg_pool2d(fine.float(), 2)
            terms.append(beta * functional.mse_loss(pooled, coarse.float()))
        return terms

    def describe(self) -> dict[str, Any]:
        """JSON-able description, for the checkpoint and for telling runs apart."""
        return {"name": "lse", **asdict(self.weights), "consistency": self.consistency}
