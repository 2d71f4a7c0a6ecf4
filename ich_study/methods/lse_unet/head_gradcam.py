"""Grad-CAM of a slice classifier at the map before global pooling, for several classes at the cost
of one forward pass.

LSE-UNet, Section 2.2 and Table 2 (the five baselines). Past that map a classifier is a pooling and
a small head, so only the head is differentiated, once per class, not the network.
`pytorch_grad_cam` gives the same maps (tests).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ich_study.evaluate.scaling import checked_maps


def head_gradcam(model: nn.Module, inputs: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Grad-CAM of some logits before ReLU, float32 (B, classes, rows, columns), and all logits (B,
    outputs).

    model: a timm classifier in evaluation mode: `forward_features` to (B, C, rows, columns),
    `forward_head` pools it. Raises MapError where the map is not finite.
    """
    with torch.no_grad():
        features = model.forward_features(inputs).float()
    with torch.enable_grad():
        features.requires_grad_()
        logits = model.forward_head(features)
        gradients = [
            torch.autograd.grad(logits[:, place].sum(), features, retain_graph=True)[0]
            for place in classes
        ]
    features, logits = features.detach(), logits.detach()
    maps = [(gradient.mean((2, 3), keepdim=True) * features).sum(1) for gradient in gradients]
    return checked_maps(torch.stack(maps, 1), "Grad-CAM before global pooling"), logits
