"""Heat against truth: the one place where a method's maps become counts.

One pass over the slices gives the pixel counts at every threshold of a grid, the pointing game and
the share of the heat's mass inside the truth. Which threshold is taken, and who chose it, is said
in `evaluate.thresholds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import pandas as pd

from ich_study.errors import MapError
from ich_study.evaluate.heat import Heat, Index, batches
from ich_study.evaluate.thresholds import counts_over_grid
from ich_study.evaluate.truth import Truth
from ich_study.metrics.cores import side_by_side
from ich_study.metrics.localisation import mass_inside, pointing_game
from ich_study.metrics.overlap import Counts


@dataclass(frozen=True)
class Scores:
    """What one method's heat of one class scored.

    grid: thresholds, ascending (T,). counts: pixels of `heat >= threshold` per slice, (N, T).
    pointing, mass: per slice (N,), NaN without truth (mass also where a map holds no heat above 0).
    rows: of the slice index, (N,).
    """

    name: str
    variant: str
    layer: str | None
    class_name: str
    grid: np.ndarray = field(repr=False)
    counts: Counts = field(repr=False)
    pointing: np.ndarray = field(repr=False)
    mass: np.ndarray = field(repr=False)
    rows: pd.DataFrame = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positive(self) -> np.ndarray:
        """Slices with truth, bool (N,)."""
        return np.isfinite(self.pointing)

    def columns(self) -> dict[str, str | None]:
        """Columns of the result table that name these scores."""
        return {
            "method": self.name,
            "variant": self.variant,
            "layer": self.layer,
            "class": self.class_name,
        }


def score(
    heat: Heat,
    truth: Truth,
    grid: Sequence[float] = (),
    class_name: str = "any",
    batch: int = 64,
) -> Scores:
    """Scores of one class; see `score_classes`."""
    return score_classes(heat, truth, grid, (class_name,), batch)[class_name]


def score_classes(
    heat: Heat,
    truth: Truth,
    grid: Sequence[float] = (),
    classes: Sequence[str] = ("any",),
    batch: int = 64,
    tolerance_px: int = 0,
) -> dict[str, Scores]:
    """Scores of several classes in one pass over the heat, by class.

    grid: ascending thresholds; without any, only slices with truth are read and nothing is counted.
    tolerance_px: of the pointing game. A method with heat of one class is scored with it on every
    class asked for (a rival, a binary classifier). Raises MapError where heat and truth do not
    agree on slices or size.
    """
    if len(heat) != len(truth):
        raise MapError(f"{heat.name} has heat of {len(heat)} slices, the truth has {len(truth)}")
    missing = [name for name in classes if name not in heat.classes]
    if missing and len(heat.classes) != 1:
        raise MapError(f"{heat.name} has no heat of {missing}; it has {', '.join(heat.classes)}")
    thresholds, count = np.asarray(grid, np.float64), len(truth)
    counts = np.zeros((3, len(classes), count, len(thresholds)), np.int64)
    pointing, mass = np.full((2, len(classes), count), np.nan)
    reading = Lock()

    def score_batch(index: Index) -> None:
        with reading:  # a network may have to run for it, and does so for one caller at a time
            maps = heat.read(index)
        for number, name in enumerate(classes):
            inside = truth.mask(name, index)
            own = _maps_of(heat, maps, name, inside.shape)
            pointing[number, index] = pointing_game(own, inside, tolerance_px)
            mass[number, index] = mass_inside(np.maximum(own, 0), inside)
            if len(thresholds):
                counted = counts_over_grid(own, inside, thresholds)
                counts[:, number, index] = counted.tp, counted.fp, counted.fn

    for _ in side_by_side(score_batch, _read_in(truth, classes, batch, bool(len(thresholds)))):
        pass
    found = {}
    for number, name in enumerate(classes):
        named = (heat.name, heat.variant, heat.layer, name, thresholds, Counts(*counts[:, number]))
        found[name] = Scores(*named, pointing[number], mass[number], truth.rows)
    return found


def _read_in(truth: Truth, classes: Sequence[str], batch: int, everything: bool) -> list[Index]:
    """Which slices to read together: all of them, or those with truth of any class."""
    if everything:
        return list(batches(len(truth), batch))
    wanted = np.zeros(len(truth), bool)
    for name in classes:
        wanted |= truth.positive(name)
    numbers = np.flatnonzero(wanted)
    return [numbers[index] for index in batches(len(numbers), batch)]


def _maps_of(heat: Heat, maps: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    own = maps[:, heat.classes.index(name) if name in heat.classes else 0]
    if own.shape != shape:
        raise MapError(f"{heat.name}: maps of shape {own.shape}, the truth has {shape}")
    return own
