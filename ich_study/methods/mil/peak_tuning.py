"""Bayesian optimisation of the MIL detector's h, T and d (Section II-E; printed_and_authors,
004.8).

A Gaussian process with an upper confidence bound (the package `bayesian-optimization`, the paper's
[22]) maximises the point F1, which the paper calls Dice, over slices with boxes. The tuning slices
are never the ones that are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from bayes_opt import BayesianOptimization
from tqdm import tqdm

from ich_study.atomic import write_csv
from ich_study.errors import ParameterError, StudyError
from ich_study.hashing import sha256_bytes, sha256_lines
from ich_study.methods.mil.peaks import Detector, Peaks
from ich_study.methods.mil.points import point_counts, point_f1
from ich_study.metrics.overlap import Counts, stack_counts

HISTORY_FILE = "tuning.csv"
COLUMNS = ("evaluation", "prominence", "threshold", "distance", "point_f1", "run")


@dataclass(frozen=True)
class Bounds:
    """Where to look: each (low, high); d in pixels of a 256-pixel map."""

    prominence: tuple[float, float]
    distance: tuple[float, float]
    threshold: tuple[float, float]

    def __post_init__(self) -> None:
        for name, (low, high) in vars(self).items():
            if not low < high or (name != "threshold" and low < (1 if name == "distance" else 0)):
                raise ParameterError(
                    f"tuning bounds of {name} are {low} to {high}; expected a rising pair, h from"
                    " 0, d from 1"
                )

    def on_side(self, side: int, reference: int = 256) -> Bounds:
        """The same bounds for maps of `side` pixels: d scaled."""
        low, high = (value * side / reference for value in self.distance)
        return Bounds(self.prominence, (max(1.0, low), max(2.0, high)), self.threshold)


BOUNDS: dict[str, Bounds] = {
    "max_pooling": Bounds((0.0, 1.5), (1.0, 60.0), (0.0, 2.0)),
    "attention": Bounds((0.0, 0.06), (1.0, 60.0), (0.0, 0.03)),
}
"""Of the authors' last histories (printed_and_authors, 004.8). Pooling's T is on logits,
attention's on weights that sum to 1."""


def tuning_bounds_of(
    head: str, override: Mapping[str, Mapping[str, Sequence[float]]] | None, side: int
) -> Bounds:
    """The bounds of one head on maps of `side` pixels; `override` replaces some, as {head:
    {prominence: [low, high]}}.

    Raises ParameterError for an unknown head or bound.
    """
    if head not in BOUNDS:
        raise ParameterError(f"no tuning bounds for head {head!r}; known: {', '.join(BOUNDS)}")
    given = {
        name: tuple(float(value) for value in pair)
        for name, pair in (override or {}).get(head, {}).items()
    }
    unknown = set(given) - set(vars(BOUNDS[head]))
    if unknown or any(len(pair) != 2 for pair in given.values()):
        raise ParameterError(
            f"tuning bounds {given} of {head}; expected pairs for some of"
            f" {', '.join(vars(BOUNDS[head]))}"
        )
    return replace(BOUNDS[head], **given).on_side(side)


@dataclass(frozen=True)
class Search:
    """How to look for h, T and d.

    start: gives order and border rule; its h, T and d are not used. folder: keeps every
    evaluation. initial: random points first; iterations: points that the search suggests.
    restart_changed: a search of other slices or settings in `folder` gives way, else it is an
    error.
    """

    bounds: Bounds
    start: Detector
    folder: Path
    iterations: int = 150
    initial: int = 10
    seed: int = 1
    restart_changed: bool = False


class Scored(Protocol):
    """What is tuned on: `mil_detector.ScoredMaps`."""

    boxes: list[np.ndarray]
    logits: np.ndarray
    cells: np.ndarray

    def peaks(self, detector: Detector) -> list[Peaks]:
        """Peaks of every slice."""


@dataclass(frozen=True)
class Tuning:
    """detector: the best one found. history: a row per evaluation, COLUMNS. point_f1: its value on
    the tuning slices."""

    detector: Detector
    history: pd.DataFrame = field(repr=False)
    point_f1: float


def detection_counts(scored: Scored, detector: Detector) -> Counts:
    """Counts of every slice by the rule of the code (`metrics.points.point_counts`)."""
    return stack_counts(
        [
            point_counts(found.points, boxes)
            for found, boxes in zip(scored.peaks(detector), scored.boxes)
        ]
    )


