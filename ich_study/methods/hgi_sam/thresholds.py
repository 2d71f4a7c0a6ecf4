"""Where HGI-SAM's thresholds come from: the other folds' masks, or no mask at all.

HGI-SAM paper, Section 3.2.2: a fold is scored at the threshold that is best on the remaining folds.
Its code searches a coarser grid and stops at the first threshold that does not improve
(printed_and_authors, 003.10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.evaluate.heat import Heat, ReaderHeat, batches
from ich_study.evaluate.mask_free import otsu_cut
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.score import Scores, score
from ich_study.evaluate.thresholds import (
    Choice,
    Threshold,
    choose,
    fixed_threshold,
    threshold_frame,
)
from ich_study.evaluate.truth import PackedMasks, Truth

GRID = np.arange(101) / 100
"""The printed grid: 0 to 1 in steps of 0.01; the code's grids lie on it."""
TRIED: dict[str, np.ndarray] = {
    "printed": np.arange(len(GRID)),
    "norm_of_head": np.arange(len(GRID)),
    "authors": np.arange(1, 100, 2),
    "authors, swin_grad_cam": np.arange(10, 91, 10),
}
"""Which steps of GRID a search tries: the code takes 0.01 to 0.99 in steps of 0.02, and 0.1 to 0.9
for Swin-Grad-CAM."""
BINS = 256
RIVAL_GRAIN = 0.05
"""Grain of the random rival, as a share of the slice's side."""


def scores_of(heats: Iterable[Heat], truth: Truth) -> dict[str, Scores]:
    """Every heat on GRID, by its name."""
    return {heat.name: score(heat, truth, GRID) for heat in heats}


def rival_heats(truth: Truth, seed: int) -> list[ReaderHeat]:
    """The trivial rivals, the noise as coarse as two tokens of the first stage."""
    return rivals(truth, smoothness_px=RIVAL_GRAIN * truth.size, seed=seed)


def of_other_folds(scores: Scores, folds: pd.Series | np.ndarray) -> Choice:
    """Each fold's threshold, the best mean Dice over slices with truth of the other folds, searched
    as the variant of the scores does.

    folds: of each slice, (slices,).
    """
    tried = TRIED.get(f"{scores.variant}, {scores.name}", TRIED[scores.variant])
    stop = "first" if scores.variant == "authors" else "best"
    search = {"unit": "slice", "stop": stop, "tried": tried}
    return choose(scores, "masks-validation", folds=np.asarray(folds), **search)


def without_masks(
    scores: Mapping[str, Scores],
    heats: Mapping[str, Heat],
    positive: pd.Series,
    brain: PackedMasks | np.ndarray,
) -> dict[str, Choice]:
    """Every method of `scores` at Otsu's threshold of its heat on other slices.

    heats: of slices that are scored nowhere, positive, brain: see `otsu_threshold`.
    """
    found = {}
    for name, heat in heats.items():
        threshold = otsu_threshold(heat, positive, brain)
        found[name] = choose(scores[name], threshold.source, given=threshold)
    return found


def otsu_threshold(
    heat: Heat, positive: pd.Series, brain: PackedMasks | np.ndarray, batch: int = 64
) -> Threshold:
    """A threshold that saw no mask: Otsu's cut through the heat in the brain of slices labelled
    positive.

    positive: bool per slice, the label that such training has anyway. On GRID; source `labels`.
    Where no map has any heat there is nothing to part: the threshold is fixed at one half, source
    `none`. Raises DataError where no slice is positive.
    """
    wanted = np.flatnonzero(np.asarray(positive, bool))
    if not len(wanted):
        raise DataError("no slice is labelled positive; Otsu's cut has no heat to part")
    histogram = np.zeros(BINS, np.int64)
    for part in batches(len(wanted), batch):
        inside = brain[wanted[part]]
        values = heat.read(wanted[part])[:, 0][inside]
        histogram += np.bincount(np.round(values * (BINS - 1)).astype(int), minlength=BINS)
    if not histogram[1:].any():
        return fixed_threshold(0.5, "fixed, no heat in the brain of any positive slice")
    cut = (otsu_cut(histogram) + 1) / (BINS - 1)
    nearest = float(GRID[np.abs(GRID - cut).argmin()])
    return Threshold(nearest, "labels", "Otsu of the heat in the brain of positive slices")


def thresholds_table(
    tuned: Mapping[str, Choice], free: Mapping[str, Choice], variant: str
) -> pd.DataFrame:
    """Every threshold used, a row per method and fold, with where it came from; fold empty where
    one serves all."""
    tables = []
    for method, choice in tuned.items():
        by_fold = {str(fold): threshold for fold, threshold in choice.by_fold.items()}
        table = threshold_frame(by_fold).rename(columns={"class": "fold"})
        tables.append(table.assign(method=method))
    single = {method: choice.single for method, choice in free.items()}
    tables.append(threshold_frame(single).rename(columns={"class": "method"}).assign(fold=""))
    return pd.concat(tables, ignore_index=True).assign(variant=variant)
