"""What one method gives on the slices of one data set: heat on one grid, marks, points, time.

Every method is given whole scans and sees them as it was trained to. What it says comes back to the
scan's own grid and from there to one grid for all, under one brain mask for all: a method does not
win by where it looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from tqdm import tqdm

from ich_study.cross.answers import ANY, Answer, Crew, ScanTask, ask_all
from ich_study.evaluate.heat import ArrayHeat, Heat
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.scan_methods import ScanMethod
from ich_study.evaluate.truth import Truth
from ich_study.evaluate.unseen import assert_none_seen
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.splits.split import fold_split, rows_of
from ich_study.store.read import Store
from ich_study.study import Study

PEAKS_PER_SLICE = 5
PEAK_DISTANCE_SHARE = 0.05
"""Peaks of one slice lie at least so far from each other, as a share of the grid's side."""


@dataclass(frozen=True, repr=False)
class Entry:
    """One method on the slices of one truth, in their order.

    heat: of any hemorrhage, class `any`, lowest outside the brain. gated: what thresholds are tried
    on: lowest in slices, and of classes, that the method's own gate leaves out; without a gate the
    same. Heat that is scaled slice by slice is hot in healthy slices too, and only the gate says
    that they are healthy. marked: bool (N, S, S), at the method's own threshold, which no mask of
    these slices chose; threshold_source: who did. logit: that a slice holds hemorrhage, (N,), None
    for a rival. points: of each slice, (n, 3) of row, column and score, the method's own where it
    gives points, else peaks of the heat. The score is the heat; in slices that the gate leaves out
    it is below that of all others. seconds, memory_mib: per scan; NaN for a rival. The weights are
    in memory before. learned_from: as the method says, of a rival nothing.
    """

    name: str
    variant: str
    heat: Heat
    gated: Heat
    marked: np.ndarray
    threshold_source: str
    logit: np.ndarray | None
    points: list[np.ndarray]
    seconds: float
    memory_mib: float
    learned_from: str


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


def check_unseen(methods: Mapping[str, ScanMethod], rows: pd.DataFrame) -> list[str]:
    """Raise SplitError where one of `new_scan.apply.open_methods` learned from a patient of `rows`;
    give back those that do not say from whom they learned."""
    for name, method in methods.items():
        assert_none_seen(name, method.patients or {}, rows)
    return [name for name, method in methods.items() if method.patients is None]


def measured(
    methods: Mapping[str, ScanMethod],
    store: Store,
    truth: Truth,
    smoothness_px: float,
    seed: int,
    crew: Crew | None = None,
    heat_gb: float = 4.0,
) -> Iterator[Entry]:
    """All methods and then the trivial rivals on the slices of one truth, one after the other.

    crew: processes that have opened the same methods; without them, all is done here. heat_gb: of
    memory for heat. As many methods as fit are asked scan by scan together, since they share steps;
    where not even one fits, one is asked.
    """
    one_method = len(truth) * truth.size**2 * 9 / 2**30  # two float32 and a bool per pixel
    at_once = max(1, int(heat_gb / one_method))
    names = list(methods)
    for start in range(0, len(names), at_once):
        together = {name: methods[name] for name in names[start : start + at_once]}
        yield from _asked(together, store, truth, crew)
    yield from measured_rivals(truth, smoothness_px, seed)


def _asked(
    methods: Mapping[str, ScanMethod], store: Store, truth: Truth, crew: Crew | None
) -> Iterator[Entry]:
    """Entries of methods whose heat fits in memory together."""
    groups = list(truth.rows.groupby("scan_id", sort=False))
    tasks = [ScanTask(store, str(scan), rows, truth.size, list(methods)) for scan, rows in groups]
    said = map(partial(ask_all, methods), tasks) if crew is None else crew(tasks)
    grid = (len(truth), truth.size, truth.size)
    heat, gated = ({name: np.empty(grid, np.float32) for name in methods} for _ in range(2))
    marked = {name: np.empty(grid, bool) for name in methods}
    answers: dict[str, list[Answer]] = {name: [] for name in methods}
    with tqdm(total=len(truth), unit="slice", mininterval=5, leave=False) as bar:
        for (_, rows), found in zip(groups, said):
            for name, answer in found.items():
                heat[name][rows.index], gated[name][rows.index] = answer.heat, answer.gated
                marked[name][rows.index] = answer.marked
                answers[name].append(replace(answer, heat=None, gated=None, marked=None))
            bar.update(len(rows))
    order = np.concatenate([rows.index for _, rows in groups])
    inside = truth.brain[:]
    for name, method in methods.items():
        maps, kept, marks = heat.pop(name), gated.pop(name), marked.pop(name) & inside
        np.copyto(maps, maps.min(), where=~inside)
        yield _entry(name, method, maps, kept, marks, answers[name], order)


def _entry(
    name: str,
    method: ScanMethod,
    heat: np.ndarray,
    gated: np.ndarray,
    marked: np.ndarray,
    answers: Sequence[Answer],
    order: np.ndarray,
) -> Entry:
    """One method's entry. gated: -inf where the gate lets nothing through. order: where the slices
    of `answers`, one after the other, stand."""
    recipe = method.recipe
    back, lowest = np.argsort(order), float(heat.min())
    span = float(heat.max()) - lowest + 1
    closed = np.isneginf(gated).all((1, 2))
    gated = np.where(np.isneginf(gated), lowest, np.minimum(gated, heat))
    own = [found for each in answers for found in each.points]
    points = []
    for place, shut, whole, open_part in zip(back, closed, heat, gated):
        seen = whole if shut else open_part
        found = _peaks(seen) if own[place] is None else _with_heat(own[place], seen)
        points.append(found - (0, 0, span * shut))
    named = (name, recipe.variant, None, (ANY,))
    return Entry(
        name,
        recipe.variant,
        ArrayHeat(*named, heat[:, None]),
        ArrayHeat(*named, gated[:, None]),
        marked,
        recipe.source,
        np.concatenate([each.logit for each in answers])[back],
        points,
        float(np.mean([each.seconds for each in answers])),
        max(each.memory_mib for each in answers),
        method.learned_from,
    )


def measured_rivals(truth: Truth, smoothness_px: float, seed: int) -> Iterator[Entry]:
    """The trivial rivals, which know no network; each marks from half of its highest heat on."""
    inside = truth.brain[:]
    for rival in rivals(truth, (ANY,), smoothness_px, seed):
        maps = rival.read(slice(None))
        heat = ArrayHeat(rival.name, rival.variant, None, (ANY,), maps)
        yield Entry(
            rival.name,
            rival.variant,
            heat,
            heat,
            (maps[:, 0] >= 0.5) & inside,
            "none",
            None,
            [_peaks(each[0]) for each in maps],
            np.nan,
            np.nan,
            "nothing",
        )


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
