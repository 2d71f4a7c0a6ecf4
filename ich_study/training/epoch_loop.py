"""Training over volumes: one loop for everything whose batch is not a batch of slices.

Orders and crops are functions of (seed, epoch), so that a run that was killed goes on after its
last finished epoch and, on a CPU, ends at the same weights bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.atomic import write_csv
from ich_study.errors import StudyError
from ich_study.inputs.devices import autocast, resolve_device
from ich_study.inputs.seeds import seed_everything
from ich_study.models.weights import load_tensors, load_weights, save_weights, verify_file
from ich_study.training.callbacks import HISTORY_FILE, WEIGHTS_FILE
from ich_study.training.config import LoopSettings
from ich_study.training.resume import Progress, forget_changed_run, load_state, save_state


class Task(Protocol):
    """What a training is about."""

    def batches(self, epoch: int) -> Iterable[Any]:
        """Batches of one epoch, a function of the epoch alone."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Scalar loss of one batch."""

    def validation_loss(self, model: nn.Module) -> float:
        """Loss of the validation part, `model` in evaluation mode."""


@dataclass(frozen=True)
class LoopRun:
    """A finished training: `model` holds the best epoch's weights, in evaluation mode, on
    `device`."""

    model: nn.Module = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    best_epoch: int
    stopped_early: bool
    weights_path: Path
    weights_sha256: str
    device: torch.device


def fit(
    model: nn.Module,
    task: Task,
    settings: LoopSettings,
    folder: Path,
    marks: Mapping[str, str],
    metadata: Mapping[str, Any],
    report: Callable[[str], None] = print,
    restart_changed: bool = False,
) -> LoopRun:
    """Trains `model` and keeps the weights of the epoch with the lowest validation loss in
    `folder`.

    marks: what identifies network and data, beside the settings; a folder whose run had other ones
    is refused (OtherRunError), or started anew with `restart_changed`. After every epoch `folder`
    holds weights, history and resumable state. Raises StudyError for a loss that is not finite.
    """
    device, marks = resolve_device(settings.device), {**marks, **settings.marks()}
    if restart_changed and forget_changed_run(folder, marks):
        report(f"{folder.name} held a run of other settings or data; training starts anew")
    resumed = load_state(folder, marks)
    progress = resumed[0] if resumed else Progress()
    model.to(device)
    if not progress.finished:
        optimizer = _optimizer(model, settings)
        if resumed:
            load_tensors(model, resumed[1]["model"], str(folder))
            optimizer.load_state_dict(resumed[1]["optimizer"])
            report(
                f"{folder.name}: going on after epoch {progress.next_epoch} of {settings.epochs}"
            )
        while not progress.finished:
            row = _epoch(model, optimizer, task, settings, progress.next_epoch, device)
            _keep(model, optimizer, settings, folder, marks, metadata, progress, row, report)
    load_weights(folder / WEIGHTS_FILE, model)
    weights = folder / WEIGHTS_FILE
    return LoopRun(
        model.eval(),
        progress.frame(),
        progress.best_epoch,
        progress.stopped_early,
        weights,
        verify_file(weights),
        device,
    )


def _optimizer(model: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=settings.momentum, **common)
    return (torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW)(
        parameters, **common
    )


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    settings: LoopSettings,
    epoch: int,
    device: torch.device,
) -> dict[str, float]:
    started, losses = time.perf_counter(), []
    seed_everything(settings.seed, epoch)
    model.train()
    for batch in task.batches(epoch):
        with autocast(settings.precision, device):
            loss = task.loss(model, batch)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise StudyError(
                f"the loss is {losses[-1]} in epoch {epoch}, batch {len(losses) - 1}; lower"
                " learning_rate or use fp32"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    if not losses:
        raise StudyError("an epoch without a batch; the training part is empty")
    model.eval()
    with torch.inference_mode(), autocast(settings.precision, device):
        validation = task.validation_loss(model)
    if not math.isfinite(validation):
        raise StudyError(
            f"the validation loss is {validation} in epoch {epoch}; lower learning_rate, or look at"
            " the validation part"
        )
    seconds = time.perf_counter() - started
    return {
        "epoch": epoch,
        "train_loss": sum(losses) / len(losses),
        "valid_loss": validation,
        "seconds": seconds,
    }


def _keep(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: LoopSettings,
    folder: Path,
    marks: Mapping[str, str],
    metadata: Mapping[str, Any],
    progress: Progress,
    row: dict[str, float],
    report: Callable[[str], None],
) -> None:
    """Weights before the state, so that a kill between the two repeats the epoch and writes the
    same weights again."""
    epoch = int(row["epoch"])
    improved = progress.best_epoch < 0 or row["valid_loss"] < progress.best_value
    progress.history.append(row)
    if improved:
        progress.best_epoch, progress.best_value = epoch, row["valid_loss"]
        save_weights(folder / WEIGHTS_FILE, model, {**metadata, "epoch": epoch})
    progress.stopped_early = (
        settings.patience is not None and epoch - progress.best_epoch >= settings.patience
    )
    progress.finished = progress.stopped_early or epoch + 1 == settings.epochs
    write_csv(folder / HISTORY_FILE, progress.frame())
    save_state(
        folder, marks, progress, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    )
    if improved or progress.finished or (epoch + 1) % 10 == 0:
        report(
            f"{folder.name}, epoch {epoch + 1}/{settings.epochs}: train loss"
            f" {row['train_loss']:.4f}, validation loss {row['valid_loss']:.4f},"
            f" {row['seconds']:.1f} s{', best so far' if improved else ''}"
        )
