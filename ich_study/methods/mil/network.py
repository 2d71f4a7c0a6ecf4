"""Networks of the MIL detector: a likelihood map and one logit from one forward pass.

`printed` is Sections II-B, II-C and II-E of the paper: 18 convolutions in three levels of three
residual blocks, pooling between the levels, stride 4. `authors` is what the released network
computes (printed_and_authors, 004.1): stride 8, and in every level one residual block that its own
code overwrites, whose weights the checkpoints carry and no output depends on. It is not computed
here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ich_study.errors import ParameterError, require_known
from ich_study.inputs.preprocessing import NORMALISATIONS, Preprocessing
from ich_study.inputs.seeds import first_weights_from
from ich_study.models.registry import Network, register
from ich_study.models.weights import load_tensors, read_tensors, verify_file

MIL_VARIANTS = ("printed", "authors")
HEADS = ("max_pooling", "attention")
CHANNELS = (12, 24, 36)
BLOCKS = {"printed": 3, "authors": 2}
"""Residual blocks of a level; of the authors' two, one has no effect."""
WINDOWS = ("mil_raw", "mil_80", "mil_130")
"""Input channels, by name of `ct.windows`; with the normalisation "mil" they equal
`ct.windows.mil_channels`."""
SIZE = 256
"""Rows and columns that the published networks were trained and run at."""


class ConvUnit(nn.Module):
    """3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return functional.relu(self.bn(self.conv(x)), inplace=not self.training)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut (He et al. 2016, the paper's [18]); a 1 x 1
    projection where channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvUnit(inputs, outputs)
        self.second, self.bn = nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return functional.relu(
            self.bn(self.second(self.first(x))) + self.shortcut(x), inplace=not self.training
        )


class Attention(nn.Module):
    """Gated attention over positions (Eq. 2 and 3) and the logit of the pooled vector.

    The weights sum to 1 over the positions and are the likelihood map. bias: of V, U and w; Eq. 3
    has none, the code has all three.
    """

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.conv_tanh, self.conv_sigm = (
            nn.Conv2d(channels, channels, 1, bias=bias),
            nn.Conv2d(channels, channels, 1, bias=bias),
        )
        self.conv_w, self.conv_final = (
            nn.Conv2d(channels, 1, 1, bias=bias),
            nn.Conv2d(channels, 1, 1),
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w) to logits (B, 1) and weights (B, h, w)."""
        scores = self.conv_w(self.conv_tanh(features).tanh() * self.conv_sigm(features).sigmoid())
        weights = scores.flatten(1).softmax(1).view_as(scores)
        pooled = (weights * features).sum((2, 3), keepdim=True)
        return self.conv_final(pooled).flatten(1), weights[:, 0]


