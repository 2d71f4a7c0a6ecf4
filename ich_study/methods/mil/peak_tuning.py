"""Bayesian optimisation of the MIL detector's h, T and d (Section II-E; printed_and_authors,
004.8).

A Gaussian process with an upper confidence bound (the package `bayesian-optimization`, the paper's
[22]) maximises the point F1, which the paper calls Dice, over slices with boxes. The tuning slices
are never the ones that are reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from ich_study.atomic import write_csv
from ich_study.errors import ParameterError, StudyError, require_known
from ich_study.hashing import sha256_bytes, sha256_lines
from ich_study.methods.mil.peaks import Centroids, Detector
from ich_study.methods.mil.pipeline import ScoredMaps
from ich_study.metrics.points import point_f1, slice_counts
from ich_study.sources import code_hash

HISTORY_FILE = "tuning.csv"
TYPES = {
    "evaluation": int,
    "prominence": float,
    "threshold": float,
    "distance": int,
    "point_f1": float,
    "run": str,
}
"""Columns of the history, and what each holds."""
CENTROID_THRESHOLDS = 40


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
    require_known("head", head, BOUNDS)
    given = {name: tuple(map(float, pair)) for name, pair in (override or {}).get(head, {}).items()}
    known = vars(BOUNDS[head])
    if set(given) - set(known) or any(len(pair) != 2 for pair in given.values()):
        raise ParameterError(
            f"tuning bounds {given} of {head}; expected pairs for some of {', '.join(known)}"
        )
    bounds = replace(BOUNDS[head], **given)
    low, high = (value * side / 256 for value in bounds.distance)
    return replace(bounds, distance=(max(1.0, low), max(2.0, high)))


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


def summed_f1(scored: ScoredMaps, detector: Detector | Centroids) -> float:
    """Point F1 of all slices together, negatives too, by the rule of the code."""
    points = [found.points for found in scored.peaks(detector)]
    return float(point_f1(slice_counts(points, scored.boxes).sum()))


def tune_detector(scored: ScoredMaps, search: Search) -> Detector:
    """The detector with the largest point F1 on `scored` (`summed_f1`), of equally good ones the
    first that was evaluated.

    Many may be equal: where T alone leaves one point a lesion, h and d change nothing, and where h
    does, T does not. Then what is reported of them is where the search began, not an optimum.
    d is truncated to whole pixels, as in the code. Called again after a kill, the evaluations in
    the folder are taken from there and the search goes on to the same end. Raises StudyError where
    no slice has a box.
    """
    from bayes_opt import BayesianOptimization  # slow to import

    if not any(map(len, scored.boxes)):
        raise StudyError(
            f"none of the {len(scored)} tuning slices has a box; h, T and d cannot be tuned on them"
        )
    run = _fingerprint(scored, search)
    known = _known(search.folder, run, search.restart_changed)
    # the random points are drawn in this order
    limits = {
        name: getattr(search.bounds, name) for name in ("distance", "prominence", "threshold")
    }
    optimiser = BayesianOptimization(
        None, limits, random_state=search.seed, allow_duplicate_points=True, verbose=0
    )
    drawn = optimiser.random_sample(search.initial)
    evaluations = search.initial + search.iterations
    bar = {"unit": "evaluation", "mininterval": 5, "leave": False}
    for number in tqdm(range(evaluations), "tuning the detector", **bar):
        point = drawn[number] if number < search.initial else optimiser.suggest()
        if number >= len(known):
            settings = {name: float(value) for name, value in point.items()}
            settings["distance"] = max(1, int(settings["distance"]))
            f1 = summed_f1(scored, replace(search.start, **settings))
            known.append({"evaluation": number, **settings, "point_f1": f1, "run": run})
            write_csv(search.folder / HISTORY_FILE, pd.DataFrame(known)[list(TYPES)])
        optimiser.register(params=point, target=known[number]["point_f1"])
    best = max(known[:evaluations], key=lambda entry: entry["point_f1"])
    detector = replace(search.start, **{name: best[name] for name in limits})
    print(
        f"tuned on {len(scored)} slices with {sum(map(len, scored.boxes))} boxes:"
        f" h={detector.prominence:.4g}, T={detector.threshold:.4g}, d={detector.distance}, point F1"
        f" {best['point_f1']:.3f} after {evaluations} evaluations"
    )
    return detector


def tune_centroids(scored: ScoredMaps) -> Centroids:
    """The rival without peaks, tuned as the detector is: its threshold of a grid over the maps'
    range; of equally good ones the highest."""
    grid = np.quantile(scored.cells.max((1, 2)), np.linspace(0, 0.99, CENTROID_THRESHOLDS))
    rivals = [Centroids(float(threshold)) for threshold in np.unique(grid)[::-1]]
    return max(rivals, key=lambda rival: np.nan_to_num(summed_f1(scored, rival), nan=-1))


def _fingerprint(scored: ScoredMaps, search: Search) -> str:
    content = [code_hash(__name__, exact=False)]
    for array in (scored.cells, *scored.boxes):
        content.append(f"{array.shape} {sha256_bytes(np.ascontiguousarray(array).tobytes())}")
    start = search.start
    settings = (search.bounds, start.order, start.blind_border, search.seed, search.initial)
    return sha256_lines([*content, *map(str, settings)])[:16]


def _known(folder: Path, run: str, restart_changed: bool) -> list[dict[str, Any]]:
    path = folder / HISTORY_FILE
    if not path.is_file():
        return []
    history = pd.read_csv(path, dtype=str)
    if list(history.columns) != list(TYPES) or set(history["run"]) - {run}:
        if restart_changed:
            return []
        raise StudyError(
            f"{path} is the tuning of other slices, bounds or settings; delete it, or choose"
            " another folder"
        )
    # numbers as text, read back one by one, are what was written to the last bit
    return history.astype(TYPES).to_dict("records")
