"""Training a slice classifier: any network of the study that gives one logit per class and slice.

In training mode a network may give more than that, for a loss of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import ParameterError
from ich_study.evaluate.slice_position import head_positions
from ich_study.evaluate.top_epochs import top_epochs
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.samplers import TrainingBatches, epoch_order
from ich_study.inputs.slices import SliceDataset, SliceLoader, SliceSource, label_tensor
from ich_study.metrics.classification import auroc, decision_metrics
from ich_study.models.backbones import class_logits
from ich_study.models.weights import known_patients, load_weights, verify_file
from ich_study.paths import resolve
from ich_study.splits.overlap import patient_marks
from ich_study.training.config import TrainingConfig
from ich_study.training.distributed import rank
from ich_study.training.loop import Run, fit
from ich_study.training.losses import build_loss
from ich_study.training.resume import slice_marks
from ich_study.training.task import Task, ordered_batches, shuffled_batches

VALIDATION_BATCH_FACTOR = 2


class Classifier(Protocol):
    """A network to train; `models.backbones.Backbone` is one. In evaluation mode `model` gives
    logits (B, outputs)."""

    model: nn.Module
    outputs: int
    in_channels: int
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]


class Loss(Protocol):
    """A loss of its own for a network; an `nn.Module`."""

    def __call__(self, outputs: Any, labels: Tensor) -> Tensor:
        """Scalar of what the network gives in training mode, or of the logits that it gives in
        evaluation mode."""

    def describe(self) -> dict[str, Any]:
        """JSON-able description; a run is resumed only with the same one."""


@dataclass(frozen=True)
class TrainingRun(Run):
    """A finished training of a classifier. history: `auroc, auroc_mean, f1, accuracy` too.
    top_epochs: of `evaluate.top_epochs`, of the primary class."""

    config: TrainingConfig
    preprocessing: Preprocessing
    top_epochs: pd.DataFrame


class Classification(Task):
    """Slices and their labels; unknown labels take no part in the loss."""

    fused = True

    def __init__(
        self,
        config: TrainingConfig,
        preprocessing: Preprocessing,
        source: SliceSource,
        parts: tuple[pd.DataFrame, pd.DataFrame],
        loss: Loss | None = None,
        first_sha256: str | None = None,
    ) -> None:
        self._config, self._preprocessing = config, preprocessing
        self._source, self._parts = source, parts
        self._own, self._first = loss, first_sha256
        self.loss = loss or build_loss(config)
        # fastai moves the loss to the device; scores are made on the CPU
        self._criterion = build_loss(config)

    def loaders(self, device: torch.device) -> tuple[SliceLoader, SliceLoader]:
        """Augmented batches of the sampler, and all slices in their order."""
        config = self._config
        train, validation = self._datasets(config.cache_in_memory).values()
        ordered = ordered_batches(
            len(validation),
            config.batch_size * VALIDATION_BATCH_FACTOR,
            config.max_validation_batches,
        )
        augmentation = None if config.augmentation == "none" else config.augmenter()
        return (
            SliceLoader(
                train,
                sampled_batches(self._parts[0], config),
                device,
                augmentation=augmentation,
                seed=config.seed,
                rank=rank(),
                num_workers=config.num_workers,
            ),
            SliceLoader(validation, ordered, device, num_workers=config.num_workers),
        )

    def marks(self) -> dict[str, str]:
        """Hashes of both parts' slices and of the first weights, and a loss of the network's
        own."""
        own = {} if self._own is None else {"network loss": repr(self._own.describe())}
        own |= {} if self._first is None else {"first weights": self._first}
        return {**slice_marks(self._datasets(cache=False)), **own}

    def kept(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> tuple[Tensor, ...]:
        """Logits and labels, so that the whole part is scored at once."""
        return outputs.detach().float(), targets

    def scores(self, batches: Sequence[tuple[Tensor, ...]]) -> dict[str, float]:
        """The configured loss, and how well the classes are told apart."""
        outputs, labels = (torch.cat(part) for part in zip(*batches))
        loss = float(self._criterion(outputs, labels))
        return {"valid_loss": loss, **label_scores(outputs, labels, self._config)}

    def decided(self, batches: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Which slices are called, of the primary class at probability 0.5, bool (slices,)."""
        config, outputs = self._config, torch.cat([outputs for outputs, _ in batches])
        logits = class_logits(outputs, config.two_outputs)
        return logits[:, config.classes.index(config.primary_class)] > 0

    def _datasets(self, cache: bool) -> dict[str, SliceDataset]:
        classes, preprocessing = self._config.classes, self._preprocessing
        return {
            name: SliceDataset(self._source, rows, classes, preprocessing, cache)
            for name, rows in zip(("training", "validation"), self._parts)
        }


