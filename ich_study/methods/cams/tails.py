"""What comes after a layer: from its (changed) output to the logits, without running what comes
before.

A tail is a chain of stages. For EfficientNet it is prepared for many small batches on either
device: batch normalisation folded into the convolutions, which run as `tail_layers` has them.
Preparation copies the stages; the network itself is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ich_study.errors import ParameterError
from ich_study.methods.cams.layers import stages_of
from ich_study.methods.cams.tail_layers import Convolution, Pointwise, is_pointwise

Stage = Callable[[Tensor], Tensor]
_FOLDED: dict[str, tuple[tuple[str, str], ...]] = {
    "InvertedResidual": (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
    "EdgeResidual": (("conv_exp", "bn1"), ("conv_pwl", "bn2")),
    "ConvBnAct": (("conv", "bn1"),),
}
"""Convolutions and the normalisations right after them, by timm's block."""
_BEFORE_HEAD = ("conv_head", "bn2", "norm_pre", "norm")
"""What stands between the last stage and the head: of EfficientNet, ConvNeXt and Swin."""


@dataclass(frozen=True)
class Expansion:
    """A tail whose first operation is a 1 x 1 convolution; a changed input channel shifts its
    output by a rank-1 term.

    first: that convolution. finish: its output before the activation, and the tail's input where
    `needs_input` (a skip connection), to the logits.
    """

    first: Pointwise
    finish: Callable[[Tensor, Tensor | None], Tensor]
    needs_input: bool


def tail_stages(model: nn.Module, layer: nn.Module) -> list[nn.Module | Stage]:
    """Everything between `layer` and the logits of a timm network, in order. layer: one of
    `layers.timm_layers`. Known are EfficientNet, ConvNeXt, Swin and ResNet."""
    between = [
        getattr(model, name)
        for name in _BEFORE_HEAD
        if isinstance(getattr(model, name, None), nn.Module)
    ]
    chain = [*stages_of(model), *between, model.forward_head]
    place = next(number for number, stage in enumerate(chain) if stage is layer)
    return chain[place + 1 :]


def prepared(stages: Sequence[nn.Module | Stage], dtype: torch.dtype) -> list[nn.Module | Stage]:
    """The stages, flattened, with EfficientNet's blocks and head convolution copied and folded, in
    `dtype`.

    The head (pooling and classifier) stays float32. So do other stages, which are the network's
    own; with them `dtype` must be float32 (ParameterError).
    """
    from timm.layers import BatchNormAct2d  # slow to import

    flat = [block for stage in stages for block in _flattened(stage)]
    ready: list[nn.Module | Stage] = []
    while flat:
        stage = flat.pop(0)
        if (
            isinstance(stage, nn.Conv2d)
            and flat
            and isinstance(flat[0], BatchNormAct2d)
            and is_pointwise(stage)
        ):
            normalisation = flat.pop(0)
            ready.append(
                Pointwise(
                    fuse_conv_bn_eval(stage, normalisation), copy.deepcopy(normalisation.act)
                ).to(dtype)
            )
        elif type(stage).__name__ in _FOLDED and _foldable(stage):
            ready.append(_folded(stage).to(dtype))
        elif (
            isinstance(stage, nn.Module)
            and dtype != torch.float32
            and any(True for _ in stage.parameters())
        ):
            raise ParameterError(f"{type(stage).__name__} has no {dtype} tail here; ablate in fp32")
        else:
            ready += [stage] if isinstance(stage, nn.Module) else [Tensor.float, stage]
    return ready


def _flattened(stage: nn.Module | Stage) -> list[nn.Module | Stage]:
    return (
        [block for child in stage for block in _flattened(child)]
        if type(stage) is nn.Sequential
        else [stage]
    )


def _foldable(block: nn.Module) -> bool:
    from timm.layers import BatchNormAct2d

    pairs = [
        (getattr(block, first), getattr(block, second))
        for first, second in _FOLDED[type(block).__name__]
    ]
    return all(
        isinstance(conv, nn.Conv2d) and isinstance(norm, BatchNormAct2d) for conv, norm in pairs
    )


def _folded(block: nn.Module) -> nn.Module:
    folded = copy.deepcopy(block).eval().requires_grad_(False)
    for first, second in _FOLDED[type(block).__name__]:
        convolution, normalisation = getattr(folded, first), getattr(folded, second)
        fused = fuse_conv_bn_eval(convolution, normalisation).requires_grad_(False)
        setattr(
            folded,
            first,
            (Pointwise if is_pointwise(fused) else Convolution)(fused, normalisation.act),
        )
        setattr(folded, second, nn.Identity())
    return folded.to(memory_format=torch.channels_last)


def expansion_of(stages: Sequence[nn.Module | Stage]) -> Expansion | None:
    """The rank-1 form of a prepared tail, or None where its first operation is not a 1 x 1
    convolution."""
    first, rest = stages[0], list(stages[1:])
    if isinstance(first, Pointwise):
        return Expansion(
            first, lambda expanded, _: run(rest, first.activation(expanded)), needs_input=False
        )
    if (
        type(first).__name__ == "InvertedResidual"
        and isinstance(first.conv_pw, Pointwise)
        and first.conv_s2d is None
    ):

        def finish(expanded: Tensor, block_input: Tensor | None) -> Tensor:
            maps = first.aa(first.conv_dw(first.conv_pw.activation(expanded)))
            maps = first.conv_pwl(first.se(maps))
            return run(rest, maps if block_input is None else first.drop_path(maps) + block_input)

        return Expansion(first.conv_pw, finish, needs_input=first.has_skip)
    return None


def run(stages: Sequence[nn.Module | Stage], maps: Tensor) -> Tensor:
    """Maps through the stages, one after the other."""
    for stage in stages:
        maps = stage(maps)
    return maps
