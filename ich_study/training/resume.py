"""The state of an unfinished training run: what a killed run needs to go on from its last epoch.

Orders, augmentation and global random generators are functions of (seed, epoch, process), and
schedules of the step, so the state holds only what training itself accumulates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ich_study.atomic import atomic_path
from ich_study.errors import OtherRunError, RunError
from ich_study.hashing import sha256_bytes, sha256_lines
from ich_study.inputs.slices import ROW_KEYS, SliceDataset
from ich_study.models.weights import WEIGHTS_FILE

STATE_FILE = "state.pt"
HISTORY_FILE = "history.csv"
VERSION = 1


@dataclass
class Progress:
    """How far a run is. history: a row per finished epoch; decided: what `Task.decided` said then.
    best_value in the monitor's own sense."""

    history: list[dict[str, float]] = field(default_factory=list)
    decided: list[Tensor] = field(default_factory=list)
    best_epoch: int = -1
    best_value: float = float("nan")
    finished: bool = False
    stopped_early: bool = False

    @property
    def next_epoch(self) -> int:
        """Epoch to train next, counted from 0."""
        return len(self.history)

    def frame(self) -> pd.DataFrame:
        """The history as a table."""
        return pd.DataFrame(self.history)


@dataclass(frozen=True)
class Destination:
    """Where a run writes, what identifies it, and what its checkpoint says about the network."""

    folder: Path
    fingerprint: Mapping[str, str]
    metadata: Mapping[str, Any]


def slice_marks(data: Mapping[str, SliceDataset]) -> dict[str, str]:
    """Hashes of the slices of each part and their labels, by which a run tells its data."""
    found = {}
    for part, dataset in data.items():
        columns = [dataset.rows[name].astype(str) for name in ROW_KEYS]
        keys = columns[0].str.cat(columns[1:], sep=" ")
        labels = sha256_bytes(dataset.labels.numpy().tobytes())
        found[f"{part} slices"] = sha256_lines([dataset.source.content_hash, labels, *keys])
    return found


def save_state(
    folder: Path, marks: Mapping[str, str], progress: Progress, training: Mapping[str, Any]
) -> None:
    """Progress and the state dicts of model, optimizer and scaler, atomically."""
    content = {
        "version": VERSION,
        "fingerprint": dict(marks),
        "progress": dict(vars(progress)),
        "training": dict(training),
    }
    with atomic_path(folder / STATE_FILE) as temporary:
        torch.save(content, temporary)


def load_state(folder: Path, marks: Mapping[str, str]) -> tuple[Progress, dict[str, Any]] | None:
    """What `save_state` wrote, or None where the folder holds no state.

    Raises RunError when the file cannot be read, OtherRunError when it belongs to a run with
    other settings, network or slices, naming what differs.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, saved = content["version"], content["fingerprint"]
    except Exception as error:  # a damaged archive raises whatever its parser meets first
        raise RunError(
            f"{path} is not a training state ({error}); delete it to train from the start"
        ) from error
    if version != VERSION:
        raise RunError(
            f"{path} has version {version}, this code writes {VERSION}; delete it to train from the"
            " start"
        )
    different = sorted(name for name in {*saved, *marks} if saved.get(name) != marks.get(name))
    if different:
        shown = "; ".join(
            f"{name}: was {_short(saved.get(name))}, now {_short(marks.get(name))}"
            for name in different[:4]
        )
        more = f" and {len(different) - 4} more" if len(different) > 4 else ""
        raise OtherRunError(
            f"{folder} holds a run with other settings ({shown}{more}); train into another folder,"
            " delete this one, or set restart_changed"
        )
    return Progress(**content["progress"]), content["training"]


def forget_changed_run(folder: Path, marks: Mapping[str, str]) -> bool:
    """Deletes the state, weights and history of a run that is not of `marks`; whether there was
    one.

    A run of the same settings, finished or not, is left as it is.
    """
    try:
        load_state(folder, marks)
    except OtherRunError:
        for name in (STATE_FILE, WEIGHTS_FILE, HISTORY_FILE):
            (folder / name).unlink(missing_ok=True)
        return True
    return False


def _short(value: str | None) -> str:
    return "absent" if value is None else value if len(value) <= 40 else f"{value[:37]}..."
