"""The one training of every network: a folder, what identifies its run, and how it goes on.

What is learnt, from which batches, is a `Task`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import StudyError
from ich_study.inputs.devices import device_name, peak_memory_mib, placed, resolve_device
from ich_study.models.registry import Network
from ich_study.models.weights import WEIGHTS_FILE, load_weights, verify_file
from ich_study.sources import code_marks
from ich_study.training.config import LoopSettings
from ich_study.training.distributed import launch, launched, local_rank
from ich_study.training.resume import Destination, forget_changed_run, load_state
from ich_study.training.task import Task


@dataclass(frozen=True)
class Run:
    """A finished training.

    model: with the kept weights, in evaluation mode, on `device`. history: a row per epoch: `epoch,
    train_loss, valid_loss`, the task's scores, `learning_rate, seconds`. decided: what
    `Task.decided` said in each epoch. seconds: of this call; a resumed run's earlier epochs are in
    the history.
    """

    model: nn.Module = field(repr=False)
    config: LoopSettings
    device: torch.device
    device_name: str
    history: pd.DataFrame = field(repr=False)
    decided: list[Tensor] = field(repr=False)
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
) -> Run:
    """Trains `network` on `task` and keeps the best (or last) weights in `folder`.

    After every epoch `folder` holds `weights.safetensors`, `history.csv` and `state.pt`. Called
    again with the same arguments and code after a kill it goes on from the last finished epoch, and
    on a CPU ends at the same weights, bit for bit; called after the end it only loads them.
    metadata: what the checkpoint says beside network and settings. With `settings.restart_changed`
    a run of other settings, network, data or code in `folder` gives way, else it is an error.

    Raises ParameterError where device or precision do not fit the machine, StudyError for a loss
    that is not finite or a folder of another run.
    """
    started = time.perf_counter()
    described = {f"network {name}": repr(value) for name, value in network.describe().items()}
    makers = (type(network), type(network.model), type(task), type(task.loss))
    code = code_marks({__name__, *(each.__module__ for each in makers)}, exact=False)
    marks = {**settings.marks(), **described, **task.marks(), **code}
    anew = settings.restart_changed and not launched()
    if anew and forget_changed_run(folder, marks):
        print(f"{folder} held a run of other settings or data; training starts anew")
    said = {"architecture": network.describe(), "training": settings.describe(), **metadata}
    work = (network.model, task, settings, Destination(folder, marks, said))
    if settings.distributed and not launched():
        launch(_train, work, settings)
    else:
        _train(*work)
    return _finished(network.model, settings, folder, marks, started)


def _train(*work: Any) -> None:
    from ich_study.training.epochs import train  # fastai takes seconds to import

    train(*work)


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
        placed(model, device, settings.channels_last).eval(),
        settings,
        device,
        device_name(device),
        progress.frame(),
        progress.decided,
        progress.best_epoch,
        progress.stopped_early,
        folder / WEIGHTS_FILE,
        verify_file(folder / WEIGHTS_FILE),
        time.perf_counter() - started,
        peak_memory_mib(device),
    )
