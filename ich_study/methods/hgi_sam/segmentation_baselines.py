"""Fully supervised 2-D segmentation networks that HGI-SAM is compared with: a light U-Net (paper,
4.3.2) and MONAI's Swin-UNETR in the light size of 4.3.3.

Both give two logits per pixel, background and hemorrhage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ich_study.errors import ParameterError, require_known
from ich_study.inputs.seeds import first_weights_from
from ich_study.models.registry import Network, register

OUTPUTS = 2
SWIN_UNETR_DIVISOR = 32
SWIN_UNETR: dict[str, Any] = {
    "feature_size": 12,
    "depths": (2, 2, 2, 2),
    "num_heads": (2, 4, 8, 16),
}
"""Section 4.3.3; the depths are MONAI's."""


class LightUNet(nn.Module):
    """Two 3x3 convolutions with ReLU per level, max-pooling on the way down, transposed
    convolutions on the way up.

    channels: of each level. The paper says four hierarchies, each with a pooling: (24, 48, 96, 192,
    384); the code has (24, 48, 96, 192), that is three poolings (printed_and_authors, 003.13).
    normalisation: "none" as printed, or "instance" before each ReLU, with which a network from
    random weights learns in far fewer steps. Input (B, C, H, W) with H and W multiples of 2^(levels
    - 1), output (B, 2, H, W). Raises ValueError for another normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (24, 48, 96, 192),
        normalisation: str = "none",
    ) -> None:
        super().__init__()
        if normalisation not in ("none", "instance"):
            raise ValueError(f"normalisation is {normalisation!r}; expected none or instance")
        block = partial(_double_convolution, normalised=normalisation == "instance")
        inward = [in_channels, *channels[:-1]]
        self.down = nn.ModuleList(block(before, after) for before, after in zip(inward, channels))
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(channels[1:], channels[:-1]))[::-1]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, 2, stride=2) for deep, shallow in pairs
        )
        self.merge = nn.ModuleList(block(2 * shallow, shallow) for _, shallow in pairs)
        self.head = nn.Conv2d(channels[0], OUTPUTS, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (B, 2, H, W)."""
        skipped, features = [], inputs
        for number, level in enumerate(self.down):
            features = level(self.pool(features) if number else features)
            skipped.append(features)
        for up, merge, skip in zip(self.up, self.merge, skipped[-2::-1]):
            features = merge(torch.cat([skip, up(features)], 1))
        return self.head(features)


@register("segmenter")
@dataclass(frozen=True)
class SegmentationNetwork(Network):
    """A segmentation network and what rebuilds it. divisor: rows and columns must be multiples of
    it."""

    model: nn.Module = field(repr=False)
    name: str
    in_channels: int
    options: dict[str, Any]
    divisor: int

    def arguments(self) -> dict[str, Any]:
        """Arguments of `create_segmenter`."""
        return {"name": self.name, "in_channels": self.in_channels, "options": self.options}

    @classmethod
    def rebuild(cls, arguments: Mapping[str, Any]) -> SegmentationNetwork:
        """The network with random weights."""
        return create_segmenter(**arguments)

    def check_size(self, size: int) -> None:
        """ParameterError where the network cannot take slices of `size`."""
        if size % self.divisor:
            raise ParameterError(
                f"{self.name} takes slices whose side is a multiple of {self.divisor}, not"
                f" {size} px"
            )


def create_segmenter(
    name: str, in_channels: int, options: Mapping[str, Any] | None = None, seed: int = 0
) -> SegmentationNetwork:
    """`unet` (options: channels) or `swin_unetr` (options of MONAI's SwinUNETR), initialised from
    `seed` alone.

    swin_unetr without options is the light size of Section 4.3.3: embedding 12, heads 2, 4, 8, 16.
    Raises ParameterError for another name or options that it does not take.
    """
    options = dict(options or {})
    require_known("segmentation network", name, _BUILDERS)
    with first_weights_from(seed):
        try:
            model, divisor = _BUILDERS[name](in_channels, options)
        except (TypeError, ValueError, AssertionError) as error:
            raise ParameterError(
                f"{name} cannot be built with the options {options}: {error}"
            ) from error
    return SegmentationNetwork(model, name, in_channels, options, divisor)


def _unet(in_channels: int, options: dict[str, Any]) -> tuple[nn.Module, int]:
    model = LightUNet(in_channels, **options)
    return model, 2 ** len(model.up)


def _swin_unetr(in_channels: int, options: dict[str, Any]) -> tuple[nn.Module, int]:
    from monai.networks.nets import SwinUNETR  # MONAI takes seconds to import

    settings = {**SWIN_UNETR, "spatial_dims": 2, **options}
    return SwinUNETR(in_channels=in_channels, out_channels=OUTPUTS, **settings), SWIN_UNETR_DIVISOR


def _double_convolution(before: int, after: int, normalised: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inward in (before, after):
        norm = [nn.InstanceNorm2d(after, affine=True)] if normalised else []
        layers += [nn.Conv2d(inward, after, 3, padding=1), *norm, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


_BUILDERS = {"unet": _unet, "swin_unetr": _swin_unetr}
