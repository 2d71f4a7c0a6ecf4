"""What happens around fastai's training loop: losses watched, validation scored, states written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ich_study.atomic import write_csv
from ich_study.inputs.devices import autocast
from ich_study.inputs.seeds import seed_everything
from ich_study.metrics.classification import auroc, decision_metrics
from ich_study.models.backbones import class_logits
from ich_study.models.weights import save_weights
from ich_study.training.config import TrainingConfig
from ich_study.training.distributed import gathered, rank, world_size
from ich_study.training.fastai_api import Callback, CancelFitException, MixedPrecision
from ich_study.training.resume import Progress, save_state

WEIGHTS_FILE = "weights.safetensors"
HISTORY_FILE = "history.csv"
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


class EpochRecord(Callback):
    """Losses and validation scores of the running epoch; a loss that is not finite ends the fit.

    `row` is None until an epoch has both trained and validated.
    """

    order = 50

    def __init__(self, config: TrainingConfig, validation_loss: nn.Module) -> None:
        self._config, self._validation_loss = config, validation_loss
        self.row: dict[str, float] | None = None
        self.failure = ""

    def before_train(self) -> None:
        """Starts the clock."""
        self._started, self._losses, self.row = time.perf_counter(), [], None

    def before_validate(self) -> None:
        """Empties the validation's outputs."""
        self._outputs, self._labels = [], []

    def after_batch(self) -> None:
        """Keeps the loss, or the outputs and labels of validation."""
        if self.training:
            self._losses.append(self.learn.loss.detach())
            interval = 1 if self._losses[-1].device.type == "cpu" else CUDA_CHECK_INTERVAL
            if (self.iter + 1) % interval == 0 or self.iter + 1 == self.n_iter:
                self._check_losses(interval)
        else:
            self._outputs.append(self.pred.detach().float())
            self._labels.append(self.yb[0])

    def after_validate(self) -> None:
        """Scores the whole validation part, over all processes."""
        loss = torch.stack(self._losses).float().mean().cpu()[None]
        places = torch.tensor(self.dls.valid.batches.positions)
        train_losses, outputs, labels, places = gathered(
            [loss, torch.cat(self._outputs).cpu(), torch.cat(self._labels).cpu(), places]
        )
        order = places.argsort()
        scores = validation_scores(
            outputs[order], labels[order], self._config, self._validation_loss
        )
        self.row = {
            "epoch": self.epoch,
            "train_loss": float(train_losses.mean()),
            **scores,
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
            f" learning_rate ({self._config.learning_rate:g}), use precision fp32 or bf16 in place"
            " of amp, or look at the slices of that batch"
        )
        raise CancelFitException


def validation_scores(
    outputs: Tensor, labels: Tensor, config: TrainingConfig, loss: nn.Module
) -> dict[str, float]:
    """`valid_loss`, `auroc`, `f1` and `accuracy` at probability 0.5 of the primary class, and
    `auroc_mean` over classes.

    Slices without a known label are left out, per class; a class that occurs with one label only
    has no AUROC and is left out of the mean.
    """
    logits = class_logits(outputs, config.outputs > len(config.classes))
    primary = config.classes.index(config.primary_class)
    areas, f1, accuracy = [], math.nan, math.nan
    for number in range(len(config.classes)):
        known = ~labels[:, number].isnan()
        truth, scores = labels[known, number].numpy(), logits[known, number].double().numpy()
        finite = len(truth) > 0 and bool(torch.isfinite(logits[known, number]).all())
        areas.append(auroc(truth, scores) if finite else math.nan)
        if number == primary and finite:
            decided = decision_metrics(truth, scores > 0)
            f1, accuracy = decided["f1"], decided["accuracy"]
    defined = [area for area in areas if not math.isnan(area)]
    mean = sum(defined) / len(defined) if defined else math.nan
    return {
        "valid_loss": float(loss(outputs, labels)),
        "auroc": areas[primary],
        "auroc_mean": mean,
        "f1": f1,
        "accuracy": accuracy,
    }


@dataclass(frozen=True)
class Destination:
    """Where a run writes, what identifies it, and what its checkpoint says about the network."""

    folder: Path
    fingerprint: Mapping[str, str]
    metadata: Mapping[str, Any]


class Checkpoints(Callback):
    """After each epoch: kept weights, history and resumable state on disk, and early stopping.

    Kept weights are written before the state, so a kill between the two repeats the epoch and
    writes the same weights again.
    """

    order = 80

    def __init__(
        self,
        config: TrainingConfig,
        destination: Destination,
        progress: Progress,
        resumed: Mapping[str, Any] | None,
        report: Callable[[str], None],
    ) -> None:
        self._config, self._destination, self.progress, self._resumed, self._report = (
            config,
            destination,
            progress,
            resumed,
            report,
        )
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
        improved = self._improves(row[self._config.monitor])
        if self.failure:
            raise CancelFitException
        self._note(row, improved)
        if rank() == 0:
            self._write(improved)
            self._report(progress_line(row, self._config, improved))
        if world_size() > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier()
        if self.progress.finished:
            raise CancelFitException

    def _improves(self, value: float) -> bool:
        monitor = self._config.monitor
        if math.isnan(value):
            self.failure = (
                f"the monitored {monitor} has no value in epoch {self.epoch}: the validation part"
                " has no slice with a known label, or only one kind, for"
                f" {self._config.primary_class!r}; enlarge it or monitor valid_loss"
            )
            return False
        best = self.progress.best_value
        return self.progress.best_epoch < 0 or (
            value < best if monitor == "valid_loss" else value > best
        )

    def _note(self, row: dict[str, float], improved: bool) -> None:
        progress, patience = self.progress, self._config.early_stopping_patience
        progress.history.append(row)
        if improved:
            progress.best_epoch, progress.best_value = self.epoch, row[self._config.monitor]
        progress.stopped_early = (
            patience is not None and self.epoch - progress.best_epoch >= patience
        )
        progress.finished = progress.stopped_early or self.epoch + 1 == self._config.epochs

    def _write(self, improved: bool) -> None:
        model = getattr(self.learn.model, "module", self.learn.model)
        folder = self._destination.folder
        if improved or self._config.keep == "last":
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


def progress_line(row: Mapping[str, float], config: TrainingConfig, improved: bool) -> str:
    """One epoch as one line."""
    return (
        f"epoch {int(row['epoch']) + 1}/{config.epochs}: train loss {row['train_loss']:.4f},"
        f" validation loss {row['valid_loss']:.4f}, AUROC {row['auroc']:.3f}, F1 {row['f1']:.3f}"
        f" ({config.primary_class}), {row['seconds']:.1f} s{', best so far' if improved else ''}"
    )
