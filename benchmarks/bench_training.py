"""Training throughput: our Learner against a bare PyTorch loop over the same model and tensors, and
the loader against the model that it feeds. Prints the hardware and ratios measured in this process.

    python benchmarks/bench_training.py

Under two minutes on two cores. Targets: step ratio at least 0.95, loader ratio at least 1. With
`--epochs 2` each epoch of a training follows, with cuDNN's search for the fastest convolutions off
and on: on CUDA the search makes the first epoch longer and the others shorter.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ich_study.inputs.devices import device_name, resolve_device
from ich_study.inputs.slices import SliceDataset
from ich_study.models.backbones import Backbone, create_backbone
from ich_study.schema import INDEX_COLUMNS, LABELS, typed
from ich_study.training.callbacks import Checkpoints, EpochRecord
from ich_study.training.config import TrainingConfig
from ich_study.training.epochs import learner_of
from ich_study.training.fastai_api import DataLoaders
from ich_study.training.learner import Classification
from ich_study.training.losses import build_loss
from ich_study.training.resume import Destination, Progress

SLICES_PER_SCAN = 24
SMALL = {"channel_multiplier": 0.3, "depth_multiplier": 0.35}


@dataclass
class MappedScans:
    """Scans of noise on disk, memory-mapped as the store keeps them."""

    folder: Path
    index: pd.DataFrame
    content_hash: str = "benchmark"

    def volume(self, scan_id: str) -> np.ndarray:
        """int16 (slices, rows, columns)."""
        return np.load(self.folder / f"{scan_id}.npy", mmap_mode="r")


class FixedBatches:
    """The same ready tensors for both loops, so that only the loops differ."""

    def __init__(self, batches: list, dataset: SliceDataset, sampler: object) -> None:
        self._ready, self.dataset, self.batches = batches, dataset, sampler

    def __iter__(self):
        return iter(self._ready)

    def __len__(self) -> int:
        return len(self._ready)

    def to(self, device: torch.device) -> FixedBatches:
        """They are there already."""
        return self


def scans(folder: Path, count: int, side: int) -> MappedScans:
    """`count` scans of `side` x `side` noise."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        np.save(
            folder / f"scan{number}.npy",
            rng.integers(-1000, 1500, (SLICES_PER_SCAN, side, side), dtype=np.int16),
        )
        for index in range(SLICES_PER_SCAN):
            rows.append(
                {
                    "dataset": "benchmark",
                    "patient_id": f"p{number}",
                    "scan_id": f"scan{number}",
                    "slice_index": index,
                    "z_mm": 5.0 * index,
                    "shift_x_mm": 0.0,
                    "shift_y_mm": 0.0,
                    "spacing_x_mm": 0.5,
                    "spacing_y_mm": 0.5,
                    "thickness_mm": 5.0,
                    "rows": side,
                    "columns": side,
                    **{label: bool(rng.random() < 0.4) for label in LABELS},
                    "has_mask": False,
                    "has_boxes": False,
                    "source": "noise",
                }
            )
    return MappedScans(folder, typed(pd.DataFrame(rows), INDEX_COLUMNS, "index"))


def network(config: TrainingConfig, device: torch.device, name: str) -> Backbone:
    """The benchmark's network, the same weights every time."""
    backbone = create_backbone(
        name, config.outputs, config.in_channels, options=SMALL if device.type == "cpu" else {}
    )
    backbone.model.to(device)
    return backbone


def now(device: torch.device) -> float:
    """Seconds: of this process' work on the CPU, so that other programs do not count, or by the
    wall on CUDA."""
    return time.perf_counter() if device.type == "cuda" else time.process_time()


def wait(device: torch.device) -> None:
    """All queued work done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bare_seconds(config: TrainingConfig, device: torch.device, name: str, batches: list) -> float:
    """Seconds of one epoch of a plain PyTorch loop."""
    model, loss = network(config, device, name).model.train(), build_loss(config).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    wait(device)
    started = now(device)
    for inputs, labels in batches:
        loss(model(inputs), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    wait(device)
    return now(device) - started


def learner_seconds(
    task: Classification, config: TrainingConfig, name: str, loaders: DataLoaders, epochs: int = 1
) -> list[float]:
    """Seconds of the training part of each epoch through our Learner and all its callbacks."""
    device, seconds = loaders.device, []
    backbone = network(config, device, name)
    with tempfile.TemporaryDirectory() as folder:
        destination = Destination(Path(folder), {}, {})
        checkpoints = Checkpoints(config, destination, Progress(), None)
        callbacks = [EpochRecord(task), checkpoints]
        learner = learner_of(backbone.model, task, config, loaders, callbacks)
        learner.create_opt()
        learner.n_epoch = epochs
        learner("before_fit")
        for learner.epoch in range(epochs):
            learner("before_epoch")
            wait(device)
            started = now(device)
            learner._do_epoch_train()
            wait(device)
            seconds.append(now(device) - started)
    return seconds


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--network", default="tf_efficientnetv2_b0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=1, help="from 2 on each is timed")
    parser.add_argument(
        "--workers", type=int, default=0, help="on CUDA; on the CPU 0, whose work can be measured"
    )
    options = parser.parse_args()
    device = resolve_device(options.device)
    config = TrainingConfig(
        size=options.size,
        batch_size=options.batch_size,
        epochs=1,
        augmentation="lse_unet",
        num_workers=options.workers,
        max_train_batches=options.batches,
    )
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores,"
        f" {torch.get_num_threads()} threads"
    )
    print(
        f"{machine}; {device_name(device)}; torch {torch.__version__}; "
        f"{options.network}, {options.size} px, batches of {options.batch_size}"
    )
    with tempfile.TemporaryDirectory() as folder:
        source = scans(
            Path(folder), -(-options.batches * options.batch_size // SLICES_PER_SCAN), 512
        )
        task = Classification(config, config.preprocessing(), source, (source.index,) * 2)
        loaders = DataLoaders(*task.loaders(device), device=device)
        batches = list(loaders.train)
        fixed = FixedBatches(batches, loaders.train.dataset, loaders.train.batches)
        ready = DataLoaders(fixed, fixed, device=device)
        bare, ours, loading = [], [], []
        bare_seconds(config, device, options.network, batches)
        for _ in range(options.repeats):
            bare.append(bare_seconds(config, device, options.network, batches))
            ours += learner_seconds(task, config, options.network, ready)
        for _ in range(3):
            started = now(device)
            images = sum(len(labels) for _, labels in loaders.train)
            wait(device)
            loading.append((now(device) - started) / images)
        searched = {}
        for search in (False, True) if options.epochs > 1 else ():
            torch.backends.cudnn.benchmark = search
            searched[search] = learner_seconds(task, config, options.network, ready, options.epochs)
    images = sum(len(labels) for _, labels in batches)
    ratio = statistics.median(one / two for one, two in zip(bare, ours))
    step, load = min(bare) / images, min(loading)
    print(
        f"bare loop {step * 1e3:.2f} ms per slice; Learner {min(ours) / images * 1e3:.2f}; step"
        f" ratio {ratio:.3f} (target 0.95)"
    )
    print(
        f"loader, 512 px HU on disk to augmented input: {load * 1e3:.2f} ms per slice with"
        f" {options.workers} workers; loader ratio {step / load:.2f} (target 1: the model never"
        " waits)"
    )
    for search, epochs in searched.items():
        each = ", ".join(f"{spent / images * 1e3:.2f}" for spent in epochs)
        print(f"cuDNN's search {'on' if search else 'off'}: epochs of {each} ms per slice")


if __name__ == "__main__":
    main()
