"""Attention maps of a Swin transformer: Swin-SAM, HGI-SAM and Swin-Grad-CAM.

HGI-SAM paper, Sections 3.2, 4.2 and 4.3.1, Eq. 2; its code in printed_and_authors, 003.1 to
003.4. For block b, window i, head h, with A the attention weights and g the norm of the gradient:

    m[b, i][key] = mean over heads of g[b, i, h] * mean over queries of A[b, i, h]    (Swin-SAM: g =
    1) M[b]         = windows put back in place, shift reversed
    L[l]         = mean over the block pairs j of stage l of M[2j] * M[2j + 1]
    fused        = min-max over the slice of brain * product over stages of L, interpolated to the
    slice

Where paper and code differ there is a named setting; `PRINTED` and `AUTHORS` are the two readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ich_study.errors import ParameterError
from ich_study.evaluate.scaling import checked_maps, minmax, resized_maps
from ich_study.inputs.devices import autocast
from ich_study.methods.hgi_sam.attention_capture import (
    BlockAttention,
    Capture,
    Targets,
    capture_attention,
    checked_swin,
    target_sum,
)
from ich_study.models.frozen import frozen

HGI_STAGES: tuple[int, ...] = (0, 1, 2)
"""The stages that HGI-SAM fuses, counted from 0; Swin-SAM fuses all."""


@dataclass(frozen=True)
class AttentionVariant:
    """How attention becomes a map.

    gradient: norm of the gradient with respect to the "attention" weights (Eq. 2), or to the
    "scores"
        before the softmax (the code's hook).
    norm: one per "window_and_head", as the w of Section 3.1 is that of one window (144 x 144), or
        one per "head" over all windows of the slice (Eq. 2 has the index h alone).
    shift: reversed by what each of the "blocks" really rolled, or by half a window in all
    "odd_blocks"
        (the code; it differs in the last stage, whose only window is not shifted).
    layer_minmax: each stage's map scaled to [0, 1] before the product (the code).
    """

    gradient: Literal["attention", "scores"] = "attention"
    norm: Literal["head", "window_and_head"] = "window_and_head"
    shift: Literal["blocks", "odd_blocks"] = "blocks"
    layer_minmax: bool = False


PRINTED = AttentionVariant()
NORM_OF_HEAD = AttentionVariant(norm="head")
AUTHORS = AttentionVariant("scores", "window_and_head", "odd_blocks", True)
MEANINGS: dict[str, str] = {
    "gradient": "gradient of the logit by the attention weights, or by the scores before softmax",
    "norm": "one weight per head of the slice, or one per head and window",
    "shift": "windows moved back as they were moved, or by half a window in every odd block",
    "layer_minmax": "each stage's map scaled to 0 to 1 before the product",
}
"""What each setting of AttentionVariant decides, in a line."""
HGI_VARIANTS: dict[str, AttentionVariant] = {
    "printed": PRINTED,
    "norm_of_head": NORM_OF_HEAD,
    "authors": AUTHORS,
}
"""The readings. `norm_of_head` is the other one of Eq. 2's norm, in all else as printed: one weight
serves all windows, and the map is nearly that of Swin-SAM."""


@dataclass(frozen=True)
class AttentionMaps:
    """fused: (B, H, W) in [0, 1]. layers: map of each fused stage at its token resolution, (B,
    rows, columns), for Fig. 3. logits: (B, outputs)."""

    fused: Tensor = field(repr=False)
    layers: dict[int, Tensor] = field(repr=False)
    logits: Tensor = field(repr=False)


def swin_sam(
    model: nn.Module,
    inputs: Tensor,
    brain: Tensor | None = None,
    variant: AttentionVariant = PRINTED,
    stages: Sequence[int] | None = None,
    precision: str = "fp32",
) -> AttentionMaps:
    """Swin-SAM of a batch: heads averaged, no gradient, no class.

    model: timm's SwinTransformer in evaluation mode. inputs: (B, C, H, W) on its device. brain:
    bool (B, H, W), or None for the whole slice. stages: fused, counted from 0; None is all. An
    empty brain and a flat map give zeros. Raises ParameterError for another network or an odd
    number of blocks in a stage, MapError where a map is not finite.
    """
    capture = capture_attention(model, inputs, stages=stages, precision=precision)
    layers = layer_maps(capture, variant, weighted=False)
    return AttentionMaps(fused_map(layers, inputs.shape[-2:], brain), layers, capture.logits)


def hgi_sam(
    model: nn.Module,
    inputs: Tensor,
    targets: Targets,
    brain: Tensor | None = None,
    variant: AttentionVariant = PRINTED,
    stages: Sequence[int] | None = HGI_STAGES,
    precision: str = "fp32",
) -> AttentionMaps:
    """HGI-SAM of a batch: heads weighted by the norm of their gradient of the target logit.

    targets: number of the logit, or one per slice (B,); the paper takes that of hemorrhage, 1 of 2,
    whatever is predicted. The rest as in `swin_sam`.
    """
    capture = capture_attention(model, inputs, targets, (variant.gradient,), stages, precision)
    layers = layer_maps(capture, variant, weighted=True)
    return AttentionMaps(fused_map(layers, inputs.shape[-2:], brain), layers, capture.logits)


def layer_maps(capture: Capture, variant: AttentionVariant, weighted: bool) -> dict[int, Tensor]:
    """Map of every captured stage, (B, rows, columns), largest value 1: the mean over its pairs of
    blocks.

    weighted: by gradient norms (HGI-SAM) or not (Swin-SAM). Raises ParameterError where a stage has
    an odd number of blocks, MapError where a map is not finite.
    """
    found = {}
    for stage, blocks in capture.stages.items():
        if len(blocks) % 2:
            raise ParameterError(
                f"stage {stage} has {len(blocks)} blocks; its map multiplies blocks in pairs, so"
                " the depth must be even"
            )
        maps = [block_map(block, number, variant, weighted) for number, block in enumerate(blocks)]
        layer = torch.stack([one * two for one, two in zip(maps[::2], maps[1::2])]).mean(0)
        checked_maps(layer, f"attention map of stage {stage}")
        found[stage] = minmax(layer) if variant.layer_minmax else _peak_one(layer)
    return found


def block_map(
    block: BlockAttention, number: int, variant: AttentionVariant, weighted: bool
) -> Tensor:
    """Importance of every token of a block as a key, in its place on the token grid, (B, rows,
    columns).

    number: of the block within its stage; odd ones are the shifted half of a pair.

    >>> looked_at = torch.tensor([[[[1.0, 0, 0, 0], [0, 0, 0, 1]]]])  # one window, two heads
    >>> gradients = {"attention": torch.tensor([[[2.0, 4.0]]])}
    >>> block = BlockAttention((2, 2), (2, 2), (0, 0), looked_at, gradients)
    >>> block_map(block, 0, PRINTED, weighted=False)
    tensor([[[0.5000, 0.0000],
             [0.0000, 0.5000]]])
    >>> block_map(block, 0, PRINTED, weighted=True)
    tensor([[[1., 0.],
             [0., 2.]]])
    """
    attended = block.key_mean
    if weighted:
        attended = head_weights(block, variant)[..., None] * attended
    importance = attended.mean(2)
    tokens = windows_reversed(importance, block.window, block.tokens)
    half = (block.window[0] // 2, block.window[1] // 2) if number % 2 else (0, 0)
    return torch.roll(tokens, half if variant.shift == "odd_blocks" else block.shift, (1, 2))


def head_weights(block: BlockAttention, variant: AttentionVariant) -> Tensor:
    """Norm of the gradient that each head of a block got (Eq. 2), (B, 1, heads), or where the
    variant says so (B, windows, heads).

    >>> gradients = {"attention": torch.tensor([[[3.0, 1.0], [4.0, 0.0]]])}  # 2 windows, 2 heads
    >>> block = BlockAttention((2, 4), (2, 2), (0, 0), torch.ones(1, 2, 2, 4), gradients)
    >>> head_weights(block, PRINTED)
    tensor([[[3., 1.],
             [4., 0.]]])
    >>> head_weights(block, NORM_OF_HEAD)
    tensor([[[5., 1.]]])
    """
    norm = block.gradient_norm[variant.gradient]
    if variant.norm == "head":
        return torch.linalg.vector_norm(norm, dim=1, keepdim=True)
    return norm


def windows_reversed(windows: Tensor, window: tuple[int, int], tokens: tuple[int, int]) -> Tensor:
    """Windows (B, windows, window area) in row-major order, put together to (B, rows, columns) of
    the grid.

    Padding at the bottom and right, where the grid does not hold whole windows, is cut off.

    >>> two_windows = torch.tensor([[[1, 2, 3, 4], [5, 6, 7, 8]]])
    >>> windows_reversed(two_windows, (2, 2), (2, 4)).tolist()
    [[[1, 2, 5, 6], [3, 4, 7, 8]]]
    """
    across, down = -(-tokens[1] // window[1]), -(-tokens[0] // window[0])
    grid = (
        windows.reshape(-1, down, across, *window)
        .transpose(2, 3)
        .reshape(-1, down * window[0], across * window[1])
    )
    return grid[:, : tokens[0], : tokens[1]]


def fused_map(
    layers: dict[int, Tensor], size: Sequence[int], brain: Tensor | None = None
) -> Tensor:
    """Product of the layers' maps interpolated to `size`, times the brain, min-max over the slice;
    (B, H, W) in [0, 1].

    Where the product is flat, or the brain empty, the map is 0.

    >>> layers = {0: torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 1: torch.tensor([[[2.0]]])}
    >>> fused_map(layers, (2, 2))
    tensor([[[0.0000, 0.3333],
             [0.6667, 1.0000]]])
    >>> brain = torch.tensor([[[True, True], [True, False]]])
    >>> fused_map(layers, (2, 2), brain)
    tensor([[[0.3333, 0.6667],
             [1.0000, 0.0000]]])
    """
    target = (int(size[0]), int(size[1]))
    fused = torch.stack([resized_maps(layer, target) for layer in layers.values()]).prod(0)
    return minmax(fused if brain is None else fused * brain.to(fused.device))


def swin_grad_cam(
    model: nn.Module,
    inputs: Tensor,
    targets: Targets | None = None,
    brain: Tensor | None = None,
    precision: str = "fp32",
) -> tuple[Tensor, Tensor]:
    """Grad-CAM of a batch, and the logits: (B, H, W) in [0, 1], (B, outputs).

    `token_grad_cams`, interpolated, times the brain, min-max. A map without a positive value is 0.
    """
    cams, logits = token_grad_cams(model, inputs, [targets], precision)
    return fused_map({0: cams[0]}, inputs.shape[-2:], brain), logits


def token_grad_cams(
    model: nn.Module,
    inputs: Tensor,
    targets: Sequence[Targets | None],
    precision: str = "fp32",
) -> tuple[list[Tensor], Tensor]:
    """Grad-CAM at the first norm layer of the last block (paper, 4.3.1), ReLU, min-max: (B, rows,
    columns) of the last stage's tokens in [0, 1] for each of `targets`, from one forward pass, and
    the logits.

    targets: as in `hgi_sam`; None takes the largest logit of each slice, so that slices called
    negative show that class (the code; pytorch-grad-cam's default).
    """
    swin = checked_swin(model)
    kept: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    with torch.inference_mode(False), torch.enable_grad(), frozen(swin):
        handle = swin.layers[-1].blocks[-1].norm1.register_forward_hook(keep)
        try:
            with autocast(precision, inputs.device):
                logits = swin(inputs)
            sums = [
                target_sum(logits, logits.argmax(1) if each is None else each) for each in targets
            ]
            gradients = [torch.autograd.grad(each, kept[0], retain_graph=True)[0] for each in sums]
        finally:
            handle.remove()
    cams = [
        (gradient.mean((1, 2), keepdim=True) * kept[0].detach()).sum(-1).clamp(min=0)
        for gradient in gradients
    ]
    return [minmax(checked_maps(cam, "Swin-Grad-CAM")) for cam in cams], logits.detach()


def _peak_one(maps: Tensor) -> Tensor:
    """Maps divided by their largest value, which min-max after the product undoes; without it the
    product of four small maps leaves float32."""
    peak = maps.amax((-2, -1), keepdim=True)
    return maps / torch.where(peak > 0, peak, torch.ones_like(peak))