def tune_detector(scored: Scored, search: Search, report: Callable[[str], None] = print) -> Tuning:
    """The detector with the largest point F1 on `scored`, summed over all its slices, negatives
    too.

    d is truncated to whole pixels, as in the code. Called again after a kill, the evaluations in
    the folder are taken from there and the search goes on to the same end. Raises StudyError where
    no slice has a box.
    """
    if not any(map(len, scored.boxes)):
        raise StudyError(
            f"none of the {len(scored.boxes)} tuning slices has a box; h, T and d cannot be tuned"
            " on them"
        )
    run = _fingerprint(scored, search)
    known = _known(search.folder, run, search.restart_changed)
    # the random points are drawn in this order
    limits = {
        name: getattr(search.bounds, name) for name in ("distance", "prominence", "threshold")
    }
    optimiser = BayesianOptimization(
        f=None,
        pbounds=limits,
        random_state=search.seed,
        allow_duplicate_points=True,
        verbose=0,
    )
    drawn = optimiser.random_sample(search.initial)
    for number in tqdm(
        range(search.initial + search.iterations),
        "tuning the detector",
        unit="evaluation",
        mininterval=5,
        leave=False,
    ):
        point = drawn[number] if number < search.initial else optimiser.suggest()
        if number >= len(known):
            detector = _detector(point, search.start)
            value = float(point_f1(detection_counts(scored, detector).sum()))
            known.append({"evaluation": number, **vars_of(detector), "point_f1": value, "run": run})
            write_csv(search.folder / HISTORY_FILE, pd.DataFrame(known, columns=list(COLUMNS)))
        optimiser.register(params=point, target=known[number]["point_f1"])
    history = pd.DataFrame(known[: search.initial + search.iterations], columns=list(COLUMNS))
    best = history.loc[history["point_f1"].idxmax()]
    detector = search.start.changed(
        prominence=float(best["prominence"]),
        threshold=float(best["threshold"]),
        distance=int(best["distance"]),
    )
    report(
        f"tuned on {len(scored.boxes)} slices with {sum(map(len, scored.boxes))} boxes:"
        f" h={detector.prominence:.4g}, T={detector.threshold:.4g}, d={detector.distance}, point F1"
        f" {best['point_f1']:.3f} after {len(history)} evaluations"
    )
    return Tuning(detector, history, float(best["point_f1"]))


def best_threshold(values: Callable[[float], Counts], grid: np.ndarray) -> float:
    """The threshold of `grid` whose counts, summed over slices, have the largest point F1; of
    equals the highest."""
    scores = np.nan_to_num(
        [float(point_f1(values(float(threshold)).sum())) for threshold in grid], nan=-1
    )
    return float(grid[len(grid) - 1 - int(np.argmax(scores[::-1]))])


def vars_of(detector: Detector) -> dict[str, float]:
    """h, T and d as the history holds them."""
    return {
        "prominence": detector.prominence,
        "threshold": detector.threshold,
        "distance": detector.distance,
    }


def _detector(point: dict[str, float], start: Detector) -> Detector:
    return start.changed(
        prominence=float(point["prominence"]),
        threshold=float(point["threshold"]),
        distance=max(1, int(point["distance"])),
    )


def _fingerprint(scored: Scored, search: Search) -> str:
    arrays = [scored.cells, *scored.boxes]
    content = [
        f"{array.shape} {sha256_bytes(np.ascontiguousarray(array).tobytes())}" for array in arrays
    ]
    start = search.start
    settings = [
        repr(search.bounds),
        start.order,
        str(start.blind_border),
        str(search.seed),
        str(search.initial),
    ]
    return sha256_lines([*content, *settings])[:16]


def _known(folder: Path, run: str, restart_changed: bool) -> list[dict[str, float | str]]:
    path = folder / HISTORY_FILE
    if not path.is_file():
        return []
    history = pd.read_csv(path, dtype=str)
    if tuple(history.columns) != COLUMNS or set(history["run"]) - {run}:
        if restart_changed:
            return []
        raise StudyError(
            f"{path} is the tuning of other slices, bounds or settings; delete it, or choose"
            " another folder"
        )
    # numbers as text, read back by Python, are what was written to the last bit
    exact = {
        "evaluation": int,
        "distance": int,
        **dict.fromkeys(("prominence", "threshold", "point_f1"), float),
    }
    return [
        {name: exact.get(name, str)(value) for name, value in row.items()}
        for row in history.to_dict("records")
    ]
