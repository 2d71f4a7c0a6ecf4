"""What one method gives on the slices of one data set: heat on one grid, marks, points, time.

Every method is given whole scans and sees them as it was trained to. What it says comes back to the
scan's own grid and from there to one grid for all, under one brain mask for all: a method does not
win by where it looks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch.nn import functional
from tqdm import tqdm

from ich_study.cross.memory import PeakMemory
from ich_study.evaluate.heat import ArrayHeat, Heat
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.scan_methods import OneScan, ScanMethod
from ich_study.evaluate.truth import Truth
from ich_study.evaluate.unseen import assert_unseen
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.models.weights import read_metadata
from ich_study.new_scan.apply import marked, recipes_of
from ich_study.run.before import EVERY, PUBLISHED
from ich_study.splits.split import fold_split, rows_of
from ich_study.store.read import Store
from ich_study.study import Study

ANY = "any"
PEAKS_PER_SLICE = 5
PEAK_DISTANCE_SHARE = 0.05
"""Peaks of one slice lie at least so far from each other, as a share of the grid's side."""


@dataclass(frozen=True)
class Entry:
    """One method on the slices of one truth, in their order.

    heat: of any hemorrhage, class `any`, lowest outside the brain. marked: bool (N, S, S), at the
    method's own threshold, which no mask of these slices chose; threshold_source: who did.
    logit: that a slice holds hemorrhage, (N,), None for a rival. points: of each slice, (n,
    3) of row, column and heat, the method's own where it gives points, else peaks of the heat.
    seconds, memory_mib: per scan; NaN for a rival. The weights are in memory before.
    """

    name: str
    variant: str
    rival: bool
    heat: Heat
    marked: np.ndarray = field(repr=False)
    threshold_source: str
    logit: np.ndarray | None = field(repr=False)
    points: list[np.ndarray] = field(repr=False)
    seconds: float = float("nan")
    memory_mib: float = float("nan")

    @property
    def probability(self) -> np.ndarray | None:
        """That a slice holds hemorrhage, (N,), None for a rival."""
        return None if self.logit is None else expit(self.logit)


def common_grid(side: int) -> Preprocessing:
    """The grid that all are scored on: whole slices squeezed to `side` rows and columns."""
    return Preprocessing(("brain",), "fixed", 1, side, "none", (0.0,), (1.0,))


def tested_rows(study: Study, dataset: str, place: str) -> pd.DataFrame:
    """Slices of the patients that all are tested on. place: `all`, `<split>/<part>`, or, of folds,
    `<split>/<number>`: the patients that this fold tests."""
    if place == "all":
        return study.rows(dataset)
    split, part = place.split("/")
    if not part.isdigit():
        return study.rows(dataset, split, part)
    index = study.stores[dataset].index
    return rows_of(index, fold_split(index, study.splits[split], int(part)), "test")


def check_unseen(sources: Sequence[str], rows: pd.DataFrame) -> list[str]:
    """Raise SplitError where weights of `new_scan.apply.open_methods` learned from a patient of
    `rows`; give back the sources that do not say from whom they learned."""
    silent = []
    for source in sources:
        for path, _ in recipes_of(source):
            if source.startswith(PUBLISHED) or "patients" not in read_metadata(path):
                silent.append(source.removeprefix(EVERY))
            else:
                assert_unseen(path, rows)
    return list(dict.fromkeys(silent))