def sampled_batches(rows: pd.DataFrame, config: TrainingConfig) -> TrainingBatches:
    """Batches of `rows` in the order of the configured sampler, the share of this process."""
    label = label_tensor(rows, ["any"])[:, 0]
    group = torch.from_numpy(rows["dataset"].factorize()[0])
    height = torch.tensor(head_positions(rows))
    drawn = {"group": group, "height": height}
    order = partial(epoch_order, config.sampler, label, config.seed, **drawn)
    return shuffled_batches(order, config.batch_size, True, config.max_train_batches)


def label_scores(outputs: Tensor, labels: Tensor, config: TrainingConfig) -> dict[str, float]:
    """`auroc`, `f1` and `accuracy` at probability 0.5 of the primary class, and `auroc_mean` over
    classes.

    Slices without a known label are left out, per class; a class that occurs with one label only
    has no AUROC and is left out of the mean.
    """
    logits = class_logits(outputs, config.two_outputs)
    areas, decided = {}, {"f1": math.nan, "accuracy": math.nan}
    for name, truth, scores in zip(config.classes, labels.T, logits.T):
        known = ~truth.isnan()
        truth, scores = truth[known].numpy(), scores[known].double().numpy()
        finite = len(truth) > 0 and np.isfinite(scores).all()
        areas[name] = auroc(truth, scores) if finite else math.nan
        if name == config.primary_class and finite:
            decided = decision_metrics(truth, scores > 0)
    defined = [area for area in areas.values() if not math.isnan(area)]
    mean = sum(defined) / len(defined) if defined else math.nan
    primary = {"auroc": areas[config.primary_class], "auroc_mean": mean}
    return {**primary, "f1": decided["f1"], "accuracy": decided["accuracy"]}


def train_classifier(
    network: Classifier,
    config: TrainingConfig,
    source: SliceSource,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    folder: Path,
    loss: Loss | None = None,
) -> TrainingRun:
    """Trains `network` on rows of the slice index and keeps the best (or last) weights in `folder`;
    see `training.loop.fit` for what is in there, and for a kill.

    loss: takes the place of the configured one in training; `valid_loss` stays the configured one,
    of the logits. The checkpoint says whom it learned from, by way of `first_weights` too. Raises
    ParameterError when the network, device or precision does not fit the configuration, DataError
    for unusable rows, WeightsError for first weights that do not fit or do not say whom they
    learned from, StudyError as `fit` does.
    """
    wanted, found = (config.outputs, config.in_channels), (network.outputs, network.in_channels)
    if wanted != found:
        raise ParameterError(
            f"the configuration needs {wanted[0]} outputs and {wanted[1]} input channels; the"
            f" network has {found[0]} and {found[1]}",
        )
    preprocessing = config.preprocessing(network.input_mean, network.input_std)
    patients = patient_marks(pd.concat([train_rows, validation_rows]))
    first = None if config.first_weights is None else resolve(config.first_weights)
    if first is not None:
        load_weights(first, network.model)
        for dataset, marks in known_patients(first).items():
            patients[dataset] = sorted({*patients.get(dataset, []), *marks})
    sha256 = None if first is None else verify_file(first)
    rows = train_rows, validation_rows
    task = Classification(config, preprocessing, source, rows, loss, sha256)
    metadata = {
        "preprocessing": preprocessing.describe(),
        "classes": list(config.classes),
        "two_outputs": config.two_outputs,
        "patients": patients,
        **({} if sha256 is None else {"first_weights": sha256}),
        **({} if loss is None else {"loss": loss.describe()}),
    }
    run = fit(network, task, config, folder, metadata)
    decided = torch.stack(run.decided).numpy()
    best = top_epochs(run.history, decided, validation_rows, config.primary_class)
    return TrainingRun(**vars(run), preprocessing=preprocessing, top_epochs=best)
