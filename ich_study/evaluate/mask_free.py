"""Mask thresholds chosen without a single mask: Otsu's cut through the heat of the slices that have
the class.

Heat is relative to each slice's own maximum, so a slice's label says nothing on how large its mask
should be; what is left is the shape of the heat's distribution. Otsu's cut parts it into two groups
with the largest variance between them. Only labels, or the classifier's own decisions, say which
slices are read, and these may be any slices, best the validation part's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_study.errors import StudyError
from ich_study.evaluate.scaling import HEAT_MAXIMUM, check_heat
from ich_study.evaluate.thresholds import Threshold


def value_counts(heatmaps: np.ndarray, present: np.ndarray) -> np.ndarray:
    """How often each whole heat value 0..255 occurs per class, over the slices where the class is
    present, int64 (classes, 256).

    heatmaps: uint8 (slices, classes, rows, columns); present: bool (slices, classes).
    """
    check_heat(heatmaps, present)
    counts = np.zeros((present.shape[1], HEAT_MAXIMUM + 1), np.int64)
    for item, place in np.argwhere(present):
        counts[place] += np.bincount(heatmaps[item, place].ravel(), minlength=HEAT_MAXIMUM + 1)
    return counts


def otsu_cut(counts: np.ndarray) -> float:
    """The value v for which `heat > v` parts a histogram (values,) with the largest variance
    between the parts.

    counts: of two values at least. Of equal cuts the lowest.
    """
    counts = np.asarray(counts, np.float64)
    values = np.arange(len(counts))
    below, mass = np.cumsum(counts)[:-1], np.cumsum(counts * values)[:-1]
    above, rest = counts.sum() - below, (counts * values).sum() - mass
    parts = (below > 0) & (above > 0)
    between = np.full(len(below), -1.0)
    between[parts] = (
        below[parts] * above[parts] * (mass[parts] / below[parts] - rest[parts] / above[parts]) ** 2
    )
    return float(np.argmax(between))


def otsu_thresholds(
    classes: Sequence[str], counts: np.ndarray, grid: Sequence[float], unseen: float
) -> dict[str, Threshold]:
    """Otsu's cut of every class, moved to the nearest threshold of `grid`; source `labels`.

    counts: of `value_counts`, (classes, 256). unseen: the threshold of a class without heat in any
    slice, marked as fixed. Raises StudyError naming a class whose heat has one value alone.
    """
    found: dict[str, Threshold] = {}
    for name, own in zip(classes, counts):
        if not own[1:].any():
            found[name] = Threshold(float(unseen), "none", "fixed, class never present")
            continue
        if np.count_nonzero(own) < 2:
            raise StudyError(
                f"class {name!r}: {np.count_nonzero(own)} heat values occur; Otsu's cut needs two;"
                " are there slices in which it is present?"
            )
        cut = otsu_cut(own)
        nearest = float(min(grid, key=lambda step: abs(step - cut)))
        found[name] = Threshold(nearest, "labels", "Otsu of the heat, nearest of the grid")
    return found
