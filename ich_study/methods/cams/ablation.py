"""AblationCAM: the drop of a logit when a channel of a layer is taken out, for every channel.

Only what comes after the layer is run again, for many (image, channel) pairs at a time. Where that
begins with a 1 x 1 convolution, its output changes by a rank-1 term and is updated instead of
computed anew.

Two variants. "zero" writes 0 into the channel, as the method is published (Desai 2020). "library"
writes what pytorch-grad-cam 1.5 writes: 0 if the layer's smallest activation is exactly 0,
otherwise the smallest activation of its batch of channels so far, minus 1e7; the k-th channel of a
batch thus gets about -k 1e7, and the map depends on the library's batch size (printed_and_authors,
001.4).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ich_study.errors import MapError, ParameterError, require_known
from ich_study.methods.cams.formulas import weighted_sum
from ich_study.methods.cams.layers import channels_last
from ich_study.methods.cams.tails import Expansion, expansion_of, prepared, run, tail_stages

LIBRARY_VALUE = np.float32(1e7)
VALUES_PER_CHUNK = {"cpu": 2**20, "cuda": 2**26}
"""Activations of the ablated layer in one chunk: on a CPU what stays in its cache through the
tail."""
TAIL_TOLERANCE = {"fp32": 1e-2, "bf16": 0.5}
"""Of the re-run logit, relative, or absolute below 1: above what rounding does, in float32 about
1e-5 in trained networks and 3e-3 in random ones. bfloat16 keeps 3 digits of every intermediate
value."""
FLOAT64_TOLERANCE = 1e-6
"""A network of badly conditioned weights rounds worse than TAIL_TOLERANCE; its tail is judged in
float64, by this."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Scores = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Image numbers, channels and values (k,) to the target logits (k,) with channel := value; channel
-1 changes nothing."""


@dataclass(frozen=True)
class Ablation:
    """How AblationCAM runs. variant: "zero" or "library". library_batch: the library's batch size,
    which its values depend on. precision: "fp32" or "bf16" of the re-run; on a GPU it stays
    float32: an H200 took six times as long for all 27 maps in bfloat16, and these many small
    convolutions are the likely reason (not measured apart)."""

    variant: str = "zero"
    library_batch: int = 32
    precision: str = "fp32"

    def __post_init__(self) -> None:
        require_known("precision", self.precision, _DTYPES)
        if self.library_batch < 1:
            raise ParameterError(f"batches of {self.library_batch} channels; expected 1 or more")


def ablation_cam(
    model: nn.Module,
    inputs: Tensor,
    layer: nn.Module,
    activations: Tensor,
    scores: Tensor,
    target: int = 0,
    settings: Ablation | None = None,
    name: str = "of this network",
) -> Tensor:
    """Raw AblationCAM of a layer, float64 (B, h, w).

    inputs: the batch (B, ...). activations: the layer's maps (B, C, h, w) of it. scores: its target
    logits (B,). settings: zero ablation where none are given. name: of the layer, for errors.
    Raises MapError when the re-run does not give those logits for unchanged activations, or a
    weight is not finite (a logit of exactly zero); ParameterError when the tail is unknown.
    """
    settings = settings or Ablation()
    images, channels = activations.shape[:2]
    device = inputs.device
    chunk = max(1, VALUES_PER_CHUNK.get(device.type, 2**20) // activations[0].numel())
    with torch.inference_mode():
        dtype = _DTYPES[settings.precision] if device.type == "cpu" else torch.float32
        rerun = _tail_scores(model, layer, activations, target, dtype)
        every = torch.arange(images, device=device)
        nothing = torch.full_like(every, -1)
        unchanged = _in_chunks(rerun, chunk, every, nothing, torch.zeros(images, device=device))
        error = (unchanged - scores).abs() / scores.abs().clamp(min=1)
        worst = int(error.nan_to_num(torch.inf).argmax())
        if not error[worst] <= TAIL_TOLERANCE[settings.precision]:
            found = (
                f"AblationCAM at layer {name}: re-running what comes after the layer gives the"
                f" logit {float(unchanged[worst]):.5f} where the network gave"
                f" {float(scores[worst]):.5f}; "
            )
            _judge_tail(model, layer, inputs[[worst]], target, found)
        pairs = every.repeat_interleave(channels), torch.arange(channels, device=device)
        values = ablation_values(activations, settings).flatten()
        ablated = _in_chunks(rerun, chunk, pairs[0], pairs[1].repeat(images), values)
    drop = unchanged[:, None].double() - ablated.double().unflatten(0, (images, channels))
    weights = drop / unchanged[:, None].double()
    if not torch.isfinite(weights).all():
        raise MapError(
            f"AblationCAM at layer {name}: a weight is not finite; the logit is"
            f" {float(unchanged.abs().min())} for one image"
        )
    return weighted_sum(weights, activations)


def ablation_values(activations: Tensor, settings: Ablation) -> Tensor:
    """What each channel is overwritten with, float32 (B, C)."""
    images, channels = activations.shape[:2]
    values = np.zeros((images, channels), np.float32)
    if settings.variant == "library":
        for row, smallest in zip(values, activations.amin((1, 2, 3)).cpu().numpy()):
            if smallest != 0:
                # one after the other, because float32 rounds at every step
                steps = np.full(min(settings.library_batch, channels) + 1, LIBRARY_VALUE)
                steps[0] = smallest
                row[:] = np.resize(np.subtract.accumulate(steps)[1:], channels)
    return torch.from_numpy(values).to(activations.device)


def _in_chunks(rerun: Scores, chunk: int, *parts: Tensor) -> Tensor:
    return torch.cat([rerun(*some) for some in zip(*(part.split(chunk) for part in parts))])


def _ablated(last: Tensor, images: Tensor, channels: Tensor, values: Tensor) -> Tensor:
    """Activations (B, h, w, C) of the images with one channel of each overwritten, as maps (k, C,
    h, w)."""
    changed = last[images]
    places = (channels >= 0).nonzero()[:, 0]
    changed[places, :, :, channels[places]] = values[places].to(changed.dtype)[:, None, None]
    return changed.permute(0, 3, 1, 2)


def _tail_scores(
    model: nn.Module,
    layer: nn.Module,
    activations: Tensor,
    target: int,
    dtype: torch.dtype,
) -> Scores:
    stages = prepared(tail_stages(model, layer), dtype)
    last = activations.to(dtype).permute(0, 2, 3, 1).contiguous()
    channels_end = channels_last(model)
    expansion = None if channels_end else expansion_of(stages)
    if expansion is not None:
        return _rank_one_scores(expansion, last, target)

    def scores(images: Tensor, channels: Tensor, values: Tensor) -> Tensor:
        maps = _ablated(last, images, channels, values)
        maps = maps.permute(0, 2, 3, 1) if channels_end else maps
        return run(stages, maps).float()[:, target]

    return scores


def _rank_one_scores(expansion: Expansion, last: Tensor, target: int) -> Scores:
    expanded = expansion.first.linear(last.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
    columns = expansion.first.weight.T.contiguous()

    def scores(images: Tensor, channels: Tensor, values: Tensor) -> Tensor:
        used = channels.clamp(min=0)
        shift = values.to(last.dtype)[:, None, None] - last[images, :, :, used]
        shift = (shift * (channels >= 0)[:, None, None])[..., None]
        changed = expanded[images].addcmul_(shift, columns[used][:, None, None])
        block_input = _ablated(last, images, channels, values) if expansion.needs_input else None
        return expansion.finish(changed.permute(0, 3, 1, 2), block_input).float()[:, target]

    return scores


def _judge_tail(model: nn.Module, layer: nn.Module, image: Tensor, target: int, found: str) -> None:
    """Warn where the stages after `layer` give the network's logit in float64, so that the tail is
    right but for rounding; MapError where it is another network's. found: begins the message."""
    path = next(name for name, module in model.named_modules() if module is layer)
    double = copy.deepcopy(model).double()
    outputs: list[Tensor] = []
    double.get_submodule(path).register_forward_hook(
        lambda module, layer_inputs, output: outputs.append(output)
    )
    expected = double(image.double())[:, target]
    again = run(tail_stages(double, double.get_submodule(path)), outputs[0])[:, target]
    error = float(((again - expected).abs() / expected.abs().clamp(min=1)).max())
    if not error <= FLOAT64_TOLERANCE:
        raise MapError(f"{found}the tail of this network is not the one known here")
    warnings.warn(
        f"{found}in float64 they agree, so this is rounding in a network of badly conditioned"
        " weights",
        stacklevel=3,
    )
