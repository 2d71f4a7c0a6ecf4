"""Speed of the joint threshold search: every one of the 32,768 settings one by one, and all at
once.

    python benchmarks/bench_joint_thresholds.py [--scans 192] [--slices 32] [--size 512]
                                                [--small-slices 4] [--small-size 64]

First both ways on a size where both finish: one by one is the package's own Algorithm 1
(`label_maps`) and counts pixels at each setting. All pixel counts of all settings must be equal,
else the run fails. Then `JointHistogram` alone on a test set of real size (BHSD: 192 scans, 32
slices each, 512 px), added scan by scan; and search, cross-fitting and counts per scan from
it. One by one is timed there at a few settings only, and
what all would take is printed as extrapolated. With fewer --scans than 192 so is the time for 192.

Heat is synthetic: smooth random fields of 128 px brought to 512, relative to each slice's maximum.
Two
loads: `usual` with as many subtypes per slice as BHSD's positive and negative slices have roughly
(none in half of them, mostly one or two in the rest), `worst` with all five in every slice. Making
heat is not timed. CPU time is little changed by other jobs on the machine; wall time needs it at
rest.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ich_study.evaluate.scaling import minmax, resized_maps
from ich_study.methods.lse_unet.algorithm1 import heat_levels, label_maps
from ich_study.methods.lse_unet.joint_histogram import JointHistogram
from ich_study.methods.lse_unet.joint_thresholds import best_setting, cross_fitted, setting_of
from ich_study.metrics.overlap import Counts
from ich_study.schema import SUBTYPES

REAL_SCANS = 192
POOL = 24
_PRESENT = {"usual": (0.5, 0.28, 0.14, 0.05, 0.02, 0.01), "worst": (0, 0, 0, 0, 0, 1)}


def smooth_heat(rng: np.random.Generator, slices: int, size: int) -> np.ndarray:
    """uint8 (slices, 5, size, size): smooth fields, mostly cold, with the maximum 255 in each."""
    heat = np.empty((slices, len(SUBTYPES), size, size), np.uint8)
    for target in heat:
        coarse = torch.from_numpy(
            rng.normal(size=(len(SUBTYPES), max(size // 16, 4), max(size // 16, 4))).astype(
                np.float32
            )
        )
        fields = (resized_maps(coarse, max(size // 4, 4)) - 0.6).clamp(min=0)
        target[:] = heat_levels(minmax(resized_maps(fields, size).numpy()))
    return heat


class Clock:
    """Wall and CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def seconds(self) -> np.ndarray:
        """(wall, CPU)."""
        return np.array([time.perf_counter(), time.process_time()]) - self._start


