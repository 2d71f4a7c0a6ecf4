"""Class activation maps: the last layer's weights over the last feature maps (ResNet-LSTM, Section
2; Zhou 2016).

CAM = sum_k w_k A_k, without the bias. Zhou's maps and the author's notebook are signed; a ReLU
before the scaling is the follow-up's (printed_and_authors, 002.5). The map is brought to the
slice's size, then scaled to [0, 1] per slice, then cut at more than 0.7.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ich_study.errors import MapError
from ich_study.evaluate.scaling import checked_maps, minmax, resized_maps
from ich_study.methods.resnet_lstm.settings import CamRegion

_TOLERANCE = 1e-3


def class_activation(features: Tensor, weights: Tensor, relu: bool = False) -> Tensor:
    """Raw maps (B, h, w): features (B, K, h, w) weighted by (K,) and summed over K.

    >>> features = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    >>> class_activation(features, torch.tensor([1.0, -0.5]))
    tensor([[[ 1., -1.]]])
    """
    maps = torch.einsum("bkhw,k->bhw", features, weights.to(features.dtype))
    return maps.clamp(min=0) if relu else maps


def last_layer(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Last feature maps (B, K, h, w) of a timm classifier and the weights (K,) of its first output.

    Raises MapError for a network without feature maps under one linear layer.
    """
    features, layer = model.forward_features(inputs), model.get_classifier()
    if features.ndim != 4 or not isinstance(layer, nn.Linear):
        raise MapError(
            f"{type(model).__name__} has no feature maps under one linear layer; a CAM is not"
            " defined for it"
        )
    return features, layer.weight[0]


def cam_of(model: nn.Module, inputs: Tensor, recipe: CamRegion) -> tuple[Tensor, Tensor]:
    """Raw maps (B, h, w) and logits (B,) of a timm classifier's first output, in evaluation mode.

    The classifier must be a mean over the map and one linear layer, so that the map's mean plus the
    bias is the logit; that is checked. Raises MapError where it is not so, or a map is not finite.
    """
    features, weights = last_layer(model, inputs)
    logits = model.forward_head(features)[:, 0]
    maps = checked_maps(class_activation(features, weights), "class activation maps")
    bias = model.get_classifier().bias
    gap = float((maps.mean((1, 2)) + (0 if bias is None else bias[0]) - logits).abs().max())
    if gap > _TOLERANCE * (1 + float(logits.abs().max())):
        raise MapError(
            f"the mean CAM of {type(model).__name__} differs from its logit by {gap:.3g}: no global"
            " pooling and one layer"
        )
    return (maps.clamp(min=0) if recipe.relu else maps), logits


def scaled_cam(maps: Tensor, size: int) -> Tensor:
    """Raw maps (B, h, w) to (B, size, size) in [0, 1]: bilinear, then min-max per slice; a flat map
    gives zeros.

    >>> scaled_cam(torch.tensor([[[-1.0, 0.0], [1.0, 3.0]]]), 2)
    tensor([[[0.0000, 0.2500],
             [0.5000, 1.0000]]])
    """
    return minmax(resized_maps(maps, size))


def cut_to_brain(scaled: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Maps (n, S, S) scaled to [0, 1] over the brain alone, bool (n, S, S); 0 outside it.

    >>> cut_to_brain(np.array([[[0.2, 0.4, 0.6, 1.0]]]), np.array([[[True, True, True, False]]]))
    array([[[0. , 0.5, 1. , 0. ]]])
    """
    lowest = np.where(brain, scaled, np.inf).min((-2, -1), keepdims=True)
    return minmax(np.where(brain, scaled, np.where(np.isfinite(lowest), lowest, 0)))


def cam_region(scaled: np.ndarray, recipe: CamRegion) -> np.ndarray:
    """Where the scaled map lies strictly above the threshold, bool, shape kept.

    >>> cam_region(np.array([0.2, 0.7, 0.71]), CamRegion(threshold=0.7))
    array([False, False,  True])
    """
    return np.asarray(scaled) > recipe.threshold
