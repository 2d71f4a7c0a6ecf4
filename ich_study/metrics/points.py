"""Points against boxes: F1, PPV and sensitivity of detections (MIL detector, Table I).

The paper calls 2 TP / (2 TP + FP + FN) over points and boxes "Dice coefficient"; here it is
`point_f1` and never shares a column with Dice over pixels. Points are (row, column).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ich_study.errors import StudyError
from ich_study.metrics.boxes import as_boxes, one_to_one
from ich_study.metrics.overlap import Counts, dice, stack_counts


def boxes_on_grid(boxes: np.ndarray, factor: float | np.ndarray = 0.5) -> np.ndarray:
    """Boxes scaled and rounded half to even, float64 (n, 4): BHX's 512-pixel boxes on the MIL
    detector's 256 grid (printed_and_authors, 004.9).

    >>> boxes_on_grid([[21, 30, 7, 9]]).tolist()
    [[10.0, 15.0, 4.0, 4.0]]
    """
    return np.round(as_boxes(boxes) * factor)


def points_in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which point lies in which box, bool (points, boxes): x <= column < x + width and y <= row < y
    + height.

    >>> points_in_boxes([[5, 9], [8, 9]], [[9, 5, 2, 3]]).tolist()
    [[True], [False]]
    """
    points, boxes = np.asarray(points, np.float64), as_boxes(boxes)
    if points.size and points.shape[1:] != (2,):
        raise StudyError(f"points have shape {points.shape}; expected (n, 2) of row, column")
    points = points.reshape(-1, 2)
    offset = points[:, None, ::-1] - boxes[None, :, :2]
    return ((offset >= 0) & (offset < boxes[None, :, 2:])).all(-1)


def point_counts(points: np.ndarray, boxes: np.ndarray) -> Counts:
    """The MIL paper's rule for one slice: TP = boxes with a point, FN = boxes without, FP = points
    in no box.

    Several points in one box are 1 TP and no FP; one point in two boxes is 2 TP. A slice without
    boxes gives only FP, one without points only FN; neither gives zeros (printed_and_authors,
    004.10).

    >>> counts = point_counts([[5, 9], [6, 9], [30, 30]], [[9, 5, 2, 3]])
    >>> int(counts.tp), int(counts.fp), int(counts.fn)
    (1, 1, 0)
    """
    hits = points_in_boxes(points, boxes)
    found = hits.any(0)
    return Counts(found.sum(), (~hits.any(1)).sum(), (~found).sum())


def point_counts_one_to_one(points: np.ndarray, boxes: np.ndarray) -> Counts:
    """One-to-one rule for one slice: as many pairs of a point in a box as possible, each used once.

    TP = pairs, FP = points left over (second points in one box too), FN = boxes left over.

    >>> counts = point_counts_one_to_one([[5, 9], [6, 9], [30, 30]], [[9, 5, 2, 3]])
    >>> int(counts.tp), int(counts.fp), int(counts.fn)
    (1, 2, 0)
    """
    return one_to_one(points_in_boxes(points, boxes))


RULES: dict[str, Callable[[np.ndarray, np.ndarray], Counts]] = {
    "": point_counts,
    "_one_to_one": point_counts_one_to_one,
}
"""By the end of a metric's name: the code's rule has none."""


def slice_counts(
    points: Sequence[np.ndarray], boxes: Sequence[np.ndarray], rule: str = ""
) -> Counts:
    """Counts of every slice, (slices,). rule: key of RULES."""
    return stack_counts([RULES[rule](*pair) for pair in zip(points, boxes, strict=True)])


def point_f1(counts: Counts) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of points and boxes. Without any box it is NaN; sum over all slices,
    negatives too, before asking (printed_and_authors, 004.10).

    >>> float(point_f1(Counts(np.array(3), np.array(1), np.array(1))))
    0.75
    """
    return dice(counts)
