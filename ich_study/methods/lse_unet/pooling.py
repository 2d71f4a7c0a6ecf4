"""Log-sum-exp pooling of class score maps to class logits (LSE-UNet, Section 2.3).

Eq. 4 is log sum exp(r x): no division by r, a sum over positions. The gradient that Eq. 5 gives, a
softmax without the factor r, belongs to (1/r) log sum exp(r x). The authors' code computes
(1/r) log mean exp(r (x - b)), Pinheiro and Collobert's form with a learnable threshold b per class
(printed_and_authors, 000.1). Each difference is a parameter.
"""

from __future__ import annotations

import math

from torch import Tensor, nn, zeros

REDUCTIONS = ("sum", "mean")


class LSEPooling(nn.Module):
    """Score maps (B, classes, rows, columns) to the maps that are pooled, and logits (B, classes).

    r: sharpness; large r comes close to the maximum, small r to the mean (with `reduction` "mean").
    reduction: "sum" (Eq. 4) or "mean" of the exponentials. divided: whether the logarithm is
    divided
        by r. bias: whether a learnable number per class, at first 0, is subtracted from the map.
    The pooled maps leave through `pooled_maps`, an identity: the layer whose Grad-CAM is the
    heatmap.

    Eq. 4 of two positions 0 and 1 at r = 3 is log(1 + e^3); the authors' form lies between their
    mean and their maximum:

    >>> from torch import tensor
    >>> scores = tensor([[[[0.0, 1.0]]]])
    >>> round(float(LSEPooling(1, 3, "sum", divided=False, bias=False)(scores)[1]), 4)
    3.0486
    >>> for r in (0.01, 6, 100):
    ...     print(r, round(float(LSEPooling(1, r, "mean", divided=True, bias=False)(scores)[1]), 3))
    0.01 0.501
    6 0.885
    100 0.993
    """

    def __init__(self, classes: int, r: float, reduction: str, divided: bool, bias: bool) -> None:
        super().__init__()
        self.r, self.reduction, self.divided = float(r), reduction, divided
        self.bias = nn.Parameter(zeros(classes)) if bias else None
        self.pooled_maps = nn.Identity()

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The maps after the bias, and their logits, both float32 whatever the precision of
        `scores`."""
        scores = scores.float()
        maps = self.pooled_maps(scores if self.bias is None else scores - self.bias[:, None, None])
        logits = (self.r * maps.flatten(2)).logsumexp(2)
        if self.reduction == "mean":
            logits = logits - math.log(maps[0, 0].numel())
        return maps, logits / self.r if self.divided else logits
