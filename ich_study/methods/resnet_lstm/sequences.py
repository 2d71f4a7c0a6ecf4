"""Stage 1b of ResNet-LSTM: backbone and LSTM trained over the slices of whole volumes, then a new
last layer.

The paper trains the whole network with SGD at 0.001 and then only says that fully connected layers
are added later; its authors' follow-up fits them on the frozen backbone (printed_and_authors,
002.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import DataError, ParameterError, StudyError
from ich_study.evaluate.slice_predictions import PREDICTION_COLUMNS
from ich_study.hashing import sha256_lines
from ich_study.inputs.augment import Augmentation
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.seeds import seeded_generator
from ich_study.inputs.slices import ROW_KEYS, SliceDataset, SliceSource
from ich_study.methods.resnet_lstm.network import LSTMSettings, ResNetLSTM, with_lstm, without_lstm
from ich_study.models.backbones import Backbone
from ich_study.models.weights import save_weights, state_digest
from ich_study.schema import typed
from ich_study.training.callbacks import WEIGHTS_FILE
from ich_study.training.epoch_loop import LoopRun, LoopSettings, fit
from ich_study.training.losses import BinaryCrossEntropy

FEATURE_BATCH = 32
Batch = tuple[Tensor, Tensor, list[int]]


def first_slices(rows: pd.DataFrame, length: int | None) -> tuple[pd.DataFrame, int]:
    """Rows of each scan's first `length` slices, in the order of scan and slice, and how many rows
    are lost.

    The author's notebook takes exactly the first 32 slices of every volume; None takes all. Raises
    ParameterError for a length below 1.
    """
    if length is not None and length < 1:
        raise ParameterError(
            f"sequence length is {length}; expected 1 slice or more, or none for the whole volume"
        )
    ordered = rows.sort_values(["scan_id", "slice_index"], ignore_index=True)
    kept = (
        ordered
        if length is None
        else ordered.groupby("scan_id", sort=False).head(length).reset_index(drop=True)
    )
    return kept, len(ordered) - len(kept)


class SequenceTask:
    """Batches of whole volumes for `epoch_loop.fit`: (input of all their slices, labels, slices of
    each volume).

    rows: of the slice index; unknown labels take no part in the loss. volumes_per_batch: the
    author's batch of 32 was one volume.
    """

    def __init__(
        self,
        source: SliceSource,
        parts: tuple[pd.DataFrame, pd.DataFrame],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        device: torch.device,
        *,
        sequence_length: int | None = None,
        volumes_per_batch: int = 1,
        seed: int = 0,
        positive_weight: float = 1.0,
        augmentation: Augmentation | None = None,
        cache_in_memory: bool = False,
    ) -> None:
        if volumes_per_batch < 1:
            raise ParameterError(f"volumes_per_batch is {volumes_per_batch}; expected at least 1")
        cut = [first_slices(rows, sequence_length) for rows in parts]
        self.lost = sum(lost for _, lost in cut)
        self.data = [
            SliceDataset(source, rows, classes, preprocessing, cache_in_memory) for rows, _ in cut
        ]
        self._volumes = [_places(data.rows) for data in self.data]
        self._criterion = BinaryCrossEntropy([positive_weight] * len(classes)).to(device)
        self._device, self._seed, self._per_batch, self._augmentation = (
            device,
            seed,
            volumes_per_batch,
            augmentation,
        )

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Volumes in an order drawn from (seed, epoch)."""
        volumes = self._volumes[0]
        order = torch.randperm(
            len(volumes), generator=seeded_generator(self._seed, epoch, 0)
        ).tolist()
        for number, start in enumerate(range(0, len(order), self._per_batch)):
            chosen = [volumes[place] for place in order[start : start + self._per_batch]]
            yield self._batch(0, chosen, seeded_generator(self._seed, epoch, 1, number))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Equation 1, the mean over slices."""
        inputs, labels, lengths = batch
        return self._criterion(model(inputs, lengths).float(), labels)

    def validation_loss(self, model: nn.Module) -> float:
        """Mean over the validation part's slices with a known label."""
        total, known = 0.0, 0
        for volume in self._volumes[1]:
            batch = self._batch(1, [volume], None)
            count = int((~batch[1].isnan()).sum())
            total, known = total + float(self.loss(model, batch)) * count, known + count
        if not known:
            raise DataError("no slice of the validation part has a known label")
        return total / known

    def _batch(
        self, part: int, volumes: Sequence[list[int]], generator: torch.Generator | None
    ) -> Batch:
        data = self.data[part]
        hu, labels = data.__getitems__([place for volume in volumes for place in volume])
        channels = data.preprocessing.channels(hu.to(self._device))
        if generator is not None and self._augmentation is not None:
            channels = self._augmentation(channels, generator)
        return (
            data.preprocessing.normalised(channels),
            labels.to(self._device),
            [len(volume) for volume in volumes],
        )


def train_sequences(
    backbone: Backbone,
    settings: LSTMSettings,
    task: SequenceTask,
    loop: LoopSettings,
    folder: Path,
    metadata: Mapping[str, Any],
    report: Callable[[str], None] = print,
    restart_changed: bool = False,
) -> LoopRun:
    """The whole network trained over volumes, from the trained `backbone`. `model` of the run is a
    `ResNetLSTM`."""
    network = with_lstm(backbone, settings, loop.seed)
    marks = {
        "stage": "lstm",
        "start": state_digest(backbone.model),
        **{f"lstm {name}": repr(value) for name, value in settings.describe().items()},
        **_marks_of(task),
    }
    return fit(
        network,
        task,
        loop,
        folder,
        marks,
        {**metadata, "lstm": settings.describe()},
        report,
        restart_changed,
    )