class MilNetwork(nn.Module):
    """What both variants share: features, then a head that gives a logit and a map."""

    attention: Attention | None

    def features(self, x: Tensor) -> Tensor:
        """Input (B, 3, H, W) to features (B, C, h, w)."""
        raise NotImplementedError

    def likelihood(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Input (B, 3, H, W) to logits (B, 1) and maps (B, h, w).

        Max-pooling: the map holds raw logits and its maximum is the slice's logit (Eq. 1).
        Attention: the map holds the weights of Eq. 3.
        """
        features = self.features(x)
        if self.attention is not None:
            return self.attention(features)
        maps = self.conv_final(features)[:, 0]
        return maps.flatten(1).amax(1, keepdim=True), maps

    def forward(self, x: Tensor) -> Tensor:
        """Input (B, 3, H, W) to logits (B, 1)."""
        return self.likelihood(x)[0]


class PrintedNetwork(MilNetwork):
    """As printed. The fully-connected layer after max-pooling of a scalar map is the 1 x 1
    convolution before it."""

    def __init__(self, head: str, channels: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        inputs = (3, *channels[:-1])
        self.levels = nn.ModuleList(
            nn.Sequential(
                ResidualBlock(before, width),
                *(ResidualBlock(width, width) for _ in range(blocks - 1)),
            )
            for before, width in zip(inputs, channels)
        )
        self.attention = Attention(channels[-1], bias=False) if head == "attention" else None
        if head == "max_pooling":
            self.conv_final = nn.Conv2d(channels[-1], 1, 1)

    def features(self, x: Tensor) -> Tensor:
        """Stride 4: the levels are separated by pooling."""
        for number, level in enumerate(self.levels):
            x = level(functional.max_pool2d(x, 2) if number else x)
        return x


class AuthorsNetwork(MilNetwork):
    """As released; parameter names are those of the published checkpoints."""

    def __init__(self, head: str, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.init_conv = ConvUnit(3, channels[0])
        units: list[nn.Module] = []
        for number, width in enumerate(channels):
            units += [ConvUnit(channels[number - 1], width)] if number else []
            units += [ConvUnit(width, width) for _ in range(6)]
        self.layers, self.level_count = nn.ModuleList(units), len(channels)
        self.attention = Attention(channels[-1], bias=True) if head == "attention" else None
        if head == "max_pooling":
            self.conv_final = nn.Conv2d(channels[-1], 1, 3, padding=1)

    def features(self, x: Tensor) -> Tensor:
        """Stride 8. Of the six units of a level only the last three reach the output."""
        y = self.init_conv(x)
        for level in range(self.level_count):
            if level:
                y = self.layers[7 * level - 1](x)
            x = y
            for unit in self.layers[7 * level + 3 : 7 * level + 6]:
                x = unit(x)
            x = functional.max_pool2d(x + y, 2)
        return x


@register("mil")
@dataclass(frozen=True)
class MilBackbone(Network):
    """A network of this module as training and the checkpoints know one
    (`training.learner.Network`).

    weights_source: "random" or the name of the file; weights_sha256: of that file.
    """

    model: MilNetwork = field(repr=False)
    variant: str
    head: str
    channels: tuple[int, ...] = CHANNELS
    blocks: int = BLOCKS["printed"]
    weights_source: str = "random"
    weights_sha256: str | None = None
    outputs: int = 1
    in_channels: int = 3
    input_mean: tuple[float, ...] = NORMALISATIONS["mil"][0]
    input_std: tuple[float, ...] = NORMALISATIONS["mil"][1]

    def arguments(self) -> dict[str, Any]:
        """Arguments of `create_mil`."""
        return {
            "variant": self.variant,
            "head": self.head,
            "channels": list(self.channels),
            "blocks": self.blocks,
        }

    @classmethod
    def rebuild(cls, arguments: Mapping[str, Any]) -> MilBackbone:
        """The network with random weights."""
        return create_mil(**{**arguments, "channels": tuple(arguments["channels"])})


def create_mil(
    variant: str,
    head: str,
    seed: int = 0,
    channels: tuple[int, ...] = CHANNELS,
    blocks: int | None = None,
) -> MilBackbone:
    """A MIL network with Xavier-normal weights and zero biases from `seed` alone (the code's
    initialisation).

    blocks: residual blocks of a level, of the printed network only; None is the published number.
    Fewer see less far, which small inputs need: the printed network sees 88 pixels. Raises
    ParameterError for an unknown variant or head, or blocks that do not fit.
    """
    require_known("MIL variant", variant, MIL_VARIANTS)
    require_known("MIL head", head, HEADS)
    blocks = BLOCKS[variant] if blocks is None else blocks
    if blocks < 1 or (variant == "authors" and blocks != BLOCKS[variant]):
        raise ParameterError(
            f"MIL blocks are {blocks}; expected at least 1, and {BLOCKS['authors']} for the"
            " authors' network"
        )
    with first_weights_from(seed):
        model = (
            PrintedNetwork(head, tuple(channels), blocks)
            if variant == "printed"
            else AuthorsNetwork(head, tuple(channels))
        )
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return MilBackbone(model, variant, head, tuple(channels), blocks)


def load_published(path: Path, head: str, sha256: str | None = None) -> MilBackbone:
    """The authors' checkpoint of one head, in evaluation mode: their `.pt`, or the same tensors as
    `.npz`.

    Raises WeightsError for an absent file, another SHA-256, and tensors that are missing, too many
    or
    of another shape, by name: the other head's checkpoint, a partial file, another network's.
    """
    backbone = create_mil("authors", head)
    load_tensors(
        backbone.model, read_tensors(path, sha256), f"{path} (read as the published {head} network)"
    )
    backbone.model.eval()
    return replace(backbone, weights_source=path.name, weights_sha256=verify_file(path))


def published_preprocessing(size: int = SIZE) -> Preprocessing:
    """HU to the published networks' input; they were trained and run at 256 pixels."""
    return Preprocessing(WINDOWS, "fixed", 1, size, "none", *NORMALISATIONS["mil"])


def fused(model: MilNetwork) -> MilNetwork:
    """A copy in evaluation mode with each unit's normalisation folded into its convolution: the
    same outputs up to rounding, fewer passes over memory."""
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, ConvUnit):
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), nn.Identity()
        elif isinstance(module, ResidualBlock):
            module.second, module.bn = fuse_conv_bn_eval(module.second, module.bn), nn.Identity()
    return folded


@dataclass(frozen=True)
class ReadyNetwork:
    """A network with its weights, in evaluation mode, and how its input is made. history: of its
    training, a row per epoch; None for a published one."""

    network: MilBackbone
    preprocessing: Preprocessing
    history: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def model(self) -> MilNetwork:
        """Gives logits and maps (`MilNetwork.likelihood`)."""
        return self.network.model

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.model.parameters()).device

    def folded(self) -> ReadyNetwork:
        """A copy that is faster and gives the same up to rounding (`fused`)."""
        model = fused(self.model).to(self.device, memory_format=torch.channels_last)
        return replace(self, network=replace(self.network, model=model))

    def inputs(self, hu: np.ndarray) -> Tensor:
        """int16 HU (N, rows, columns) of slices of any size to what the network sees, (N, 3, H,
        W)."""
        resized = self.preprocessing.resized(torch.from_numpy(np.array(hu)))
        inputs = self.preprocessing.inputs(resized[:, None].to(self.device))
        return inputs.contiguous(memory_format=torch.channels_last)
