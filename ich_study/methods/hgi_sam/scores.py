"""From fused maps to counts of pixels: thresholds by fold, from the other folds' masks or from no
mask at all.

HGI-SAM paper, Section 3.2.2: a fold is scored at the threshold that is best on the remaining folds.
Its code searches a coarser grid and stops at the first threshold that does not improve
(printed_and_authors, 003.10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.mask_free import otsu_cut
from ich_study.evaluate.thresholds import (
    Threshold,
    counts_over_grid,
    fixed_threshold,
    mask_threshold,
)
from ich_study.metrics.localisation import mass_inside, pointing_game
from ich_study.metrics.overlap import Counts

GRID = np.arange(101) / 100
"""The printed grid: 0 to 1 in steps of 0.01; the code's grids lie on it."""
SEARCHES: tuple[str, ...] = ("printed", "authors")
BINS = 256
ReadMaps = Callable[[slice, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class MapScores:
    """What a method's maps give before a threshold: counts (slices, 101) over GRID, and per slice
    the pointing game and the share of the map's mass in the truth (NaN without truth)."""

    counts: Counts = field(repr=False)
    pointing: np.ndarray = field(repr=False)
    mass: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class FoldThresholds:
    """by_fold: each fold's threshold, chosen without it. counts: (slices,) at the threshold of the
    slice's fold."""

    by_fold: dict[int, Threshold]
    counts: Counts = field(repr=False)


def score_maps(
    read: ReadMaps,
    truth: np.ndarray,
    brain: np.ndarray | None,
    batch: int = 64,
    tolerance_px: int = 0,
) -> MapScores:
    """Scores of all slices, a batch at a time. truth: bool (N, S, S). read: places and their brain
    to maps in [0, 1]."""
    if not len(truth):
        raise DataError("no slices to score: the test set is empty")
    parts = []
    for start in range(0, len(truth), batch):
        places = slice(start, min(start + batch, len(truth)))
        maps, inside = read(places, None if brain is None else brain[places]), truth[places]
        parts.append(
            (
                counts_over_grid(maps, inside, GRID),
                pointing_game(maps, inside, tolerance_px),
                mass_inside(maps, inside),
            )
        )
    counts, pointing, mass = zip(*parts)
    joined = Counts(
        *(np.concatenate([getattr(part, name) for part in counts]) for name in ("tp", "fp", "fn"))
    )
    return MapScores(joined, np.concatenate(pointing), np.concatenate(mass))


def search_grid(search: str, method: str) -> np.ndarray:
    """Places on GRID that a search tries: all of them as printed; in the code 0.01 to 0.99 in steps
    of 0.02, and 0.1 to 0.9 in steps of 0.1 for Swin-Grad-CAM."""
    if search not in SEARCHES:
        raise ParameterError(
            f"threshold search is {search!r}; expected one of {', '.join(SEARCHES)}"
        )
    if search == "printed":
        return np.arange(len(GRID))
    return np.arange(10, 91, 10) if method == "swin_grad_cam" else np.arange(1, 100, 2)


def fold_thresholds(counts: Counts, folds: np.ndarray, search: str, method: str) -> FoldThresholds:
    """Threshold of every fold, the best mean Dice over slices with truth of the other folds, and
    the counts there.

    counts: (slices, 101) over GRID. folds: (slices,). Raises DataError for fewer than two folds or
    where the other folds hold no truth.
    """
    names = np.unique(folds)
    if len(names) < 2:
        raise DataError(
            f"{len(names)} fold(s); a threshold from the other folds needs at least two"
        )
    places, stop = search_grid(search, method), "best" if search == "printed" else "first"
    chosen, picked = {}, np.zeros(len(folds), int)
    for name in names:
        others = counts[folds != name]
        if not (others.tp + others.fn)[:, 0].any():
            raise DataError(
                f"no slice outside fold {name} holds hemorrhage; its threshold cannot be chosen on"
                " the others"
            )
        chosen[int(name)] = mask_threshold(
            others[:, places], GRID[places], "masks-validation", "slice", stop
        )
        picked[folds == name] = round(chosen[int(name)].value * 100)
    return FoldThresholds(chosen, counts[np.arange(len(folds)), picked])


def at_threshold(counts: Counts, threshold: Threshold) -> Counts:
    """Counts (slices,) at one threshold of GRID."""
    return counts[:, round(threshold.value * 100)]


def otsu_threshold(
    read: ReadMaps, positive: pd.Series, brain: np.ndarray, batch: int = 64
) -> Threshold:
    """A threshold that saw no mask: Otsu's cut through the heat in the brain of slices labelled
    positive.

    positive: bool per slice, the label that such training has anyway. On GRID; source `labels`.
    Where no map has
    any heat there is nothing to part: the threshold is fixed at one half, source `none`.
    Raises DataError where no slice is positive, StudyError where their maps hold one other value
    only.
    """
    wanted = np.flatnonzero(np.asarray(positive, bool))
    if not len(wanted):
        raise DataError("no slice is labelled positive; Otsu's cut has no heat to part")
    heat = np.zeros(BINS, np.int64)
    for start in range(0, len(wanted), batch):
        places = wanted[start : start + batch]
        inside = brain[places]
        heat += np.bincount(
            np.round(read(places, inside)[inside] * (BINS - 1)).astype(int), minlength=BINS
        )
    if not heat[1:].any():
        return fixed_threshold(0.5, "fixed, no heat in the brain of any positive slice")
    cut = (otsu_cut(heat) + 1) / (BINS - 1)
    return Threshold(
        float(GRID[np.abs(GRID - cut).argmin()]),
        "labels",
        "Otsu of the heat in the brain of positive slices",
    )
