"""The one loop: fastai's Learner around our seeds, checkpoints and resume, for every network.

What is learnt, from which batches, is a `Task`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ich_study.errors import StudyError
from ich_study.inputs.devices import (
    check_precision,
    device_name,
    peak_memory_mib,
    resolve_device,
)
from ich_study.models.registry import Network
from ich_study.models.weights import load_tensors, load_weights, verify_file
from ich_study.sources import code_marks
from ich_study.training.callbacks import (
    WEIGHTS_FILE,
    Checkpoints,
    Destination,
    EpochRecord,
    EpochSeeds,
    MemoryFormat,
    Precision,
)
from ich_study.training.config import LoopSettings
from ich_study.training.distributed import distributed_context, launch, launched, local_rank
from ich_study.training.fastai_api import (
    Callback,
    DataLoaders,
    Learner,
    OptimWrapper,
    TrainEvalCallback,
)
from ich_study.training.resume import Progress, forget_changed_run, load_state
from ich_study.training.schedules import Schedule
from ich_study.training.task import Task

Report = Callable[[str], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished training.

    model: with the kept weights, in evaluation mode, on `device`. history: a row per epoch: `epoch,
    train_loss, valid_loss`, the task's scores, `learning_rate, seconds`. seconds: of this call; a
    resumed run's earlier epochs are in the history.
    """

    model: nn.Module = field(repr=False)
    config: LoopSettings
    device: torch.device
    device_name: str
    history: pd.DataFrame = field(repr=False)
    best_epoch: int
    stopped_early: bool
    weights_path: Path
    weights_sha256: str
    seconds: float
    peak_memory_mib: float


def fit(
    network: Network,
    task: Task,
    settings: LoopSettings,
    folder: Path,
    metadata: Mapping[str, Any],
    report: Report = _log.info,
    restart_changed: bool = False,
) -> Run:
    """Trains `network` on `task` and keeps the best (or last) weights in `folder`.

    After every epoch `folder` holds `weights.safetensors`, `history.csv` and `state.pt`. Called
    again with the same arguments and code after a kill it goes on from the last finished epoch, and
    on a CPU ends at the same weights, bit for bit; called after the end it only loads them.
    metadata: what the checkpoint says beside network and settings. With `restart_changed` a run of
    other settings, network, data or code in `folder` gives way, else it is an error.

    Raises ParameterError where device or precision do not fit the machine, StudyError for a loss
    that is not finite or a folder of another run.
    """
    started = time.perf_counter()
    described = {f"network {name}": repr(value) for name, value in network.describe().items()}
    makers = (type(network), type(network.model), type(task), type(task.loss))
    code = code_marks({__name__, *(each.__module__ for each in makers)}, exact=False)
    marks = {**settings.marks(), **described, **task.marks(), **code}
    if restart_changed and not launched() and forget_changed_run(folder, marks):
        report(f"{folder} held a run of other settings or data; training starts anew")
    said = {"architecture": network.describe(), "training": settings.describe(), **metadata}
    work = (network.model, task, settings, Destination(folder, marks, said), report)
    if settings.distributed and not launched():
        launch(_train, work, settings)
    else:
        _train(*work)
    return _finished(network.model, settings, folder, marks, started)


def named(report: Report, name: str) -> Report:
    """`report` with the name of the run before each line."""
    return partial(_reported, report, name)


def _reported(report: Report, name: str, line: str) -> None:
    report(f"{name}, {line}")


def _train(
    model: nn.Module,
    task: Task,
    settings: LoopSettings,
    destination: Destination,
    report: Report,
) -> None:
    device = resolve_device(settings.device, local_rank())
    check_precision(settings.precision, device)
    resumed = load_state(destination.folder, destination.fingerprint)
    progress, state = resumed if resumed is not None else (Progress(), None)
    if progress.finished:
        return
    if state is not None:
        load_tensors(model, state["model"], str(destination.folder))
        report(
            f"going on after epoch {progress.next_epoch} of {settings.epochs}, from"
            f" {destination.folder}"
        )
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    loaders = DataLoaders(*task.loaders(device), device=device)
    record = EpochRecord(task)
    checkpoints = Checkpoints(settings, destination, progress, state, report)
    learner = learner_of(model, task, settings, loaders, [record, checkpoints])
    try:
        with distributed_context(learner, settings, device):
            learner.fit(settings.epochs, lr=settings.learning_rate, start_epoch=progress.next_epoch)
    finally:
        for loader in loaders:
            loader.close()
    failure = record.failure or checkpoints.failure
    if failure:
        raise StudyError(failure)


def learner_of(
    model: nn.Module,
    task: Task,
    settings: LoopSettings,
    loaders: DataLoaders,
    callbacks: list[Callback],
) -> Learner:
    """A fastai Learner over PyTorch's optimizer and our callbacks, without fastai's recorder and
    progress bar."""
    callbacks = [TrainEvalCallback(), EpochSeeds(settings.seed), Schedule(settings), *callbacks]
    if settings.precision != "fp32":
        callbacks.append(Precision(settings.precision, loaders.device))
    if settings.channels_last:
        callbacks.append(MemoryFormat(*_channels_last(model)))
    return Learner(
        loaders,
        _placed(model, settings, loaders.device),
        loss_func=task.loss,
        opt_func=_optimizer(settings, task.fused),
        lr=settings.learning_rate,
        wd_bn_bias=True,
        train_bn=False,
        default_cbs=False,
        cbs=callbacks,
        path=Path(),
    )


def _channels_last(model: nn.Module) -> tuple[torch.memory_format, int]:
    """The format of networks over slices, or over volumes, and the axes of what it is for."""
    if any(parameter.dim() == 5 for parameter in model.parameters()):
        return torch.channels_last_3d, 5
    return torch.channels_last, 4


def _placed(model: nn.Module, settings: LoopSettings, device: torch.device) -> nn.Module:
    # loaded weights must lie as trained ones do: the memory format decides on the order of sums
    last = settings.channels_last
    return model.to(
        device, memory_format=_channels_last(model)[0] if last else torch.contiguous_format
    )


def _optimizer(settings: LoopSettings, fused: bool) -> Callable[..., OptimWrapper]:
    """PyTorch's SGD, Adam or AdamW as fastai takes it. Weight decay is L2 in SGD and Adam,
    decoupled in AdamW."""
    common: dict[str, Any] = {"weight_decay": settings.weight_decay, "fused": fused}
    if settings.optimizer == "sgd":
        return partial(OptimWrapper, opt=torch.optim.SGD, momentum=settings.momentum, **common)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return partial(OptimWrapper, opt=kind, betas=(settings.momentum, 0.999), **common)


def _finished(
    model: nn.Module,
    settings: LoopSettings,
    folder: Path,
    marks: Mapping[str, str],
    started: float,
) -> Run:
    loaded = load_state(folder, marks)
    if loaded is None or not loaded[0].finished:
        raise StudyError(
            f"training ended without finishing its epochs in {folder}; see the messages above, then"
            " start it again"
        )
    progress, device = loaded[0], resolve_device(settings.device, local_rank())
    load_weights(folder / WEIGHTS_FILE, model)
    return Run(
        _placed(model, settings, device).eval(),
        settings,
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