def predict_sequences(
    network: ResNetLSTM,
    source: SliceSource,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    device: torch.device,
    sequence_length: int | None = None,
    name: str = "any",
) -> pd.DataFrame:
    """Predictions of the slices that the sequence keeps, typed as
    `slice_predictions.PREDICTION_COLUMNS`, volume by volume.

    `network` is in evaluation mode on `device` and gives one logit. Raises StudyError for one that
    is not finite.
    """
    rows, _ = first_slices(rows, sequence_length)
    data = SliceDataset(source, rows, [name], preprocessing)
    logits = []
    with torch.inference_mode():
        for places in _places(data.rows):
            hu, _ = data.__getitems__(places)
            logits.append(
                network(preprocessing.inputs(hu.to(device)), [len(places)]).double().cpu()[:, 0]
            )
    values = torch.cat(logits).numpy()
    if not np.isfinite(values).all():
        raise StudyError(
            f"the network's output is not finite in {int((~np.isfinite(values)).sum())} slices"
        )
    labels = pd.Series(data.labels[:, 0].numpy())
    frame = (
        rows[ROW_KEYS]
        .reset_index(drop=True)
        .assign(
            **{
                "class": name,
                "label": (labels > 0.5).astype("boolean").mask(labels.isna()),
                "logit": values,
                "probability": 1 / (1 + np.exp(-values)),
            }
        )
    )
    return typed(frame, PREDICTION_COLUMNS, "predictions")


class HeadTask:
    """The last layer alone, on features that do not change: (features, labels) in shuffled
    batches."""

    def __init__(
        self,
        features: tuple[Tensor, Tensor],
        labels: tuple[Tensor, Tensor],
        batch_size: int,
        seed: int,
    ) -> None:
        self._features, self._labels, self._batch_size, self._seed = (
            features,
            labels,
            batch_size,
            seed,
        )
        self._criterion = BinaryCrossEntropy([1.0] * labels[0].shape[1]).to(features[0].device)

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Places of the slices of each batch, in an order drawn from (seed, epoch)."""
        order = torch.randperm(
            len(self._features[0]), generator=seeded_generator(self._seed, epoch, 2)
        )
        return iter(order.split(self._batch_size))

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        """Equation 1."""
        return self._criterion(model(self._features[0][batch]), self._labels[0][batch])

    def validation_loss(self, model: nn.Module) -> float:
        """Equation 1 over the whole validation part."""
        return float(self._criterion(model(self._features[1]), self._labels[1]))


def refit_last_layer(
    network: ResNetLSTM,
    backbone: Backbone,
    task: SequenceTask,
    loop: LoopSettings,
    folder: Path,
    metadata: Mapping[str, Any],
    batch_size: int = 32,
    report: Callable[[str], None] = print,
    restart_changed: bool = False,
) -> tuple[Backbone, str]:
    """The LSTM removed and a new fully connected layer fitted on the frozen backbone.

    Gives the classifier, in evaluation mode on the network's device, and the SHA-256 of its weights
    file in `folder`, which `evaluation.load_classifier` reads like that of any other classifier.
    """
    fresh = without_lstm(network, backbone, loop.seed)
    device = next(network.parameters()).device
    fresh.model.to(device).eval()
    features = tuple(_pooled(fresh.model, data, device) for data in task.data)
    labels = tuple(data.labels.to(device) for data in task.data)
    marks = {
        "stage": "last layer",
        "start": state_digest(fresh.model),
        "batch size": repr(batch_size),
        **_marks_of(task),
    }
    run = fit(
        fresh.model.get_classifier(),
        HeadTask(features, labels, batch_size, loop.seed),
        loop,
        folder / "head",
        marks,
        {},
        report,
        restart_changed,
    )
    return fresh, save_weights(
        folder / WEIGHTS_FILE, fresh.model, {**metadata, "epoch": run.best_epoch}
    )


def _pooled(model: nn.Module, data: SliceDataset, device: torch.device) -> Tensor:
    """Features (N, F) before the last layer, network in evaluation mode."""
    parts = []
    with torch.inference_mode():
        for places in torch.arange(len(data)).split(FEATURE_BATCH):
            hu, _ = data.__getitems__(places.tolist())
            parts.append(
                model.forward_head(
                    model.forward_features(data.preprocessing.inputs(hu.to(device))),
                    pre_logits=True,
                )
            )
    return torch.cat(parts).clone()


def _places(rows: pd.DataFrame) -> list[list[int]]:
    """Row numbers of each volume, in the order of its slices."""
    ordered = rows.sort_values(["scan_id", "slice_index"])
    return [group.index.tolist() for _, group in ordered.groupby("scan_id", sort=True)]


def _marks_of(task: SequenceTask) -> dict[str, str]:
    marks = {
        "volumes per batch": repr(task._per_batch),
        "augmentation": repr(task._augmentation),
        "seed": repr(task._seed),
    }
    for name, data in zip(("training", "validation"), task.data):
        keys = data.rows[ROW_KEYS].astype(str).agg(" ".join, axis=1)
        described = sorted(
            (key, repr(value)) for key, value in data.preprocessing.describe().items()
        )
        labels = [repr(row) for row in data.labels.tolist()]
        marks[f"{name} slices"] = sha256_lines(
            [data.source.content_hash, repr(described), *keys, *labels]
        )
    return marks


def metadata_of(
    backbone: Backbone, preprocessing: Preprocessing, classes: Sequence[str]
) -> dict[str, Any]:
    """What a checkpoint says of its network, as `evaluation.load_classifier` reads it."""
    described = replace(backbone).describe()
    return {
        "architecture": described,
        "preprocessing": preprocessing.describe(),
        "classes": list(classes),
        "two_outputs": False,
    }
