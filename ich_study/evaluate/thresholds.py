"""Thresholds, each with where it came from, so that no table hides one chosen on the data it
scores.

Classifier thresholds come from the validation part's labels: Youden's J (LSE-UNet, Section 4), the
best F1, or a fixed number. Mask thresholds come from a grid scored on masks (HGI-SAM, Section 3;
CAM benchmark, IV; LSE-UNet, Table 4) and say whose masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from ich_study.errors import DataError, ParameterError, StudyError, require_known
from ich_study.metrics.overlap import Counts, dice

Source = Literal["none", "labels", "masks-validation", "masks-test"]


@dataclass(frozen=True)
class Threshold:
    """A threshold. source: level of `threshold_source` in the result table. rule: how it was found.
    objective: what the rule made largest, at this threshold; NaN for a fixed one."""

    value: float
    source: Source
    rule: str
    objective: float = float("nan")

    def __post_init__(self) -> None:
        if not np.isfinite(self.value):
            raise StudyError(f"threshold is {self.value}; expected a finite number")


FIXED_THRESHOLDS = (0.3, 0.5, 0.7)
"""Probabilities of the CAM benchmark's Figure 3."""


def fixed_threshold(value: float, rule: str = "fixed") -> Threshold:
    """A number given beforehand, such as .5. A number taken from a paper that chose it on masks
    says so by `source`."""
    return Threshold(float(value), "none", rule)


