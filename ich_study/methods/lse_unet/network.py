"""LSE-UNet: a classifier as encoder, a decoder back to stride 4, class scores at four levels.

LSE-UNet paper, Section 3.1 and Figure 3; what its text leaves open is read as the authors' code
does it (printed_and_authors, 000.3). Levels are numbered as in Eq. 6, from the finest (0, stride 4)
to the coarsest (3, stride 32).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from ich_study.errors import ParameterError, require_known
from ich_study.inputs.seeds import first_weights_from
from ich_study.inputs.settings import Settings, one_of
from ich_study.methods.lse_unet.pooling import REDUCTIONS, LSEPooling
from ich_study.models.backbones import Backbone
from ich_study.models.registry import Network, load, rebuild, register

STRIDES = (4, 8, 16, 32)
LevelOutputs = list[tuple[Tensor, Tensor]]
"""Per level, finest first: class scores (B, classes, rows, columns) and logits (B, classes)."""


class LSESettings(Settings):
    """Where the paper and its authors' code differ in the network; `printed` and `authors` of
    LSE_VARIANTS."""

    r: PositiveFloat = Field(description="sharpness of the pooling, see `LSEPooling`")
    reduction: Annotated[str, one_of(REDUCTIONS)] = Field(
        description="of the exponentials: sum (Eq. 4) or mean (authors)"
    )
    divided: bool = Field(description="the logarithm is divided by r")
    bias: bool = Field(description="a learnable number per class is subtracted from the map")
    depth_to_space: Annotated[str, one_of(("crd", "dcr"))] = Field(
        description="order of the channels: crd (PyTorch's pixel shuffle) or dcr (TensorFlow's and"
        " the authors')"
    )
    squeeze_excitation: Annotated[str, one_of(("se", "ese"))] = Field(
        description="se (Hu et al., whom the paper cites) or ese (one convolution, hard sigmoid:"
        " the authors')"
    )


LSE_VARIANTS: dict[str, LSESettings] = {
    "printed": LSESettings(
        r=3,
        reduction="sum",
        divided=False,
        bias=False,
        depth_to_space="crd",
        squeeze_excitation="se",
    ),
    "authors": LSESettings(
        r=6,
        reduction="mean",
        divided=True,
        bias=True,
        depth_to_space="dcr",
        squeeze_excitation="ese",
    ),
}


def lse_settings(variant: str, changes: Mapping[str, Any]) -> LSESettings:
    """The settings of a variant with some of them changed; ParameterError for an unknown variant or
    setting."""
    require_known("variant", variant, LSE_VARIANTS)
    return LSE_VARIANTS[variant].changed(**changes)


def depth_to_space(features: Tensor, order: str) -> Tensor:
    """(B, 4 C, rows, columns) to (B, C, 2 rows, 2 columns). crd: 4 neighbouring channels make a
    block; dcr: channels C apart do."""
    if order == "crd":
        return functional.pixel_shuffle(features, 2)
    batch, channels, rows, columns = features.shape
    blocks = features.reshape(batch, 2, 2, channels // 4, rows, columns)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // 4, 2 * rows, 2 * columns)


class FeatureEncoder(nn.Module):
    """A classifier without its head, giving its features at strides 4, 8, 16 and 32, finest first.

    The features are outputs of the network's stages as timm lists them (`feature_info`), for
    RDNet-T at 512 px 256 channels at 128 px, 440 at 64, 744 at 32 and 1040 at 16, before any final
    norm.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.network, self.in_channels = backbone.model, backbone.in_channels
        last = {entry["reduction"]: entry for entry in self.network.feature_info}
        if not set(STRIDES) <= set(last):
            raise ParameterError(
                f"{backbone.name} gives features at strides {sorted(last)}; LSE-UNet needs"
                f" {list(STRIDES)}"
            )
        self._modules_of_levels = [last[stride]["module"] for stride in STRIDES]
        self.channels = [int(last[stride]["num_chs"]) for stride in STRIDES]
        head = str(self.network.pretrained_cfg["classifier"]).split(".")[0]
        setattr(self.network, head, nn.Identity())

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Features of the four levels."""
        taken: list[Tensor] = []
        handles = [
            self.network.get_submodule(name).register_forward_hook(
                lambda module, arguments, output: taken.append(output)
            )
            for name in self._modules_of_levels
        ]
        try:
            self.network.forward_features(inputs)
        finally:
            for handle in handles:
                handle.remove()
        return taken


class UpsamplingBlock(nn.Module):
    """Conv 1x1 to the finer level's channels, Conv 3x3 to four times as many, depth to space, layer
    norm."""

    def __init__(self, channels: int, finer: int, order: str) -> None:
        from timm.layers import LayerNorm2d  # slow to import

        super().__init__()
        self.narrow, self.widen = (
            nn.Conv2d(channels, finer, 1),
            nn.Conv2d(finer, 4 * finer, 3, padding=1),
        )
        self.norm, self._order = LayerNorm2d(finer, eps=1e-6), order

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, rows, columns) to (B, finer, 2 rows, 2 columns)."""
        return self.norm(depth_to_space(self.widen(self.narrow(features)), self._order))


