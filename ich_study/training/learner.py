"""Training a slice classifier with fastai: one call, resumable after a kill.

The same loop serves every network of the study that gives one logit per class and slice. In
training mode a network may give more than that, for a loss of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import nn

from ich_study.errors import ParameterError, StudyError
from ich_study.inputs.devices import (
    check_precision,
    device_name,
    peak_memory_mib,
    resolve_device,
)
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.samplers import OrderedBatches, TrainingBatches
from ich_study.inputs.slices import SliceDataset, SliceLoader, SliceSource, label_tensor
from ich_study.models.weights import load_tensors, load_weights, verify_file
from ich_study.training.callbacks import (
    WEIGHTS_FILE,
    Checkpoints,
    Destination,
    EpochRecord,
    EpochSeeds,
    Precision,
)
from ich_study.training.config import TrainingConfig
from ich_study.training.distributed import (
    distributed_context,
    launch,
    launched,
    local_rank,
    rank,
    world_size,
)
from ich_study.training.fastai_api import (
    Callback,
    DataLoaders,
    Learner,
    OptimWrapper,
    TrainEvalCallback,
)
from ich_study.training.losses import build_loss
from ich_study.training.resume import Progress, fingerprint, forget_changed_run, load_state
from ich_study.training.schedules import Schedule

VALIDATION_BATCH_FACTOR = 2
_log = logging.getLogger(__name__)


class Network(Protocol):
    """A network to train; `models.backbones.Backbone` is one. In evaluation mode `model` gives
    logits (B, outputs)."""

    model: nn.Module
    outputs: int
    in_channels: int
    input_mean: tuple[float, ...]
    input_std: tuple[float, ...]

    def describe(self) -> dict[str, Any]:
        """JSON-able description that rebuilds the network."""


class Loss(Protocol):
    """A loss of its own for a network; an `nn.Module`."""

    def __call__(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        """Scalar of what the network gives in training mode, or of the logits that it gives in
        evaluation mode."""

    def describe(self) -> dict[str, Any]:
        """JSON-able description; a run is resumed only with the same one."""


@dataclass(frozen=True)
class TrainingRun:
    """A finished training.

    model: with the kept weights, in evaluation mode, on `device`. history: a row per epoch:
    `epoch, train_loss, valid_loss, auroc, auroc_mean, f1, learning_rate, seconds`.
    seconds: of this call; a resumed run's earlier epochs are in the history.
    """

    model: nn.Module = field(repr=False)
    config: TrainingConfig
    preprocessing: Preprocessing
    device: torch.device
    device_name: str
    history: pd.DataFrame = field(repr=False)
    best_epoch: int
    stopped_early: bool
    weights_path: Path
    weights_sha256: str
    seconds: float
    peak_memory_mib: float


def train_classifier(
    network: Network,
    config: TrainingConfig,
    source: SliceSource,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    folder: Path,
    report: Callable[[str], None] = _log.info,
    restart_changed: bool = False,
    loss: Loss | None = None,
) -> TrainingRun:
    """Trains `network` on rows of the slice index and keeps the best (or last) weights in `folder`.

    After every epoch `folder` holds `weights.safetensors`, `history.csv` and `state.pt`. Called
    again with the same arguments after a kill it goes on from the last finished epoch, and on a CPU
    ends at the same weights, bit for bit; called after the end it only loads them. `report` gets
    one line per epoch. With `restart_changed` a run of other settings in `folder` gives way, else
    it is an error. `loss` takes the place of the configured loss in training; `valid_loss` stays
    the configured one, of the logits.

    Raises ParameterError when the network, device or precision does not fit the configuration,
    DataError for unusable rows, StudyError for a loss that is not finite or a folder of another
    run.
    """
    started = time.perf_counter()
    _check_network(network, config)
    arguments = (network, config, source, train_rows, validation_rows, folder, report, loss)
    if restart_changed and not launched():
        datasets = _datasets(network, config, source, (train_rows, validation_rows), cache=False)
        if forget_changed_run(folder, fingerprint(config, _described(network, loss), datasets)):
            report(f"{folder} held a run of other settings or data; training starts anew")
    if config.distributed and not launched():
        launch(_train, arguments, config)
    else:
        _train(*arguments)
    return _finished(network, config, source, (train_rows, validation_rows), folder, loss, started)


def build_learner(
    network: Network,
    config: TrainingConfig,
    loaders: DataLoaders,
    callbacks: list[Callback],
    loss: nn.Module | None = None,
) -> Learner:
    """A fastai Learner over PyTorch's optimizer and our callbacks, without fastai's recorder and
    progress bar."""
    model = _placed(network, config, loaders.device)
    loss_function = (loss or build_loss(config)).to(loaders.device)
    return Learner(
        loaders,
        model,
        loss_func=loss_function,
        opt_func=optimizer_function(config),
        lr=config.learning_rate,
        wd_bn_bias=True,
        train_bn=False,
        default_cbs=False,
        cbs=[TrainEvalCallback(), *callbacks],
        path=Path(),
    )


def _placed(network: Network, config: TrainingConfig, device: torch.device) -> nn.Module:
    # loaded weights must lie as trained ones do: the memory format decides on the order of sums
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    return network.model.to(device, memory_format=memory_format)


def optimizer_function(config: TrainingConfig) -> Callable[..., OptimWrapper]:
    """PyTorch's SGD, Adam or AdamW as fastai takes it. Weight decay is L2 in SGD and Adam,
    decoupled in AdamW."""
    common: dict[str, Any] = {"weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return partial(OptimWrapper, opt=torch.optim.SGD, momentum=config.momentum, **common)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return partial(OptimWrapper, opt=kind, betas=(config.momentum, 0.999), **common)


def data_loaders(
    train: SliceDataset,
    validation: SliceDataset,
    train_rows: pd.DataFrame,
    config: TrainingConfig,
    device: torch.device,
) -> DataLoaders:
    """Training and validation loaders of this process."""
    place = {"rank": rank(), "world": world_size()}
    common: dict[str, Any] = {
        "num_workers": config.num_workers,
        "channels_last": config.channels_last,
    }
    augmentation = None if config.augmentation == "none" else config.augmenter()
    ordered = OrderedBatches(
        len(validation),
        config.batch_size * VALIDATION_BATCH_FACTOR,
        config.max_validation_batches,
        **place,
    )
    batches = training_batches(train_rows, config)
    return DataLoaders(
        SliceLoader(
            train,
            batches,
            device,
            augmentation=augmentation,
            seed=config.seed,
            rank=rank(),
            **common,
        ),
        SliceLoader(validation, ordered, device, **common),
        device=device,
    )


def training_batches(rows: pd.DataFrame, config: TrainingConfig) -> TrainingBatches:
    """What this process trains on of the configured sampler's batches of `rows`."""
    label = label_tensor(rows, [config.sampler_label])[:, 0]
    return TrainingBatches(
        label,
        config.batch_size,
        config.seed,
        config.sampler,
        drop_last=config.drop_last,
        limit=config.max_train_batches,
        rank=rank(),
        world=world_size(),
    )


