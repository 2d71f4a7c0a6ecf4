"""What happens around fastai's training loop: losses watched, validation scored, states written."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ich_study.atomic import write_csv
from ich_study.inputs.devices import autocast
from ich_study.inputs.seeds import seed_everything
from ich_study.models.weights import WEIGHTS_FILE, save_weights
from ich_study.training.config import LoopSettings
from ich_study.training.distributed import gathered, rank, world_size
from ich_study.training.fastai_api import Callback, CancelFitException, MixedPrecision
from ich_study.training.resume import (
    HISTORY_FILE,
    Destination,
    Progress,
    save_state,
)
from ich_study.training.task import Task

LONG = 50
"""Epochs beyond which not every one gets a line."""
CUDA_CHECK_INTERVAL = 50
"""Batches between looks at the loss on CUDA, where each look waits for the GPU."""


class EpochSeeds(Callback):
    """Before each epoch: its order, and the global random generators from (seed, epoch,
    process)."""

    order, run_valid = -5, False

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def before_train(self) -> None:
        """Runs before the first batch is asked for."""
        self.dls.train.batches.set_epoch(self.epoch)
        seed_everything(self._seed, self.epoch, rank())


class Precision(MixedPrecision):
    """fastai's mixed precision on the model's own device; it autocasts for CUDA alone."""

    def __init__(self, precision: str, device: torch.device) -> None:
        super().__init__("fp16" if precision == "amp" else "bf16")
        self._precision, self._on = precision, device

    def before_fit(self) -> None:
        """Fresh autocast and, for float16, a fresh loss scaler (a resumed run then restores it)."""
        self.autocast, self.scales = autocast(self._precision, self._on), []
        self.learn.scaler = torch.amp.GradScaler(self._on.type, enabled=self._precision == "amp")


class MemoryFormat(Callback):
    """Inputs of as many axes as the network's own weights lie in memory as these do."""

    order = 5

    def __init__(self, memory_format: torch.memory_format, axes: int) -> None:
        self._format, self._axes = memory_format, axes

    def before_batch(self) -> None:
        """The network's arguments, not the targets."""
        self.learn.xb = tuple(
            each.contiguous(memory_format=self._format)
            if isinstance(each, Tensor) and each.dim() == self._axes
            else each
            for each in self.xb
        )


class EpochRecord(Callback):
    """Losses and validation scores of the running epoch; a loss that is not finite ends the fit.

    `row` is None until an epoch has both trained and validated; `decided` goes with it.
    """

    order = 50

    def __init__(self, task: Task) -> None:
        self._task = task
        self.row: dict[str, float] | None = None
        self.decided: Tensor | None = None
        self.failure = ""

    def before_train(self) -> None:
        """Starts the clock."""
        self._started, self._losses, self.row = time.perf_counter(), [], None

    def before_validate(self) -> None:
        """Empties what is kept of the validation."""
        self._kept: list[tuple[Tensor, ...]] = []

    def after_batch(self) -> None:
        """Keeps the loss, or what the task wants of a batch of validation."""
        if self.training:
            self._losses.append(self.learn.loss.detach())
            interval = 1 if self._losses[-1].device.type == "cpu" else CUDA_CHECK_INTERVAL
            if (self.iter + 1) % interval == 0 or self.iter + 1 == self.n_iter:
                self._check_losses(interval)
        else:
            self._kept.append(self._task.kept(self.pred, self.yb[0], self.learn.loss))

    def after_validate(self) -> None:
        """Scores the whole validation part, over all processes."""
        losses = gathered([torch.stack(self._losses).float().mean().cpu()])
        kept = gathered([tuple(each.cpu() for each in batch) for batch in self._kept])
        self.decided = self._task.decided(kept)
        self.row = {
            "epoch": self.epoch,
            "train_loss": float(torch.stack(losses).mean()),
            **self._task.scores(kept),
            "learning_rate": float(self.opt.hypers[-1]["lr"]),
            "seconds": time.perf_counter() - self._started,
        }

    def _check_losses(self, interval: int) -> None:
        recent = torch.stack(self._losses[-interval:])
        if recent.isfinite().all():
            return
        first = len(self._losses) - len(recent) + int((~recent.isfinite()).nonzero()[0])
        self.failure = (
            f"the loss is {float(self._losses[first])} in epoch {self.epoch}, batch {first}; lower"
            f" learning_rate ({float(self.opt.hypers[-1]['lr']):g}), use precision fp32 or bf16 in"
            " place of amp, or look at what is in that batch"
        )
        raise CancelFitException


