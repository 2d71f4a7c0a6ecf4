"""Convolutions with their activation, as a tail runs them many times on small batches.

On a CPU in float32 convolution, bias and SiLU are one oneDNN call, the ones that torch.compile
emits: half of the time of a 32 x 32 stage is memory traffic between them otherwise. Elsewhere they
run one after the other. The result is the same up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_POST_OPERATIONS: dict[type[nn.Module], str] = {
    nn.SiLU: "swish",
    nn.ReLU: "relu",
    nn.Identity: "none",
}


def one_call(tensor: Tensor, activation: nn.Module) -> bool:
    """Whether convolution and `activation` of `tensor` can run as one oneDNN call."""
    return (
        tensor.device.type == "cpu"
        and tensor.dtype == torch.float32
        and type(activation) in _POST_OPERATIONS
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )


def is_pointwise(convolution: nn.Module) -> bool:
    """Whether it is a 1 x 1 convolution over all channels that leaves rows and columns as they
    are."""
    return (
        isinstance(convolution, nn.Conv2d)
        and convolution.kernel_size == (1, 1)
        and convolution.stride == (1, 1)
        and convolution.groups == 1
        and convolution.padding in ((0, 0), "same", "valid")
    )


class Pointwise(nn.Module):
    """A 1 x 1 convolution and its activation, as a matrix product over channels in the last axis of
    memory.

    convolution: with its normalisation folded in.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            convolution.weight.detach()[:, :, 0, 0].contiguous(), requires_grad=False
        )
        self.bias = (
            None
            if convolution.bias is None
            else nn.Parameter(convolution.bias.detach().clone(), requires_grad=False)
        )
        self.activation = activation

    def linear(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) to (B, outputs, h, w), before the activation."""
        return functional.linear(maps.permute(0, 2, 3, 1), self.weight, self.bias).permute(
            0, 3, 1, 2
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) to (B, outputs, h, w)."""
        if not one_call(maps, self.activation):
            return self.activation(self.linear(maps))
        operation = _POST_OPERATIONS[type(self.activation)]
        return torch.ops.mkldnn._linear_pointwise(
            maps.permute(0, 2, 3, 1), self.weight, self.bias, operation, [], ""
        ).permute(0, 3, 1, 2)


class Convolution(nn.Module):
    """Any other convolution and its activation. convolution: with its normalisation folded in."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.convolution, self.activation = convolution, activation
        # subclasses pad by the size of their input
        self._plain = (
            type(convolution) is nn.Conv2d
            and convolution.padding_mode == "zeros"
            and not isinstance(convolution.padding, str)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) to (B, outputs, h', w')."""
        if not (self._plain and one_call(maps, self.activation)):
            return self.activation(self.convolution(maps))
        layer, operation = self.convolution, _POST_OPERATIONS[type(self.activation)]
        return torch.ops.mkldnn._convolution_pointwise(
            maps,
            layer.weight,
            layer.bias,
            layer.padding,
            layer.stride,
            layer.dilation,
            layer.groups,
            operation,
            [],
            "",
        )