def youden_threshold(truth: np.ndarray, scores: np.ndarray) -> Threshold:
    """The threshold with the largest TPR - FPR on these labels (Youden's J).

    truth: bool (items,), of both kinds, scores: finite (items,), not all equal. The threshold lies
    midway between two neighbouring distinct scores, so `>` and `>=` decide alike here, unless no
    number lies between them; then it is the higher, for `>=`. Of equal J the highest threshold is
    taken.

    >>> youden_threshold(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]))
    Threshold(value=0.6, source='labels', rule='youden', objective=0.5)
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.diff(ordered))
    tp = np.cumsum(truth[order])[ends]
    # Integers, so that equal J are equal and the first, highest, cut wins.
    gain = tp * negatives - (ends + 1 - tp) * positives
    best = int(np.argmax(gain))
    higher, lower = ordered[ends[best]], ordered[ends[best] + 1]
    between = lower / 2 + higher / 2
    # next to each other in floating point, two scores have nothing between them
    cut = between if between > lower else higher
    return Threshold(float(cut), "labels", "youden", float(gain[best] / (positives * negatives)))


def threshold_frame(thresholds: Mapping[str, Threshold]) -> pd.DataFrame:
    """Thresholds as a table: `class, threshold, threshold_source, rule, objective`."""
    rows = [(name, *astuple(item)) for name, item in thresholds.items()]
    columns = ["class", "threshold", "threshold_source", "rule", "objective"]
    return pd.DataFrame(rows, columns=columns)


def counts_over_grid(heatmaps: np.ndarray, truth: np.ndarray, grid: Sequence[float]) -> Counts:
    """Pixel counts of `heatmap >= threshold` at every threshold of an ascending grid, int64
    (slices, thresholds).

    heatmaps: finite (slices, rows, columns). truth: bool, same shape. One histogram per slice
    serves all thresholds.

    >>> heat = np.array([[[0.2, 0.6], [0.9, 0.1]]])
    >>> counts = counts_over_grid(heat, heat > 0.5, [0.0, 0.5, 0.7])
    >>> counts.tp, counts.fp
    (array([[2, 2, 1]]), array([[2, 0, 0]]))
    """
    edges = np.asarray(grid, np.float64)
    if edges.ndim != 1 or not len(edges) or (np.diff(edges) <= 0).any():
        raise ParameterError("a grid of thresholds must be ascending and hold at least one")
    heatmaps, truth = np.asarray(heatmaps), np.asarray(truth)
    tp, selected = np.zeros((2, len(heatmaps), len(edges)), np.int64)
    for item, (heatmap, mask) in enumerate(zip(heatmaps, truth)):
        step = np.searchsorted(edges, heatmap.astype(np.float64), side="right")
        for total, pixels in ((tp, step[mask]), (selected, step.ravel())):
            total[item] = np.bincount(pixels, minlength=len(edges) + 1)[::-1].cumsum()[::-1][1:]
    return Counts(tp, selected - tp, truth.sum((1, 2))[:, None] - tp)


def mask_threshold(
    counts: Counts,
    grid: Sequence[float],
    source: Literal["masks-validation", "masks-test"],
    unit: Literal["pixel", "slice"] = "pixel",
    stop: Literal["best", "first"] = "best",
) -> Threshold:
    """The threshold of the grid with the largest Dice on masks; counts from `counts_over_grid`.

    unit: `pixel` sums counts over slices (CAM benchmark, Table IIa), `slice` is the mean over
    slices with truth (HGI-SAM). stop: `best` is the printed search; `first` ends at the first
    threshold that does not improve, as HGI-SAM's code does (printed_and_authors, 003.10). Of equal
    Dice the lowest threshold is taken. Raises StudyError where no slice has truth.

    >>> counts = Counts(np.array([[2, 2, 1]]), np.array([[2, 0, 0]]), np.array([[0, 0, 1]]))
    >>> mask_threshold(counts, [0.0, 0.5, 0.7], "masks-validation").value
    0.5
    """
    require_known("unit", unit, ("pixel", "slice"))
    known = (counts.tp + counts.fn)[:, 0] > 0
    if not known.any():
        raise StudyError("no slice has truth; a mask threshold cannot be chosen")
    scores = dice(counts.sum(0)) if unit == "pixel" else dice(counts[known]).mean(0)
    worse = np.flatnonzero(np.diff(scores) <= 0)
    best = int(worse[0]) if stop == "first" and len(worse) else int(np.argmax(scores))
    return Threshold(
        float(np.asarray(grid)[best]), source, f"best Dice per {unit}, {stop}", float(scores[best])
    )


@dataclass(frozen=True)
class Choice:
    """A threshold for every slice, and what is counted there.

    by_fold: fold -> its threshold; one entry `None` where one threshold serves all slices.
    of_slice: threshold of each slice, (N,). counts: pixels at each slice's threshold, (N,).
    """

    source: Source
    by_fold: Mapping[int | None, Threshold]
    of_slice: np.ndarray
    counts: Counts

    @property
    def single(self) -> Threshold:
        """The one threshold of all slices; StudyError where folds have their own."""
        if set(self.by_fold) != {None}:
            raise StudyError(f"{len(self.by_fold)} folds have a threshold of their own")
        return self.by_fold[None]


def choose(
    scores: Scored,
    source: Source,
    *,
    held_out: Scored | None = None,
    folds: np.ndarray | None = None,
    given: Threshold | None = None,
    unit: Literal["pixel", "slice"] = "pixel",
    stop: Literal["best", "first"] = "best",
    tried: np.ndarray | None = None,
) -> Choice:
    """Take a threshold for every slice of `scores`, from where `source` says and from nowhere else.

    `masks-test`: best on the masks of the scored slices themselves, as most papers do.
    `masks-validation`: best on the masks of other patients: those of `held_out`, or for each fold
    those of the other `folds` (HGI-SAM paper, Section 3.2.2). `labels` and `none`: `given`, found
    without masks or fixed beforehand; it must lie on the grid.
    Only slices with truth choose. unit, stop: see `mask_threshold`. tried: indices of the grid that
    the search may take, all by default. Raises StudyError or DataError where the choice cannot be
    made as the source says.
    """
    tried = np.arange(len(scores.grid)) if tried is None else np.asarray(tried)

    def best(on: Scored, wanted: np.ndarray | bool = True) -> Threshold:
        counts = on.counts[on.positive & wanted][:, tried]
        return mask_threshold(counts, on.grid[tried], source, unit, stop)

    by_fold: dict[int | None, Threshold] = {}
    if source in ("labels", "none"):
        if given is None or given.source != source:
            found = "none was given" if given is None else f"a threshold of {given.source!r} was"
            raise StudyError(f"threshold source {source!r} takes a given threshold; {found}")
        by_fold[None] = given
    elif source == "masks-test":
        by_fold[None] = best(scores)
    elif (held_out is None) == (folds is None):
        raise StudyError("masks-validation takes either held-out scores or folds, one of them")
    elif held_out is not None:
        if not np.array_equal(held_out.grid, scores.grid):
            raise StudyError("held-out and scored slices were counted on different grids")
        by_fold[None] = best(held_out)
    else:
        names = np.unique(folds)
        if len(names) < 2:
            raise DataError(
                f"{len(names)} fold(s); a threshold from the other folds needs at least two"
            )
        for name in names:
            others = folds != name
            if not scores.positive[others].any():
                raise DataError(
                    f"no slice outside fold {name} holds hemorrhage; its threshold cannot be"
                    " chosen on the others"
                )
            by_fold[int(name)] = best(scores, others)
    return _at(scores, source, by_fold, folds)


class Scored(Protocol):
    """What a threshold is chosen on: `evaluate.score.Scores`."""

    grid: np.ndarray
    counts: Counts

    @property
    def positive(self) -> np.ndarray: ...  # noqa: D102
    def __len__(self) -> int: ...


def _at(
    scores: Scored,
    source: Source,
    by_fold: Mapping[int | None, Threshold],
    folds: np.ndarray | None,
) -> Choice:
    steps = np.zeros(len(scores), int)
    for name, threshold in by_fold.items():
        step = int(np.argmin(np.abs(scores.grid - threshold.value)))
        if not np.isclose(scores.grid[step], threshold.value, rtol=1e-9, atol=1e-12):
            raise StudyError(f"threshold {threshold.value:g} does not lie on the grid")
        steps[slice(None) if name is None else folds == name] = step
    counts = scores.counts[np.arange(len(scores)), steps]
    return Choice(source, by_fold, scores.grid[steps], counts)