def slices_of(
    rng: np.random.Generator, pool: np.ndarray, slices: int, load: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heat (moved about, so that no two slices are equal), presence, and a truth that follows the
    heat of what is present."""
    heat = np.stack(
        [
            np.roll(pool[item], int(rng.integers(pool.shape[-1])), -1)
            for item in rng.integers(len(pool), size=slices)
        ]
    )
    many = rng.choice(6, size=slices, p=_PRESENT[load])
    present = np.argsort(rng.random((slices, len(SUBTYPES))), 1) < many[:, None]
    follows = label_maps(heat, present, rng.integers(120, 220, len(SUBTYPES)))
    return (
        heat,
        present,
        np.where(rng.random((slices, 1, 1)) < 0.8, np.roll(follows, 3, 1), 0).astype(np.uint8),
    )


def one_by_one(
    heat: np.ndarray, present: np.ndarray, truth: np.ndarray, settings: np.ndarray
) -> Counts:
    """Pixel counts (settings, 6) by applying Algorithm 1 at each setting."""
    codes = len(SUBTYPES) + 1
    pairs = []
    for setting in settings:
        pair = truth * codes + label_maps(heat, present, setting)
        pairs.append(np.bincount(pair.ravel(), minlength=codes**2))
    joint = np.reshape(pairs, (-1, codes, codes))
    tp = np.diagonal(joint, axis1=1, axis2=2)
    return Counts(tp, joint.sum(1) - tp, joint.sum(2) - tp)


def bench_small(slices: int, size: int) -> list[dict[str, object]]:
    """Both ways on the same slices; raises where any count differs."""
    rng = np.random.default_rng(0)
    pool = smooth_heat(rng, POOL, size)
    rows = []
    for load in _PRESENT:
        heat, present, truth = slices_of(rng, pool, slices, load)
        if not present.any():
            present[0, 0] = True
        clock = Clock()
        histogram = JointHistogram()
        histogram.add(heat, present, truth, "scan")
        ours = histogram.all_settings()
        at_once, clock = clock.seconds(), Clock()
        plain = one_by_one(heat, present, truth, histogram.settings())
        each = clock.seconds()
        same = all(
            np.array_equal(getattr(ours, name), getattr(plain, name)) for name in ("tp", "fp", "fn")
        )
        if not same:
            raise SystemExit(f"{load}: the counts of the two ways differ; the search is not exact")
        rows.append(
            {
                "load": load,
                "slices": slices,
                "px": size,
                "settings": len(plain.tp),
                "one by one, CPU s": each[1],
                "wall s": each[0],
                "all at once, CPU s": at_once[1],
                "wall s ": at_once[0],
                "faster, CPU": each[1] / at_once[1],
                "all counts equal": same,
            }
        )
    return rows


def count_scans(scans: int, slices: int, size: int, load: str) -> tuple[JointHistogram, np.ndarray]:
    """All scans in one histogram, with the wall and CPU seconds of adding them."""
    pool = smooth_heat(np.random.default_rng(1), POOL, size)
    histogram, seconds = JointHistogram(), np.zeros(2)
    for scan in range(scans):
        parts = slices_of(np.random.default_rng([2, scan]), pool, slices, load)
        clock = Clock()
        histogram.add(*parts, f"scan{scan:04d}")
        seconds += clock.seconds()
    return histogram, seconds


def plain_seconds(slices: int, size: int, load: str, settings: int = 6) -> float:
    """CPU seconds that one setting of one slice takes one by one."""
    rng = np.random.default_rng(3)
    heat, present, truth = slices_of(rng, smooth_heat(rng, POOL, size), slices, load)
    chosen = JointHistogram().settings()[rng.integers(8**5, size=settings)]
    clock = Clock()
    one_by_one(heat, present, truth, chosen)
    return clock.seconds()[1] / settings / slices


def bench_real(scans: int, slices: int, size: int) -> list[dict[str, object]]:
    """The search on the real size: adding, all settings, cross-fitting; and what one by one would
    take."""
    rows = []
    for load in _PRESENT:
        histogram, adding = count_scans(scans, slices, size, load)
        clock = Clock()
        chosen = best_setting(histogram, "masks-test")
        searching, clock = clock.seconds(), Clock()
        histogram.at(setting_of(chosen, SUBTYPES))
        cross_fitted(histogram, histogram.groups, 0).counts(histogram)
        fitting = clock.seconds()
        scaled = adding * REAL_SCANS / scans + searching + fitting
        plain = plain_seconds(slices, size, load) * REAL_SCANS * slices * 8**5 / 86400
        rows.append(
            {
                "load": load,
                "scans": scans,
                **pairs("adding", adding),
                **pairs("32,768 settings, the best of them", searching),
                **pairs("counts per scan, cross-fitting", fitting),
                **pairs(
                    f"all, {REAL_SCANS} scans" + ("" if scans == REAL_SCANS else " (extrapolated)"),
                    scaled,
                ),
                f"one by one, {REAL_SCANS} scans (extrapolated), CPU days": plain,
            }
        )
    return rows


def pairs(measure: str, seconds: np.ndarray) -> dict[str, object]:
    """Wall and CPU seconds under their names."""
    return {f"{measure}, wall s": seconds[0], f"{measure}, CPU s": seconds[1]}


def machine() -> str:
    """Processor, cores, load and versions that the numbers hold for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    versions = ", ".join(f"{package} {version(package)}" for package in ("numpy", "torch"))
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; Python"
        f" {platform.python_version()}, {versions}"
    )


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=REAL_SCANS)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--small-slices", type=int, default=4)
    parser.add_argument("--small-size", type=int, default=64)
    options = parser.parse_args()
    print(machine())
    small = bench_small(options.small_slices, options.small_size)
    print(
        "\nboth ways, on a size where both finish\n"
        + pd.DataFrame(small).to_string(index=False, float_format="{:.2f}".format)
    )
    real = bench_real(options.scans, options.slices, options.size)
    print(f"\n{options.scans} scans of {options.slices} slices at {options.size} px")
    print(pd.DataFrame(real).T.to_string(header=False, float_format="{:.2f}".format))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:.0f} MB (heat of one scan and the pool included)")


if __name__ == "__main__":
    main()
