"""A slice classifier with an LSTM over the slices of a volume, and the classifier that is left when
the LSTM goes.

ResNet-LSTM, Section 2: the fully connected layer gives way to an LSTM over the slices, everything
is trained on, then the LSTM is removed and a new fully connected layer added. Size, depth and
direction of the LSTM and the sequence are not printed: 256 units, one direction and one logit per
slice are the follow-up's value and the only readings that can be trained (printed_and_authors,
002.3).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from ich_study.inputs.seeds import first_weights_from
from ich_study.methods.resnet_lstm.settings import LSTMSettings
from ich_study.models.backbones import Backbone
from ich_study.models.registry import Network, rebuild, register
from ich_study.models.weights import state_digest


class ResNetLSTM(nn.Module):
    """Backbone without its fully connected layer, LSTM over each volume's slices, one linear layer
    for every slice."""

    def __init__(self, features: nn.Module, settings: LSTMSettings, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.lstm = nn.LSTM(
            features.num_features,
            settings.hidden,
            settings.layers,
            batch_first=True,
            bidirectional=settings.bidirectional,
        )
        self.classifier = nn.Linear(settings.width, outputs)

    def forward(self, inputs: Tensor, lengths: Sequence[int]) -> Tensor:
        """Logits (N, outputs) of the slices of one or more volumes.

        inputs: (N, C, H, W), volumes one after the other, slices in order. lengths: slices of each
        volume, N in all. Padding never meets the backbone, so it takes no part in its batch
        statistics, and the LSTM never steps over it.
        """
        return self.head(self.features(inputs), lengths)

    def head(self, features: Tensor, lengths: Sequence[int]) -> Tensor:
        """Logits (N, outputs) from the backbone's features (N, F)."""
        packed = pack_sequence(list(features.split(list(lengths))), enforce_sorted=False)
        stepped, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        valid = torch.cat([volume[:length] for volume, length in zip(stepped, lengths)])
        return self.classifier(valid)


@register("resnet_lstm")
@dataclass(frozen=True)
class SequenceNetwork(Network):
    """A ResNet-LSTM as training and the checkpoints know one.

    backbone: description of the classifier that `with_lstm` took. start: digest of that one's
    weights.
    """

    model: ResNetLSTM = field(repr=False)
    backbone: dict[str, Any]
    settings: LSTMSettings
    start: str

    def arguments(self) -> dict[str, Any]:
        """Classifier, LSTM and start."""
        return {"backbone": self.backbone, "lstm": self.settings.describe(), "start": self.start}

    @classmethod
    def rebuild(cls, arguments: Mapping[str, Any]) -> SequenceNetwork:
        """The network with random weights."""
        described, settings = arguments["backbone"], LSTMSettings.read(arguments["lstm"])
        network = with_lstm(rebuild(described), settings)
        return replace(network, backbone=described, start=arguments["start"])


@register("last_layer")
@dataclass(frozen=True)
class LastLayer(Network):
    """A fully connected layer over features that do not change. start: digest of the network whose
    features and first weights they are."""

    model: nn.Linear = field(repr=False)
    start: str

    def arguments(self) -> dict[str, Any]:
        """Size and start."""
        layer = self.model
        return {
            "features": layer.in_features,
            "outputs": layer.out_features,
            "start": self.start,
        }

    @classmethod
    def rebuild(cls, arguments: Mapping[str, Any]) -> LastLayer:
        """The layer with random weights."""
        layer = nn.Linear(arguments["features"], arguments["outputs"])
        return cls(layer, arguments["start"])


def with_lstm(backbone: Backbone, settings: LSTMSettings, seed: int = 0) -> SequenceNetwork:
    """A copy of a trained classifier with an LSTM in place of its fully connected layer.

    What is new is initialised from `seed` alone; `backbone` stays as it is.
    """
    start, features = state_digest(backbone.model), copy.deepcopy(backbone.model)
    features.reset_classifier(0)
    with first_weights_from(seed):
        model = ResNetLSTM(features, settings, backbone.outputs)
    return SequenceNetwork(model, backbone.describe(), settings, start)


def without_lstm(network: ResNetLSTM, backbone: Backbone, seed: int = 0) -> Backbone:
    """The LSTM removed: the backbone's trained features under a fresh fully connected layer, still
    to be fitted.

    backbone: the classifier that `with_lstm` took, for its description.
    """
    model = copy.deepcopy(network.features)
    with first_weights_from(seed):
        model.reset_classifier(backbone.outputs)
    return replace(backbone, model=model)