class Checkpoints(Callback):
    """After each epoch: kept weights, history and resumable state on disk, and early stopping.

    Kept weights are written before the state, so a kill between the two repeats the epoch and
    writes the same weights again.
    """

    order = 80

    def __init__(
        self,
        settings: LoopSettings,
        destination: Destination,
        progress: Progress,
        resumed: Mapping[str, Any] | None,
    ) -> None:
        self._settings, self._destination = settings, destination
        self.progress, self._resumed = progress, resumed
        self.failure = ""

    def before_fit(self) -> None:
        """The optimizer's and the scaler's state of the resumed run."""
        if self._resumed is None:
            return
        self.opt.opt.load_state_dict(self._resumed["optimizer"])
        if self._resumed.get("scaler"):
            self.learn.scaler.load_state_dict(self._resumed["scaler"])

    def after_epoch(self) -> None:
        """Runs for skipped epochs too, which have no row."""
        row = self.learn.epoch_record.row
        if row is None:
            return
        self.learn.epoch_record.row = None
        improved = self._improves(row[self._settings.monitor])
        if self.failure:
            raise CancelFitException
        self._note(row, improved)
        if rank() == 0:
            self._write(improved)
            self._tell(row, improved)
        if world_size() > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier()
        if self.progress.finished:
            raise CancelFitException

    def _improves(self, value: float) -> bool:
        monitor = self._settings.monitor
        if not math.isfinite(value):
            self.failure = (
                f"the monitored {monitor} has no value in epoch {self.epoch} ({value}); lower"
                " learning_rate, or look at the validation part: it needs known labels, and an"
                " AUROC both kinds; or monitor valid_loss"
            )
            return False
        best = self.progress.best_value
        return self.progress.best_epoch < 0 or (
            value < best if monitor == "valid_loss" else value > best
        )

    def _note(self, row: dict[str, float], improved: bool) -> None:
        progress, patience = self.progress, self._settings.early_stopping_patience
        progress.history.append(row)
        if self.learn.epoch_record.decided is not None:
            progress.decided.append(self.learn.epoch_record.decided)
        if improved:
            progress.best_epoch, progress.best_value = self.epoch, row[self._settings.monitor]
        progress.stopped_early = (
            patience is not None and self.epoch - progress.best_epoch >= patience
        )
        progress.finished = progress.stopped_early or self.epoch + 1 == self._settings.epochs

    def _tell(self, row: Mapping[str, float], improved: bool) -> None:
        """A line an epoch; of long trainings what improves, every tenth, and the end."""
        epochs = self._settings.epochs
        if epochs <= LONG or improved or self.progress.finished or (self.epoch + 1) % 10 == 0:
            print(f"{self._destination.folder.name}, {progress_line(row, epochs, improved)}")

    def _write(self, improved: bool) -> None:
        model = getattr(self.learn.model, "module", self.learn.model)
        folder = self._destination.folder
        if improved or self._settings.keep == "last":
            save_weights(
                folder / WEIGHTS_FILE, model, {**self._destination.metadata, "epoch": self.epoch}
            )
        scaler = getattr(self.learn, "scaler", None)
        training = {
            "model": model.state_dict(),
            "optimizer": self.opt.opt.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
        }
        write_csv(folder / HISTORY_FILE, self.progress.frame())
        save_state(folder, self._destination.fingerprint, self.progress, training)


def progress_line(row: Mapping[str, float], epochs: int, improved: bool) -> str:
    """One epoch as one line."""
    scores = [
        f"{words} {row[name]:.3f}"
        for name, words in (("auroc", "AUROC"), ("f1", "F1"))
        if name in row
    ]
    parts = [
        f"train loss {row['train_loss']:.4f}",
        f"validation loss {row['valid_loss']:.4f}",
        *scores,
        f"{row['seconds']:.1f} s",
        *(["best so far"] if improved else []),
    ]
    return f"epoch {int(row['epoch']) + 1}/{epochs}: {', '.join(parts)}"