class ConvolutionBlock(nn.Module):
    """Conv 1x1 of the encoder's and the upsampled features to the level's channels, layer norm,
    ReLU, squeeze and excitation."""

    def __init__(self, channels: int, excitation: type[nn.Module]) -> None:
        from timm.layers import LayerNorm2d  # slow to import

        super().__init__()
        self.join, self.norm, self.excite = (
            nn.Conv2d(2 * channels, channels, 1),
            LayerNorm2d(channels, eps=1e-6),
            excitation(channels),
        )

    def forward(self, skipped: Tensor, upsampled: Tensor) -> Tensor:
        """Two (B, channels, rows, columns) to one."""
        return self.excite(
            functional.relu(self.norm(self.join(torch.cat([skipped, upsampled], 1))))
        )


class LSEUNet(nn.Module):
    """In training mode `LevelOutputs`; in evaluation mode the finest level's logits (B,
    outputs)."""

    def __init__(self, encoder: FeatureEncoder, outputs: int, settings: LSESettings) -> None:
        from timm.layers import EffectiveSEModule, SEModule  # slow to import

        super().__init__()
        channels = encoder.channels
        excitation = SEModule if settings.squeeze_excitation == "se" else EffectiveSEModule
        self.encoder, self.deepest = encoder, excitation(channels[-1])
        self.up = nn.ModuleList(
            UpsamplingBlock(coarse, fine, settings.depth_to_space)
            for fine, coarse in pairwise(channels)
        )
        self.blocks = nn.ModuleList(ConvolutionBlock(count, excitation) for count in channels[:-1])
        self.scores = nn.ModuleList(nn.Conv2d(count, outputs, 1) for count in channels)
        pooling = (outputs, settings.r, settings.reduction, settings.divided, settings.bias)
        self.pooling = nn.ModuleList(LSEPooling(*pooling) for _ in channels)

    def forward(self, inputs: Tensor) -> LevelOutputs | Tensor:
        """inputs: (B, channels, H, W), H and W multiples of 32."""
        return self.level_outputs(inputs) if self.training else self.maps_and_logits(inputs)[1]

    def level_outputs(self, inputs: Tensor) -> LevelOutputs:
        """Class scores and logits of the four levels, as the loss takes them (Eq. 6 and 7)."""
        outputs = []
        for features, score, pool in zip(self.decoded(inputs), self.scores, self.pooling):
            scores = score(features)
            outputs.append((scores, pool(scores)[1]))
        return outputs

    def maps_and_logits(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled score maps of the finest level, float32 (B, outputs, H / 4, W / 4), and its
        logits."""
        return self.pooling[0](self.scores[0](self.decoded(inputs)[0]))

    def decoded(self, inputs: Tensor) -> list[Tensor]:
        """Decoder features of the four levels, finest first."""
        if any(side % STRIDES[-1] for side in inputs.shape[2:]):
            raise ParameterError(
                f"slices of {tuple(inputs.shape[2:])} pixels; LSE-UNet needs sides that are"
                f" multiples of {STRIDES[-1]}"
            )
        skipped = self.encoder(inputs)
        levels = [self.deepest(skipped[-1])]
        for number in reversed(range(len(self.up))):
            levels.insert(0, self.blocks[number](skipped[number], self.up[number](levels[0])))
        return levels


@register("lse_unet")
@dataclass(frozen=True)
class LSENetwork(Network):
    """An LSE-UNet and where its first weights came from; what `training.learner.train_classifier`
    trains.

    encoder: `Backbone.describe()` of the classifier that became the encoder.
    """

    model: LSEUNet = field(repr=False)
    outputs: int
    in_channels: int
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    encoder: dict[str, Any]
    settings: LSESettings

    def arguments(self) -> dict[str, Any]:
        """Outputs, encoder and settings."""
        return {
            "outputs": self.outputs,
            "encoder": self.encoder,
            "settings": self.settings.describe(),
        }

    @classmethod
    def rebuild(cls, arguments: Mapping[str, Any]) -> LSENetwork:
        """The network with random weights."""
        encoder, settings = arguments["encoder"], LSESettings.read(arguments["settings"])
        network = create_lse_unet(rebuild(encoder), arguments["outputs"], settings)
        return replace(network, encoder=dict(encoder))


def create_lse_unet(
    encoder: Backbone, outputs: int, settings: LSESettings, seed: int = 0, size: int | None = None
) -> LSENetwork:
    """LSE-UNet around `encoder`, whose modules it takes over (the head is dropped); the decoder's
    weights depend on `seed` alone.

    size: rows and columns of the training slices. With it, a sum over n positions (Eq. 4) starts at
    logits near 0 instead of near log n, 9.7 at 512 px: each level's scores begin at -log(n) / r.
    """
    with first_weights_from(seed):
        model = LSEUNet(FeatureEncoder(encoder), outputs, settings)
    if size is not None and settings.reduction == "sum":
        for score, stride in zip(model.scores, STRIDES):
            nn.init.constant_(score.bias, -2 * math.log(size / stride) / settings.r)
    return LSENetwork(
        model,
        outputs,
        encoder.in_channels,
        encoder.input_mean,
        encoder.input_std,
        encoder.describe(),
        settings,
    )


def trained_encoder(path: Path) -> Backbone:
    """The classifier of a `01_backbones` checkpoint, weights loaded strictly.

    Raises WeightsError where the file is absent, of no timm classifier, or does not fit its own
    description.
    """
    found = load(path, torch.device("cpu"), Backbone)
    return replace(found.network, weights_source=path.name, weights_sha256=found.sha256)
