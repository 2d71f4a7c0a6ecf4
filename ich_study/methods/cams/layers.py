"""Which layers a CAM looks at, and how their outputs become maps.

The CAM benchmark says [-1], [-2], [-3] of "the last three convolutional layers" and names no
module. Its Table II excludes the head convolution for [-1]: there GradCAM, HiResCAM and XGradCAM
would be equal, and they are printed as 0.3640, 0.4219 and 0.0772 (printed_and_authors, 001.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ich_study.errors import ParameterError, require_known

DEPTHS = ("[-1]", "[-2]", "[-3]")
READINGS = ("blocks", "stages")
_STAGE_ATTRIBUTES = ("blocks", "stages", "layers")
_RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4")


def channels_last(model: nn.Module) -> bool:
    """Whether a timm network's stages give (B, h, w, C), as those of Swin do; it says so itself."""
    return getattr(model, "output_fmt", "NCHW") == "NHWC"


def timm_layers(
    model: nn.Module, reading: str = "blocks", depths: Sequence[str] = DEPTHS
) -> dict[str, nn.Module]:
    """Modules of the printed depths of a timm network, by depth.

    reading "blocks": timm's stages `blocks[-1]`, `blocks[-2]`, `blocks[-3]` (EfficientNetV2-S at
    512 px: 256 x 16 x 16, 160 x 32 x 32, 128 x 32 x 32), the reading that Table II supports. Other
    families: their last stages. reading "stages": counted from the head convolution as
    torchvision's `features` are, so that [-1] is the head convolution's output and [-3] is stage 5,
    `blocks[-2]`; EfficientNet only. Raises ParameterError for another reading, an unknown depth, or
    a network without such stages.
    """
    require_known("reading of the CAM layers", reading, READINGS)
    chain = list(stages_of(model))
    if reading == "stages":
        if not isinstance(getattr(model, "bn2", None), nn.Module) or not hasattr(
            model, "conv_head"
        ):
            raise ParameterError(
                f"{type(model).__name__} has no head convolution; the reading stages is for"
                " EfficientNet, use blocks"
            )
        chain.append(model.bn2)
    found = {}
    for depth in depths:
        if depth not in {f"[-{number}]" for number in range(1, len(chain) + 1)}:
            raise ParameterError(
                f"depth {depth!r}: {type(model).__name__} has [-1] to [-{len(chain)}]"
            )
        found[depth] = chain[int(depth[1:-1])]
    return found


def stages_of(model: nn.Module) -> list[nn.Module]:
    """Stages of a timm network, first to last; ParameterError for a family that is not known
    here."""
    for name in _STAGE_ATTRIBUTES:
        stages = getattr(model, name, None)
        if isinstance(stages, nn.Sequential | nn.ModuleList) and len(stages):
            return list(stages)
    if all(isinstance(getattr(model, name, None), nn.Module) for name in _RESNET_STAGES):
        return [getattr(model, name) for name in _RESNET_STAGES]
    raise ParameterError(
        f"{type(model).__name__} has none of {', '.join(_STAGE_ATTRIBUTES)} and is no ResNet; name"
        " its CAM layers by hand"
    )
