"""Stage 1b of ResNet-LSTM: backbone and LSTM trained over the slices of whole volumes, then a new
last layer.

The paper trains the whole network with SGD at 0.001 and then only says that fully connected layers
are added later; its authors' follow-up fits them on the frozen backbone (printed_and_authors,
002.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import ParameterError
from ich_study.evaluate.slice_predictions import prediction_table
from ich_study.inputs.augment import Augmentation
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.seeds import seeded_generator
from ich_study.inputs.slices import SliceDataset, SliceSource
from ich_study.methods.resnet_lstm.network import (
    LastLayer,
    LSTMSettings,
    ResNetLSTM,
    with_lstm,
    without_lstm,
)
from ich_study.models.backbones import Backbone
from ich_study.models.weights import WEIGHTS_FILE, save_weights, state_digest
from ich_study.training.config import LoopSettings, TrainingConfig
from ich_study.training.learner import sampled_batches
from ich_study.training.loop import Run, fit
from ich_study.training.losses import BinaryCrossEntropy
from ich_study.training.resume import slice_marks
from ich_study.training.task import (
    Batch,
    BatchLoader,
    Task,
    ordered_batches,
    shuffled_batches,
)

FEATURE_BATCH = 32


def first_slices(rows: pd.DataFrame, length: int | None) -> pd.DataFrame:
    """Rows of each scan's first `length` slices, in the order of scan and slice.

    The author's notebook takes exactly the first 32 slices of every volume; None takes all. Raises
    ParameterError for a length below 1.
    """
    if length is not None and length < 1:
        raise ParameterError(
            f"sequence length is {length}; expected 1 slice or more, or none for the whole volume"
        )
    ordered = rows.sort_values(["scan_id", "slice_index"], ignore_index=True)
    if length is None:
        return ordered
    return ordered.groupby("scan_id", sort=False).head(length).reset_index(drop=True)


class SequenceTask(Task):
    """Batches of whole volumes: input of all their slices, slices of each volume, labels.

    rows: of the slice index; unknown labels take no part in the loss. volumes_per_batch: the
    author's batch of 32 was one volume.
    """

    def __init__(
        self,
        source: SliceSource,
        parts: tuple[pd.DataFrame, pd.DataFrame],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        *,
        volumes_per_batch: int = 1,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        cache_in_memory: bool = False,
    ) -> None:
        if volumes_per_batch < 1:
            raise ParameterError(f"volumes_per_batch is {volumes_per_batch}; expected at least 1")
        self.rows = [first_slices(rows, None) for rows in parts]
        self.data = [
            SliceDataset(source, rows, classes, preprocessing, cache_in_memory)
            for rows in self.rows
        ]
        self.loss = BinaryCrossEntropy([1.0] * len(classes))
        self._volumes = [_volumes(data.rows) for data in self.data]
        self._seed, self._per_batch, self._augmentation = seed, volumes_per_batch, augmentation

    def loaders(self, device: torch.device) -> tuple[BatchLoader, BatchLoader]:
        """Volumes in an order drawn from (seed, epoch), augmented; each validation volume alone."""
        shuffled = shuffled_batches(
            partial(_shuffled, len(self._volumes[0]), self._seed, 0), self._per_batch
        )
        ordered = ordered_batches(len(self._volumes[1]), 1)
        return (
            BatchLoader(shuffled, partial(self._read, device, 0, self._augmentation)),
            BatchLoader(ordered, partial(self._read, device, 1, None)),
        )

    def weight(self, targets: Tensor) -> float:
        """Slices with a known label."""
        return int((~targets.isnan()).sum())

    def marks(self) -> dict[str, str]:
        """Batches, augmentation, and hashes of both parts' slices."""
        described = sorted(self.data[0].preprocessing.describe().items())
        return {
            "volumes per batch": repr(self._per_batch),
            "augmentation": repr(self._augmentation),
            "order from": repr(self._seed),
            "preprocessing": repr(described),
            **slice_marks(dict(zip(("training", "validation"), self.data))),
        }

    def _read(
        self,
        device: torch.device,
        part: int,
        augmentation: Augmentation | None,
        chosen: list[int],
        epoch: int,
        number: int,
    ) -> Batch:
        data, volumes = self.data[part], [self._volumes[part][index] for index in chosen]
        hu, labels = data.__getitems__([row for volume in volumes for row in volume])
        generator = seeded_generator(self._seed, epoch, 1, number)
        if augmentation is not None:
            hu = augmentation.pictures(hu, generator)
        channels = data.preprocessing.channels(hu.to(device))
        if augmentation is not None:
            channels = augmentation(channels, generator)
        lengths = [len(volume) for volume in volumes]
        return data.preprocessing.normalised(channels), lengths, labels.to(device)


def _shuffled(count: int, seed: int, stream: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=seeded_generator(seed, epoch, stream))


