"""The self-attention of a Swin transformer during one pass, reduced to what attention maps need.

Per block: the mean over queries of the attention weights, and the Frobenius norm of the gradient of
the target logits with respect to the attention weights or to the scores before their softmax
(HGI-SAM, Eq. 2; printed_and_authors, 003.1). Nothing is left on the model between calls: hooks,
flags and frozen weights are put back, also after an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ich_study.errors import ParameterError, require_known
from ich_study.inputs.devices import autocast
from ich_study.models.frozen import frozen

if TYPE_CHECKING:
    from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock

GRADIENTS: tuple[str, ...] = ("attention", "scores")
"""With respect to the attention weights w of Eq. 2, or to the scores before the softmax."""
PRECISIONS: tuple[str, ...] = ("fp32", "bf16")
Targets = int | Tensor


@dataclass(frozen=True)
class BlockAttention:
    """What one block attended to, in a batch of B slices.

    tokens: rows and columns of the block's token grid. window: rows and columns of a window;
    windows cover the grid padded at the bottom and right to whole windows, in row-major order.
    shift: how far the block rolled its grid up and left before cutting windows. key_mean: attention
    weights averaged over queries, (B, windows, heads, window rows x window columns). gradient_norm:
    by kind of GRADIENTS, the norm over queries and keys, (B, windows, heads).
    """

    tokens: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]
    key_mean: Tensor = field(repr=False)
    gradient_norm: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class Capture:
    """logits: (B, outputs), detached. stages: recorded stages by number, from 0, each with its
    blocks in order."""

    logits: Tensor = field(repr=False)
    stages: dict[int, tuple[BlockAttention, ...]] = field(repr=False)


def capture_attention(
    model: nn.Module,
    inputs: Tensor,
    targets: Targets | None = None,
    gradients: Collection[str] = (),
    stages: Collection[int] | None = None,
    precision: str = "fp32",
) -> Capture:
    """One forward pass, and with `gradients` one backward pass to the attention of the first
    recorded stage.

    model: timm's SwinTransformer in evaluation mode, on the device of `inputs` (B, C, H, W).
    targets: number of the logit to differentiate, or one per slice (B,); the logits are summed,
    which leaves each slice its own gradient. gradients: kinds of GRADIENTS. stages: None records
    all. precision: "bf16" autocasts the matrix products; softmax, means and norms stay float32.

    Weights get no gradient, nothing before the first recorded attention does, and of attention and
    its gradient only means and norms are kept. timm's fused attention, which never forms the
    weights, and gradient checkpointing are off during the call. Raises ParameterError for another
    network, training mode, or unknown arguments.
    """
    swin = checked_swin(model)
    wanted = _checked_stages(swin, stages)
    require_known("precision", precision, PRECISIONS)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(bool(gradients)))
        stack.enter_context(explicit_attention(swin))
        stack.enter_context(frozen(swin))
        recorder = _Recorder(frozenset(gradients), len(inputs))
        for stage in wanted:
            for number, block in enumerate(swin.layers[stage].blocks):
                for handle in recorder.watch((stage, number), block):
                    stack.callback(handle.remove)
        with autocast(precision, inputs.device):
            logits = swin(inputs)
        if gradients:
            recorder.differentiate(target_sum(logits, targets))
    return Capture(logits.detach(), recorder.blocks_by_stage())


class _Recorder:
    """Hooks on the blocks of one call, and what they saw."""

    def __init__(self, gradients: frozenset[str], batch: int) -> None:
        self._gradients, self._batch = gradients, batch
        self._blocks: dict[tuple[int, int], BlockAttention] = {}
        self._grids: dict[tuple[int, int], tuple[int, int]] = {}
        self._leaf: Tensor | None = None

    def watch(self, place: tuple[int, int], block: SwinTransformerBlock) -> list[RemovableHandle]:
        """Hooks on the block."""
        return [
            block.register_forward_pre_hook(
                lambda _, arguments: self._note_grid(place, arguments[0])
            ),
            block.attn.softmax.register_forward_pre_hook(
                lambda _, arguments: self._before_softmax(arguments[0])
            ),
            block.attn.softmax.register_forward_hook(
                lambda _, arguments, output: self._after_softmax(place, block, arguments[0], output)
            ),
        ]

    def _note_grid(self, place: tuple[int, int], tokens: Tensor) -> None:
        self._grids[place] = (tokens.shape[1], tokens.shape[2])

    def _before_softmax(self, scores: Tensor) -> tuple[Tensor] | None:
        if "scores" not in self._gradients or scores.requires_grad:
            return None
        self._leaf = scores.detach().requires_grad_()
        return (self._leaf,)

    def _after_softmax(
        self, place: tuple[int, int], block: SwinTransformerBlock, scores: Tensor, attention: Tensor
    ) -> Tensor | None:
        replaced = None
        if self._gradients and not attention.requires_grad:
            self._leaf = replaced = attention = attention.detach().requires_grad_()
        mean = attention.detach().mean(-2, dtype=_at_least_float32(attention))
        norms: dict[str, Tensor] = {}
        for kind, tensor in (("attention", attention), ("scores", scores)):
            if kind in self._gradients:
                tensor.register_hook(partial(self._note_norm, norms, kind))
        grid, window, shift = self._grids[place], tuple(block.window_size), tuple(block.shift_size)
        self._blocks[place] = BlockAttention(grid, window, shift, self._by_slice(mean), norms)
        return replaced

    def _note_norm(self, norms: dict[str, Tensor], kind: str, gradient: Tensor) -> None:
        norms[kind] = self._by_slice(
            torch.linalg.vector_norm(gradient, dim=(-2, -1), dtype=_at_least_float32(gradient))
        )

    def _by_slice(self, values: Tensor) -> Tensor:
        return values.unflatten(0, (self._batch, -1))

    def differentiate(self, total: Tensor) -> None:
        """Backward pass to the first recorded attention; the hooks note the norms on the way."""
        torch.autograd.grad(total, self._leaf)

    def blocks_by_stage(self) -> dict[int, tuple[BlockAttention, ...]]:
        """Blocks of each stage, in order."""
        stages = sorted({stage for stage, _ in self._blocks})
        return {
            stage: tuple(self._blocks[place] for place in sorted(self._blocks) if place[0] == stage)
            for stage in stages
        }


def target_sum(logits: Tensor, targets: Targets) -> Tensor:
    """Sum of each slice's target logit."""
    chosen = torch.as_tensor(targets, device=logits.device).expand(len(logits))
    return logits.gather(1, chosen[:, None]).sum()


