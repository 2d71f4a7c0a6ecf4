"""What one method gives on the slices of one data set: heat on one grid, marks, points, time.

Every method is given whole scans and sees them as it was trained to. What it says comes back to the
scan's own grid and from there to one grid for all, under one brain mask for all: a method does not
win by where it looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import expit
from tqdm import tqdm

from ich_study.cross.answers import ANY, Answer, Crew, ask_all, task_of
from ich_study.evaluate.heat import ArrayHeat, Heat
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.scan_methods import ScanMethod, ScanRecipe
from ich_study.evaluate.truth import Truth
from ich_study.evaluate.unseen import assert_unseen
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.models.weights import read_metadata
from ich_study.new_scan.apply import recipes_of
from ich_study.run.before import EVERY, PUBLISHED
from ich_study.splits.split import fold_split, rows_of
from ich_study.store.read import Store
from ich_study.study import Study

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


def measure_methods(
    methods: Mapping[str, ScanMethod],
    store: Store,
    truth: Truth,
    crew: Crew | None = None,
    progress: bool = True,
) -> dict[str, Entry]:
    """Trained methods on all slices of `truth`, scan by scan.

    crew: processes that have opened the same methods; without them, all is done here.
    """
    groups = truth.rows.groupby("scan_id", sort=False)
    tasks = [task_of(store, str(scan_id), rows, truth.size) for scan_id, rows in groups]
    said = map(partial(ask_all, methods), tasks) if crew is None else crew(tasks)
    found: list[dict[str, Answer]] = []
    with tqdm(
        total=len(truth), unit="slice", mininterval=5, leave=False, disable=not progress
    ) as bar:
        for task, answers in zip(tasks, said):
            found.append(answers)
            bar.update(len(task.slices))
    order = np.argsort(np.concatenate([rows.index for _, rows in groups]))
    inside = _inside(truth)
    return {
        name: _entry(name, method.recipe, [each[name] for each in found], order, inside)
        for name, method in methods.items()
    }


def _entry(
    name: str, recipe: ScanRecipe, answers: Sequence[Answer], order: np.ndarray, inside: np.ndarray
) -> Entry:
    """One method on all slices. order: of the truth's slices among those of `answers`."""
    heat = _brain_only(np.concatenate([each.heat for each in answers])[order], inside)
    own = [points for each in answers for points in each.points]
    points = [
        _peaks(one) if own[number] is None else _with_heat(own[number], one)
        for number, one in zip(order, heat)
    ]
    return Entry(
        name,
        recipe.variant,
        False,
        ArrayHeat(name, recipe.variant, None, (ANY,), heat[:, None]),
        np.concatenate([each.marked for each in answers])[order] & inside,
        recipe.source,
        np.concatenate([each.logit for each in answers])[order],
        points,
        float(np.mean([each.seconds for each in answers])),
        max(each.memory_mib for each in answers),
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
    crew: Crew | None = None,
    progress: bool = True,
) -> dict[str, Entry]:
    """All methods and the trivial rivals on the slices of one truth, by name."""
    entries = measure_methods(methods, store, truth, crew, progress)
    return entries | measure_rivals(truth, smoothness_px, seed)


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
