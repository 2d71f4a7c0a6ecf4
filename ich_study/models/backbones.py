"""Slice classifiers: any timm network with as many logits and input channels as the study asks.

Families in the study: ResNet, DenseNet, ResNet-RS and RDNet (LSE-UNet paper, Section 4),
EfficientNetV2 B0-B3, S, L (CAM benchmark, Section IV), ResNet-101 (ResNet-LSTM paper).
`options` are keyword arguments of the timm network; with them a small member of the same family
is a matter of parameters only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ich_study.errors import ParameterError, WeightsError, require_known
from ich_study.inputs.seeds import first_weights_from
from ich_study.models.registry import Network, register
from ich_study.models.settings import TRAINED, check_hash
from ich_study.models.sources import RANDOM, Source, read_source
from ich_study.models.weights import state_digest

RESERVED_OPTIONS = frozenset(
    {
        "num_classes",
        "in_chans",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "features_only",
    }
)
_EFFICIENTNET_V2_BASE = "tf_efficientnetv2_b0"
_BASE_MEMBERS = frozenset({"tf_efficientnetv2_b1", "tf_efficientnetv2_b2", "tf_efficientnetv2_b3"})
"""timm fixes these members' multipliers; they are the base network with other multipliers, so when
`options` sets one, the base network is built."""
_MESSAGE_LENGTH = 600
_MULTIPLIERS = frozenset({"channel_multiplier", "depth_multiplier"})


@register("backbone")
@dataclass(frozen=True)
class Backbone(Network):
    """A network and where its weights came from.

    model: (B, in_channels, H, W) float to (B, outputs) logits.
    input_mean, input_std: per RGB channel, of inputs in [0, 1], as the pretrained weights expect.
    weights_source: "random", a file's or package's name, or timm's name of the hub weights.
    weights_sha256: of the file; for hub weights, of the loaded tensors; None when random.
    weights_licence: of published weights; None when random or where nobody says.
    trained: "all", or the "head" alone.
    """

    model: nn.Module = field(repr=False)
    name: str
    outputs: int
    in_channels: int
    options: dict[str, Any]
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]
    weights_source: str
    weights_sha256: str | None
    weights_licence: str | None = None
    trained: str = "all"

    def arguments(self) -> dict[str, Any]:
        """All but the module; `rebuild` leaves out where the weights came from."""
        return {key: value for key, value in vars(self).items() if key != "model"}

    @classmethod
    def rebuild(cls, arguments: Mapping[str, Any], seed: int = 0) -> Backbone:
        """The network with random weights that depend on `seed`."""
        names = ("name", "outputs", "in_channels", "options")
        return create_backbone(**{name: arguments[name] for name in names}, seed=seed)


def create_backbone(
    name: str,
    outputs: int,
    in_channels: int = 3,
    weights: str | None = None,
    weights_sha256: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    trained: str = "all",
) -> Backbone:
    """The timm network `name` with `outputs` logits for `in_channels` input channels.

    weights: None for random ones, "hub" for timm's published ones from its cache or its hub, else
    what `sources.read_source` takes. The whole network is loaded strictly, with its published
    classifier where the file has one; then the classifier is replaced by a freshly initialised one.
    timm adapts a first convolution of three channels to `in_channels`. What is initialised at
    random depends on `seed` alone; PyTorch's global stream stays where it was.

    trained: see `train_only`.

    Raises ParameterError for an unknown network, source or option; WeightsError when the weights
    are absent, unreachable, of another hash or of another network. Never falls back to random ones.
    """
    import timm  # slow to import

    options = dict(options or {})
    _check_request(name, options)
    check_hash(weights, weights_sha256)
    config, source = timm.get_pretrained_cfg(name), RANDOM
    with first_weights_from(seed):
        if weights is None:
            model = _build(name, options, num_classes=outputs, in_chans=in_channels)
        elif weights == "hub":
            model = _loaded(name, in_channels, options, {}, f"timm's published weights of {name}")
            model.reset_classifier(outputs)
            named = (config.hf_hub_id or name, {}, state_digest(model), config.license)
            source = Source(*named, None, None)
        else:
            source = read_source(weights, weights_sha256)
            overlay = _of_source(name, source, in_channels)
            model = _loaded(name, in_channels, options, overlay, weights)
            model.pretrained_cfg.pop("state_dict", None)
            model.reset_classifier(outputs)
    train_only(model, trained)
    return Backbone(
        model,
        name,
        outputs,
        in_channels,
        options,
        source.mean or tuple(config.mean),
        source.std or tuple(config.std),
        source.name,
        source.sha256,
        source.licence,
        trained,
    )


def train_only(model: nn.Module, trained: str) -> None:
    """Which weights of a timm classifier learn: "all", or its "head" alone.

    Batch norms of a body that does not learn still take the training slices' mean and variance, so
    that weights from other pictures see inputs on their own scale.
    """
    require_known("trained", trained, TRAINED)
    model.requires_grad_(trained == "all")
    model.get_classifier().requires_grad_(True)


def class_logits(outputs: Tensor, two_outputs: bool) -> Tensor:
    """Network outputs as one logit per class (B, K): with two outputs, present minus absent, whose
    sigmoid is the softmax probability of present."""
    return outputs[:, 1:] - outputs[:, :1] if two_outputs else outputs


def _check_request(name: str, options: dict[str, Any]) -> None:
    import timm

    if not timm.is_model(name.split(".")[0]):
        similar = timm.list_models(f"*{name.split('.')[0][:6]}*")[:8]
        raise ParameterError(
            f"timm has no network {name!r}; similar names: {', '.join(similar) or 'none'}"
        )
    reserved = sorted(RESERVED_OPTIONS & set(options))
    if reserved:
        raise ParameterError(
            f"options {reserved} of {name} are set by their own parameters, not through options"
        )


def _build(name: str, options: dict[str, Any], **arguments: Any) -> nn.Module:
    import timm

    entry = name.split(".")[0]
    if entry in _BASE_MEMBERS and _MULTIPLIERS & set(options):
        name = _EFFICIENTNET_V2_BASE
    try:
        return timm.create_model(name, **arguments, **options)
    except TypeError as error:
        raise ParameterError(f"{name} does not take the options {options}: {error}") from error
    except (AssertionError, IndexError, ValueError) as error:
        raise ParameterError(
            f"{name} cannot be built with the options {options}: {error!r}"
        ) from error


def _loaded(
    name: str, in_channels: int, options: dict[str, Any], overlay: dict[str, Any], wanted: str
) -> nn.Module:
    """The network with the weights that timm's entry and `overlay` lead to; `wanted` names them."""
    try:
        return _build(
            name, options, in_chans=in_channels, pretrained=True, pretrained_cfg_overlay=overlay
        )
    except ParameterError:
        raise
    except (
        Exception
    ) as error:  # the hub client raises its own and the network's errors, none of them a fallback
        raise WeightsError(
            f"{wanted} cannot be loaded into {name}"
            f"{f' with the options {options}' if options else ''}: {_shortened(error)}"
        ) from error


def _of_source(name: str, source: Source, in_channels: int) -> dict[str, Any]:
    """What timm is told of the file: its tensors, classes (0 without a classifier) and channels."""
    import timm

    config = timm.get_pretrained_cfg(name)
    classifier = source.tensors.get(f"{config.classifier}.weight")
    first = source.tensors.get(f"{config.first_conv}.weight")
    overlay = {
        "state_dict": source.tensors,
        "num_classes": 0 if classifier is None else len(classifier),
    }
    # timm leaves a first convolution at random, unsaid, that it cannot adapt
    if first is not None and first.shape[1] == in_channels:
        overlay["first_conv"] = None
    elif first is not None and first.shape[1] != 3:
        raise WeightsError(
            f"{source.name} takes {first.shape[1]} input channels; expected {in_channels} or 3"
        )
    return overlay


def _shortened(error: Exception) -> str:
    message = " ".join(str(error).split())
    return message if len(message) <= _MESSAGE_LENGTH else f"{message[:_MESSAGE_LENGTH]} ..."