def measure_method(
    name: str, method: ScanMethod, store: Store, truth: Truth, progress: bool = True
) -> Entry:
    """One trained method on all slices of `truth`, scan by scan."""
    count, side, recipe = len(truth), truth.size, method.recipe
    classes = recipe.classes
    heat = np.zeros((count, len(classes), side, side), np.float32)
    logits = np.zeros((count, len(classes)))
    own_points: list[np.ndarray | None] = [None] * count
    groups = truth.rows.groupby("scan_id", sort=False)
    seconds, peak = 0.0, PeakMemory()
    bar = {"unit": "scan", "mininterval": 5, "leave": False, "disable": not progress}
    for scan_id, rows in tqdm(groups, name, **bar):
        pixel_mm = tuple(rows[["spacing_y_mm", "spacing_x_mm"]].iloc[0].astype(float))
        scan = OneScan(str(scan_id), np.array(store.volume(scan_id)), pixel_mm)
        slices = rows["slice_index"].to_numpy()
        with peak:
            started = time.perf_counter()
            said = method.say(scan)
            maps = torch.from_numpy(said.heat.read(slices))
            seconds += time.perf_counter() - started
        heat[rows.index] = _on_grid(maps, method, scan.hu.shape[1:], side)
        logits[rows.index] = said.logits[slices]
        for index, number in zip(rows.index, slices):
            if said.points is not None:
                found = method.preprocessing.native_points(
                    torch.from_numpy(np.asarray(said.points[number])), *scan.hu.shape[1:]
                ).numpy()
                scale = np.array([side / scan.hu.shape[1], side / scan.hu.shape[2]])
                own_points[index] = (found + 0.5) * scale - 0.5
    inside = _inside(truth)
    codes = marked(heat.swapaxes(0, 1), expit(logits), recipe)
    together = _brain_only(heat.max(1), inside)
    return Entry(
        name,
        recipe.variant,
        False,
        ArrayHeat(name, recipe.variant, None, (ANY,), together[:, None]),
        (codes > 0) & inside,
        recipe.source,
        logits[:, classes.index(ANY)] if ANY in classes else logits.max(1),
        [
            _peaks(each) if own is None else _with_heat(own, each)
            for own, each in zip(own_points, together)
        ],
        seconds / max(1, groups.ngroups),
        peak.mib,
    )


def measure_rivals(truth: Truth, smoothness_px: float, seed: int) -> dict[str, Entry]:
    """The trivial rivals, which know no network; each marks from half of its highest heat on."""
    inside, found = _inside(truth), {}
    for rival in rivals(truth, (ANY,), smoothness_px, seed):
        maps = rival.read(slice(None))
        found[rival.name] = Entry(
            rival.name,
            rival.variant,
            True,
            ArrayHeat(rival.name, rival.variant, None, (ANY,), maps),
            (maps[:, 0] >= 0.5) & inside,
            "none",
            None,
            [_peaks(each[0]) for each in maps],
        )
    return found


def measure_all(
    methods: Mapping[str, ScanMethod],
    store: Store,
    truth: Truth,
    smoothness_px: float,
    seed: int,
    progress: bool = True,
) -> dict[str, Entry]:
    """All methods and the trivial rivals on the slices of one truth, by name."""
    entries = {
        name: measure_method(name, method, store, truth, progress)
        for name, method in methods.items()
    }
    return entries | measure_rivals(truth, smoothness_px, seed)


def _on_grid(
    maps: torch.Tensor, method: ScanMethod, native: tuple[int, ...], side: int
) -> np.ndarray:
    """Maps (n, classes, s, s) of the network's grid, by way of the slice's, on the common grid."""
    parts = []
    for number in range(maps.shape[1]):
        whole = method.preprocessing.native(maps[:, number], *native)
        size = {"size": (side, side), "mode": "bilinear", "align_corners": False}
        parts.append(functional.interpolate(whole[None], antialias=True, **size)[0].numpy())
    return np.stack(parts, 1)


def _inside(truth: Truth) -> np.ndarray:
    return truth.brain[np.arange(len(truth))]


def _brain_only(maps: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Maps (N, S, S) with their lowest value wherever there is no brain."""
    return np.where(inside, maps, maps.min()).astype(np.float32)


def _peaks(heat: np.ndarray) -> np.ndarray:
    """The highest local maxima of one map, (n, 3) of row, column and heat; none of a flat map."""
    from skimage.feature import peak_local_max  # slow to import

    distance = max(1, round(PEAK_DISTANCE_SHARE * len(heat)))
    found = peak_local_max(
        heat, min_distance=distance, num_peaks=PEAKS_PER_SLICE, exclude_border=False
    )
    return _with_heat(found, heat)


def _with_heat(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    rows, columns = np.clip(np.rint(points).astype(int), 0, len(heat) - 1).T
    return np.c_[points, heat[rows, columns]].reshape(-1, 3).astype(np.float64)