def checked_swin(model: nn.Module) -> SwinTransformer:
    """`model`, if it is a timm SwinTransformer; ParameterError otherwise."""
    from timm.models.swin_transformer import SwinTransformer  # slow to import

    if not isinstance(model, SwinTransformer):
        raise ParameterError(
            "attention maps are defined for timm's SwinTransformer; this network is a"
            f" {type(model).__name__}"
        )
    return model


@contextmanager
def explicit_attention(model: SwinTransformer) -> Iterator[None]:
    """Fused attention and gradient checkpointing are off inside, so that the softmax runs once, as
    a module."""
    fused = [
        (block.attn, block.attn.fused_attn) for stage in model.layers for block in stage.blocks
    ]
    checkpointed = [(stage, stage.grad_checkpointing) for stage in model.layers]
    for attention, _ in fused:
        attention.fused_attn = False
    for stage, _ in checkpointed:
        stage.grad_checkpointing = False
    try:
        yield
    finally:
        for attention, was in fused:
            attention.fused_attn = was
        for stage, was in checkpointed:
            stage.grad_checkpointing = was


def _checked_stages(model: SwinTransformer, stages: Collection[int] | None) -> list[int]:
    there = range(len(model.layers))
    wanted = sorted(set(there if stages is None else stages))
    if not wanted or not set(wanted) <= set(there):
        raise ParameterError(f"stages are {stages}; the network has stages 0 to {len(there) - 1}")
    return wanted


def _at_least_float32(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)
