"""Activations and gradients of some layers from one forward and one backward pass of a batch.

The graph is recorded from the shallowest of the layers on, so the backward pass stops there;
weights are frozen meanwhile and get no gradients. Hooks are gone when a call ends, also by an
error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from ich_study.errors import MapError, ParameterError
from ich_study.inputs.devices import autocast
from ich_study.methods.cams.layers import channels_last
from ich_study.models.frozen import frozen


@dataclass(frozen=True)
class Captured:
    """A layer's output and the gradient of the target logit with respect to it, both (B, C, h, w)
    float32.

    `gradients` is None where no method asked for it.
    """

    activations: Tensor
    gradients: Tensor | None

    @cached_property
    def product(self) -> Tensor:
        """Gradients times activations, element by element, float64 (B, C, h, w)."""
        return self.gradients.double() * self.activations.double()


@contextmanager
def exact_float32() -> Iterator[None]:
    """Matrix products and convolutions in full float32 inside, on GPUs whose default is
    TensorFloat-32."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before):
            backend.allow_tf32 = allowed


@contextmanager
def _outputs_kept(
    layers: Mapping[str, nn.Module], with_gradients: bool
) -> Iterator[dict[str, Tensor]]:
    """Layers' outputs by name, each a tensor that the backward pass reaches."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> Tensor:
        if name in kept:
            raise MapError(f"layer {name} ran twice in one forward pass; a CAM layer runs once")
        if not isinstance(output, Tensor):
            raise ParameterError(
                f"layer {name} ({type(module).__name__}) gives a {type(output).__name__}; a CAM"
                " needs a tensor"
            )
        if with_gradients and not output.requires_grad:
            output = output.detach().requires_grad_()
        kept[name] = output
        # what follows may write in place; the kept tensor must stay what the layer gave
        return output.clone()

    handles = [layer.register_forward_hook(partial(keep, name)) for name, layer in layers.items()]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def capture(
    model: nn.Module,
    inputs: Tensor,
    layers: Mapping[str, nn.Module],
    target: int = 0,
    gradients: bool = True,
    precision: str = "fp32",
) -> tuple[Tensor, dict[str, Captured]]:
    """Target logits (B,) and, by name, what was captured of each layer. `model` is in evaluation
    mode.

    One forward pass of `inputs` (B, channels, rows, columns); with `gradients`, one backward pass.
    Raises MapError when a layer runs twice, the logit of an image is not finite, or it does not
    depend on a layer (its gradients are zero everywhere, so every gradient-based map of it would be
    empty).
    """
    with frozen(model), torch.inference_mode(False), torch.set_grad_enabled(gradients):
        images = inputs.clone() if inputs.is_inference() else inputs.detach()
        with (
            _outputs_kept(layers, gradients) as outputs,
            autocast(precision, inputs.device),
        ):
            logits = model(images)
        scores = logits.float()[:, target]
        broken = (~torch.isfinite(scores)).nonzero()
        if len(broken):
            raise MapError(
                f"the logit of image {int(broken[0])} of the batch is not finite; there is no"
                " heatmap of it"
            )
        found = [None] * len(outputs)
        if gradients:
            found = torch.autograd.grad(scores.sum(), list(outputs.values()))
    captured, last = {}, channels_last(model)
    for (name, output), gradient in zip(outputs.items(), found):
        if gradients:
            _check_gradient(gradient, name)
            gradient = _maps(gradient, last, name)
        captured[name] = Captured(_maps(output, last, name), gradient)
    return scores.detach(), captured


def _maps(output: Tensor, last: bool, name: str) -> Tensor:
    if output.ndim != 4:
        raise ParameterError(
            f"layer {name} gives {tuple(output.shape)}, channels {'last' if last else 'first'};"
            " expected maps (B, C, h, w)"
        )
    maps = output.detach().float()
    return maps.permute(0, 3, 1, 2) if last else maps


def _check_gradient(gradient: Tensor, name: str) -> None:
    empty = (gradient == 0).flatten(1).all(1)
    if empty.any():
        raise MapError(
            f"layer {name}: the gradient of image {int(empty.nonzero()[0])} of the batch is zero"
            " everywhere; the logit does not depend on the layer there, and its map would be empty"
        )
