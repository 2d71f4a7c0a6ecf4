"""LSE-UNet's loss: classification at four levels and consistency of neighbouring levels (Eq. 6 and
7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ich_study.errors import ParameterError
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
    """

    def __init__(self, weights: str, consistency: bool, positive_weight: Sequence[float]) -> None:
        super().__init__()
        if weights not in LOSS_WEIGHTS:
            raise ParameterError(
                f"loss weights {weights!r}; expected one of {', '.join(LOSS_WEIGHTS)}"
            )
        self.weights, self.consistency = LOSS_WEIGHTS[weights], consistency
        self.classification = BinaryCrossEntropy(positive_weight)

    def forward(self, outputs: LevelOutputs | Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of the training outputs; of evaluation's logits, their cross-entropy
        alone."""
        if isinstance(outputs, Tensor):
            return self.classification(outputs, labels)
        loss = sum(
            alpha * self.classification(logits.float(), labels)
            for alpha, (_, logits) in zip(self.weights.alphas, outputs)
        )
        return loss + self.consistency_loss(outputs) if self.consistency else loss

    def consistency_loss(self, outputs: LevelOutputs) -> Tensor:
        """Eq. 7."""
        scores = [level[0].float() for level in outputs]
        pairs = zip(self.weights.betas, scores, scores[1:])
        return sum(
            beta * functional.mse_loss(functional.avg_pool2d(fine, 2), coarse)
            for beta, fine, coarse in pairs
        )

    def describe(self) -> dict[str, Any]:
        """JSON-able description, for the checkpoint and for telling runs apart."""
        return {"name": "lse", **asdict(self.weights), "consistency": self.consistency}
