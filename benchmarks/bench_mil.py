"""MIL detector, slices per second from HU to points: batched against the slice-by-slice pipeline of
the released code.

    python benchmarks/bench_mil.py

About a minute on two cores. Slice by slice is what the released code does: every block, those
without effect too, one slice at a time, scikit-image's `resize`, `peak_local_max` and `h_maxima`.
Both give the same points (checked). Target: at least 3 times. Random weights, which cost the same
as trained ones; `--weights FILE` takes a published checkpoint of the head. The two are timed in
turns, so that other programs disturb both alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.feature import peak_local_max
from skimage.morphology import h_maxima
from skimage.transform import resize
from torch.nn import functional

from ich_study.ct.windows import mil_channels
from ich_study.methods.mil.network import (
    HEADS,
    AuthorsNetwork,
    ReadyNetwork,
    create_mil,
    load_published,
    published_preprocessing,
)
from ich_study.methods.mil.peaks import PUBLISHED, Detector
from ich_study.methods.mil.pipeline import batch_size_on, locate


def heads_of_noise(count: int, side: int) -> np.ndarray:
    """int16 HU (count, side, side): a skull around noisy brain, some with a bleed."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    inside = np.hypot(rows / 0.42, columns / 0.33)
    hu = np.where(inside < 0.92, 30, np.where(inside < 1, 1000, -1000)) + rng.normal(
        0, 6, (count, side, side)
    )
    for number in range(0, count, 2):
        place = rng.uniform(-0.2, 0.2, 2)
        hu[number][np.hypot(rows - place[0], columns - place[1]) < rng.uniform(0.02, 0.07)] += 35
    return hu.round().astype(np.int16)


def released_likelihood(
    model: AuthorsNetwork, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's output with every block computed, as the released code does."""
    y, place = model.init_conv(x), 0
    for level in range(model.level_count):
        if level:
            y, place = model.layers[place](x), place + 1
        for _ in range(2):
            x = y
            for unit in model.layers[place : place + 3]:
                x = unit(x)
            x, place = x + y, place + 3
        x = functional.max_pool2d(x, 2)
    if model.attention is not None:
        return model.attention(x)
    maps = model.conv_final(x)[:, 0]
    return maps.flatten(1).amax(1, keepdim=True), maps


def slice_by_slice(model: AuthorsNetwork, hu: np.ndarray, detector: Detector) -> list[np.ndarray]:
    """Points of every slice, one slice at a time."""
    points = []
    for one in hu:
        with torch.inference_mode():
            _, maps = released_likelihood(model, torch.from_numpy(mil_channels(one))[None])
        likelihood = resize(maps[0].numpy(), one.shape)
        found = peak_local_max(
            likelihood, min_distance=detector.distance, threshold_abs=detector.threshold
        )
        points.append(found[h_maxima(likelihood, detector.prominence)[tuple(found.T)] != 0])
    return points


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def agree(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Share of slices with the same points; ties within rounding may fall to a neighbouring
    pixel."""
    same = [
        len(one) == len(two) and (not len(one) or int(np.abs(one - two).max()) <= 1)
        for one, two in zip(ours, theirs)
    ]
    return sum(same) / len(same)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--head", choices=HEADS, default="max_pooling")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    backbone = (
        load_published(options.weights, options.head)
        if options.weights
        else create_mil("authors", options.head)
    )
    model, detector = backbone.model.eval(), PUBLISHED[options.head]
    hu = heads_of_noise(options.slices, 256)
    fast = ReadyNetwork(backbone, published_preprocessing()).folded()
    settings = fast, detector, hu
    same = agree(
        [found.points for found in locate(*settings)[1]], slice_by_slice(model, hu, detector)
    )
    timed = [
        (seconds(lambda: locate(*settings)), seconds(lambda: slice_by_slice(model, hu, detector)))
        for _ in range(options.repeats)
    ]
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.threads}"
        f" threads; torch {torch.__version__}; {options.head}, {options.slices} slices of 256 px,"
        f" batches of {batch_size_on(fast.device)}"
    )
    print(f"same points in {same:.0%} of the slices")
    for name, clock in (("wall", 0), ("CPU", 1)):
        ours, theirs = (
            min(pair[side][clock] for pair in timed) / options.slices for side in (0, 1)
        )
        ratio = statistics.median(theirs_[clock] / ours_[clock] for ours_, theirs_ in timed)
        print(
            f"{name}: batched {ours * 1e3:.1f} ms a slice ({1 / ours:.1f} slices/s), slice by slice"
            f" {theirs * 1e3:.1f} ms; {ratio:.2f} times (target 3)"
        )


if __name__ == "__main__":
    main()
