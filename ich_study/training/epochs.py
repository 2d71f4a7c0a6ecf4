"""A run's epochs: fastai's Learner around a task, our seeds, checkpoints and schedule.

The one module that has fastai's loop; it takes seconds to import and is imported where training
begins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ich_study.errors import StudyError
from ich_study.inputs.devices import check_precision, memory_format, placed, resolve_device
from ich_study.models.weights import load_tensors
from ich_study.training.callbacks import (
    Checkpoints,
    EpochRecord,
    EpochSeeds,
    MemoryFormat,
    Precision,
)
from ich_study.training.config import LoopSettings
from ich_study.training.distributed import distributed_context, local_rank
from ich_study.training.fastai_api import (
    Callback,
    DataLoaders,
    Learner,
    OptimWrapper,
    TrainEvalCallback,
)
from ich_study.training.resume import Destination, Progress, load_state
from ich_study.training.schedules import Schedule
from ich_study.training.task import Task

SEARCH_PAYS_FROM = 5000
"""Batches of a training from which cuDNN may search for the fastest algorithm of each convolution.

It searches anew for each shape, pass and size of batch. On an H200 the first epoch of RDNet-T, with
72 shapes of convolution, took 160 s longer than the next; EfficientNetV2-S, with 38, took 50 s
longer, on other slices. That the search is why, and this number, are inferred and not measured.
"""


def train(
    model: nn.Module,
    task: Task,
    settings: LoopSettings,
    destination: Destination,
) -> None:
    """Trains from the last finished epoch to the end, and writes after each into `destination`."""
    device = resolve_device(settings.device, local_rank())
    check_precision(settings.precision, device)
    resumed = load_state(destination.folder, destination.fingerprint)
    progress, state = resumed if resumed is not None else (Progress(), None)
    if progress.finished:
        return
    if state is not None:
        load_tensors(model, state["model"], str(destination.folder))
        print(
            f"going on after epoch {progress.next_epoch} of {settings.epochs}, from"
            f" {destination.folder}"
        )
    loaders = DataLoaders(*task.loaders(device), device=device)
    torch.backends.cudnn.benchmark = len(loaders.train) * settings.epochs >= SEARCH_PAYS_FROM
    record = EpochRecord(task)
    checkpoints = Checkpoints(settings, destination, progress, state)
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
        callbacks.append(MemoryFormat(*memory_format(model)))
    return Learner(
        loaders,
        placed(model, loaders.device, settings.channels_last),
        loss_func=task.loss,
        opt_func=_optimizer(settings, task.fused),
        lr=settings.learning_rate,
        wd_bn_bias=True,
        train_bn=False,
        default_cbs=False,
        cbs=callbacks,
        path=Path(),
    )


def _optimizer(settings: LoopSettings, fused: bool) -> Callable[..., OptimWrapper]:
    """PyTorch's SGD, Adam or AdamW as fastai takes it. Weight decay is L2 in SGD and Adam,
    decoupled in AdamW."""
    common: dict[str, Any] = {"weight_decay": settings.weight_decay, "fused": fused}
    if settings.optimizer == "sgd":
        return partial(OptimWrapper, opt=torch.optim.SGD, momentum=settings.momentum, **common)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return partial(OptimWrapper, opt=kind, betas=(settings.momentum, 0.999), **common)
