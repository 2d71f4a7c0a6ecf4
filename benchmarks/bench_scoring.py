"""Scoring on one core and on several, side by side: the same numbers, the wall time of each.

    python benchmarks/bench_scoring.py [--cores 1 2] [--slices 96] [--size 256] [--repeats 3]
    [--device cpu]

Counts at 101 thresholds, pointing game and mass of one method's heat; surface distances of a volume
of blobs; the bootstrap of an AUROC; ROAD at nine shares with a classifier that costs nothing, on
`--device`. What the first number of cores gives is compared with what the others give. Printed per
core: slices a second, which `docs/scale.md` counts with.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from ich_study.ct.planes import PixelGrid
from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.score import score
from ich_study.evaluate.truth import Truth
from ich_study.inputs.devices import device_name, resolve_device
from ich_study.methods.cams.faithfulness import removal_ranks, road_combined
from ich_study.metrics.statistics import auroc_of_items, patient_bootstrap
from ich_study.metrics.surface import surface_distances

THRESHOLDS = np.linspace(0, 1, 101)


def blobs(count: int, size: int, seed: int) -> np.ndarray:
    """Smooth noise in [0, 1], float32 (count, size, size)."""
    noise = np.random.default_rng(seed).normal(size=(count, size, size)).astype(np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, size / 32, size / 32))
    return (smooth - smooth.min()) / np.ptp(smooth)


def truth_of(masks: np.ndarray) -> Truth:
    """Truth of masks of any hemorrhage, four slices a patient."""
    numbers = np.arange(len(masks))
    names = [f"p{number // 4}" for number in numbers]
    rows = pd.DataFrame({"patient_id": names, "scan_id": names, "slice_index": numbers % 4})
    rows["any"] = pd.array(masks.any((1, 2)), "boolean")
    boxes, ones = [np.zeros((0, 4)) for _ in masks], np.ones(len(masks))
    codes, hu = masks.astype(np.uint8), np.zeros(masks.shape, np.int16)
    return Truth(rows, "masks", masks.shape[-1], hu, codes, None, boxes, ones, ones)


def works(slices: int, size: int, device: torch.device) -> dict[str, tuple[Callable, int]]:
    """What is timed, and of how many slices or replicates each is."""
    masks, maps = blobs(slices, size, 0) > 0.62, blobs(slices, size, 1)
    heat = ArrayHeat("heat", "printed", None, ("any",), maps[:, None])
    truth, rng = truth_of(masks), np.random.default_rng(2)
    volume = masks[:32], np.roll(masks[:32], 3, axis=2)
    grid = PixelGrid.even(len(volume[0]), (5.0, 0.5, 0.5))
    patients, labels = np.arange(20_000) // 30, rng.random(20_000) > 0.6
    area = auroc_of_items(patients, labels, rng.random(20_000) + 0.3 * labels)
    channels = torch.from_numpy(maps[:8, None].copy()).to(device)
    ranks = removal_ranks(channels[:, 0], 0)

    def certain(altered: torch.Tensor) -> torch.Tensor:
        return altered.mean((1, 2, 3))

    nine = tuple(number / 10 for number in range(1, 10))
    road = partial(road_combined, certain, channels, ranks, nine, 0.01, 0)
    return {
        "counts at 101 thresholds": (partial(score, heat, truth, THRESHOLDS, batch=8), slices),
        "surface distances": (partial(surface_distances, *volume, grid), len(volume[0])),
        "bootstrap of an AUROC": (partial(patient_bootstrap, area, 1000), 1000),
        "ROAD at nine shares": (road, len(channels)),
    }


def flat(found: object) -> np.ndarray:
    """The numbers of a result, to compare."""
    if hasattr(found, "counts"):
        return np.concatenate([found.counts.tp.ravel(), found.mass, found.pointing])
    if hasattr(found, "low"):
        return np.array([found.value, found.low, found.high])
    parts = [part.cpu().numpy() if torch.is_tensor(part) else part for part in found]
    return np.concatenate([np.ravel(part) for part in parts])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cores", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--slices", type=int, default=96)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f};"
        f" {device_name(device)}; torch {torch.__version__}; {asked.slices} slices of"
        f" {asked.size} px"
    )
    for name, (work, count) in works(asked.slices, asked.size, device).items():
        first = None
        for cores in asked.cores:
            os.environ["OMP_NUM_THREADS"] = str(cores)
            torch.set_num_threads(cores)
            walls, cpus = [], []
            for _ in range(asked.repeats):
                wall, cpu = time.perf_counter(), time.process_time()
                found = flat(work())
                walls.append(time.perf_counter() - wall)
                cpus.append(time.process_time() - cpu)
            first = found if first is None else first
            same = "" if np.allclose(found, first, atol=1e-6, equal_nan=True) else ", OTHER NUMBERS"
            print(
                f"{name:26s} {cores:2d} cores: {min(walls):7.3f} s, CPU {min(cpus):7.3f} s, "
                f"{count / min(cpus):9.1f} a CPU second{same}"
            )


if __name__ == "__main__":
    main()