def _check_network(network: Network, config: TrainingConfig) -> None:
    wanted, found = (config.outputs, config.in_channels), (network.outputs, network.in_channels)
    if wanted != found:
        raise ParameterError(
            f"the configuration needs {wanted[0]} outputs and {wanted[1]} input channels; the"
            f" network has {found[0]} and {found[1]}",
        )


def _datasets(
    network: Network,
    config: TrainingConfig,
    source: SliceSource,
    parts: tuple[pd.DataFrame, pd.DataFrame],
    cache: bool,
) -> dict[str, SliceDataset]:
    preprocessing = config.preprocessing(network.input_mean, network.input_std)
    return {
        name: SliceDataset(source, rows, config.classes, preprocessing, cache)
        for name, rows in zip(("training", "validation"), parts)
    }


def _train(
    network: Network,
    config: TrainingConfig,
    source: SliceSource,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    folder: Path,
    report: Callable[[str], None],
    loss: Loss | None,
) -> None:
    device = resolve_device(config.device, local_rank())
    check_precision(config.precision, device)
    parts = (train_rows, validation_rows)
    marks = fingerprint(
        config, _described(network, loss), _datasets(network, config, source, parts, cache=False)
    )
    resumed = load_state(folder, marks)
    progress, state = resumed if resumed is not None else (Progress(), None)
    if progress.finished:
        return
    if state is not None:
        load_tensors(network.model, state["model"], str(folder))
        report(f"going on after epoch {progress.next_epoch} of {config.epochs}, from {folder}")
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    data = _datasets(network, config, source, parts, config.cache_in_memory)
    loaders = data_loaders(data["training"], data["validation"], train_rows, config, device)
    destination = Destination(
        folder, marks, _metadata(network, config, data["training"].preprocessing, loss)
    )
    _fit(network, config, loaders, Checkpoints(config, destination, progress, state, report), loss)


def _fit(
    network: Network,
    config: TrainingConfig,
    loaders: DataLoaders,
    checkpoints: Checkpoints,
    loss: Loss | None,
) -> None:
    record = EpochRecord(config, build_loss(config))
    callbacks: list[Callback] = [EpochSeeds(config.seed), record, Schedule(config), checkpoints]
    if config.precision != "fp32":
        callbacks.append(Precision(config.precision, loaders.device))
    learner = build_learner(network, config, loaders, callbacks, loss)
    try:
        with distributed_context(learner, config, loaders.device):
            learner.fit(
                config.epochs, lr=config.learning_rate, start_epoch=checkpoints.progress.next_epoch
            )
    finally:
        for loader in loaders:
            loader.close()
    failure = record.failure or checkpoints.failure
    if failure:
        raise StudyError(failure)


def _described(network: Network, loss: Loss | None) -> dict[str, Any]:
    return network.describe() if loss is None else {**network.describe(), "loss": loss.describe()}


def _metadata(
    network: Network, config: TrainingConfig, preprocessing: Preprocessing, loss: Loss | None
) -> Mapping[str, Any]:
    return {
        "architecture": network.describe(),
        "preprocessing": preprocessing.describe(),
        "classes": list(config.classes),
        "two_outputs": config.outputs > len(config.classes),
        "training": config.describe(),
        **({} if loss is None else {"loss": loss.describe()}),
    }


def _finished(
    network: Network,
    config: TrainingConfig,
    source: SliceSource,
    parts: tuple[pd.DataFrame, pd.DataFrame],
    folder: Path,
    loss: Loss | None,
    started: float,
) -> TrainingRun:
    datasets = _datasets(network, config, source, parts, cache=False)
    loaded = load_state(folder, fingerprint(config, _described(network, loss), datasets))
    if loaded is None or not loaded[0].finished:
        raise StudyError(
            f"training ended without finishing its epochs in {folder}; see the messages above, then"
            " start it again"
        )
    progress, device = loaded[0], resolve_device(config.device, local_rank())
    load_weights(folder / WEIGHTS_FILE, network.model)
    return TrainingRun(
        _placed(network, config, device).eval(),
        config,
        datasets["training"].preprocessing,
        device,
        device_name(device),
        progress.frame(),
        progress.best_epoch,
        progress.stopped_early,
        folder / WEIGHTS_FILE,
        verify_file(folder / WEIGHTS_FILE),
        time.perf_counter() - started,
        peak_memory_mib(device),
    )