def train_sequences(
    backbone: Backbone,
    settings: LSTMSettings,
    task: SequenceTask,
    loop: LoopSettings,
    folder: Path,
    metadata: Mapping[str, Any],
) -> Run:
    """The whole network trained over volumes, from the trained `backbone`. `model` of the run is a
    `ResNetLSTM`."""
    network = with_lstm(backbone, settings, loop.seed)
    return fit(network, task, loop, folder, metadata)


def predict_sequences(
    network: ResNetLSTM,
    source: SliceSource,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    device: torch.device,
) -> pd.DataFrame:
    """Predictions of all slices, typed as `slice_predictions.PREDICTION_COLUMNS`, volume by volume.

    `network` is in evaluation mode on `device` and gives one logit. Raises StudyError for one that
    is not finite.
    """
    rows = first_slices(rows, None)
    data = SliceDataset(source, rows, ["any"], preprocessing)
    logits = []
    with torch.inference_mode():
        for places in _volumes(data.rows):
            hu, _ = data.__getitems__(places)
            logits.append(
                network(preprocessing.inputs(hu.to(device)), [len(places)]).double().cpu()
            )
    labels = data.labels.numpy()
    return prediction_table(data.rows, labels, torch.cat(logits).numpy(), ["any"])


class HeadTask(Task):
    """The last layer alone, on features that do not change, in the batches that the classifier
    learned from.

    features: (slices, F) of both parts of `sequences`, in the order of its rows. config: the
    classifier's, for its sampler.
    """

    def __init__(
        self, features: tuple[Tensor, Tensor], sequences: SequenceTask, config: TrainingConfig
    ) -> None:
        self._features, self._sequences, self._config = features, sequences, config
        self._labels = tuple(data.labels for data in sequences.data)
        self.loss = sequences.loss

    def loaders(self, device: torch.device) -> tuple[BatchLoader, BatchLoader]:
        """Slices as the classifier's sampler draws them, and all of validation at once."""
        drawn = sampled_batches(self._sequences.rows[0], self._config)
        count = len(self._features[1])
        return (
            BatchLoader(drawn, partial(self._read, device, 0)),
            BatchLoader(ordered_batches(count, count), partial(self._read, device, 1)),
        )

    def marks(self) -> dict[str, str]:
        """What batches and features come from."""
        names = ("sampler", "seed", "batch_size", "max_train_batches")
        return {
            **{f"classifier's {name}": repr(getattr(self._config, name)) for name in names},
            **self._sequences.marks(),
        }

    def _read(self, device: torch.device, part: int, rows: list[int], _: int, __: int) -> Batch:
        return self._features[part][rows].to(device), self._labels[part][rows].to(device)


def refit_last_layer(
    network: ResNetLSTM,
    backbone: Backbone,
    task: SequenceTask,
    config: TrainingConfig,
    loop: LoopSettings,
    folder: Path,
    metadata: Mapping[str, Any],
) -> tuple[Backbone, str]:
    """The LSTM removed and a new fully connected layer fitted on the frozen backbone.

    It learns from the batches that the classifier before it learned from (`config`): where that one
    saw negatives of the positives' heights alone, a layer that sees all slices would take from
    pooled features what tells a slice's height, and its map would lie beside the lesions.

    Gives the classifier, in evaluation mode on the network's device, and the SHA-256 of its weights
    file in `folder`, which `registry.load` reads like that of any other classifier.
    """
    fresh = without_lstm(network, backbone, loop.seed)
    device = next(network.parameters()).device
    fresh.model.to(device).eval()
    features = tuple(_pooled(fresh.model, data, device) for data in task.data)
    layer = LastLayer(fresh.model.get_classifier(), state_digest(fresh.model))
    run = fit(layer, HeadTask(features, task, config), loop, folder / "head", metadata)
    described = {"architecture": fresh.describe(), **metadata, "epoch": run.best_epoch}
    return fresh, save_weights(folder / WEIGHTS_FILE, fresh.model, described)


def _pooled(model: nn.Module, data: SliceDataset, device: torch.device) -> Tensor:
    """Features (N, F) before the last layer, network in evaluation mode."""
    parts = []
    with torch.inference_mode():
        for places in torch.arange(len(data)).split(FEATURE_BATCH):
            hu, _ = data.__getitems__(places.tolist())
            maps = model.forward_features(data.preprocessing.inputs(hu.to(device)))
            parts.append(model.forward_head(maps, pre_logits=True))
    return torch.cat(parts).clone()


def _volumes(rows: pd.DataFrame) -> list[list[int]]:
    """Row numbers of each volume, in the order of its slices."""
    ordered = rows.sort_values(["scan_id", "slice_index"])
    return [group.index.tolist() for _, group in ordered.groupby("scan_id", sort=True)]


def metadata_of(preprocessing: Preprocessing, classes: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint says of a network's input and output, like that of any classifier."""
    return {
        "preprocessing": preprocessing.describe(),
        "classes": list(classes),
        "two_outputs": False,
    }
