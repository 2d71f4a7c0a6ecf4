"""Free response: the share of lesions found at so many false points a scan (FROC)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_study.metrics.points import points_in_boxes

FALSE_POINTS: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
"""False points a scan at which sensitivity is reported, as in nodule detection (LUNA16)."""


def scored_boxes(
    points: Sequence[np.ndarray], boxes: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each slice the score that finds each box, and the scores of points in no box.

    points: of each slice, (n, 3) of row, column and score. boxes: (m, 4). A box that holds no point
    has the score -inf.
    """
    found, false = [], []
    for own, known in zip(points, boxes, strict=True):
        hits = points_in_boxes(own[:, :2], known)
        scores = np.where(hits, own[:, 2:], -np.inf)
        found.append(scores.max(0, initial=-np.inf))
        false.append(own[~hits.any(1), 2])
    return found, false


def threshold_at(false: Sequence[np.ndarray], scans: int, false_points: float) -> float:
    """The lowest score from which points count so that at most `false_points` a scan are false.

    That lies just above the first false point too many: of equal scores none counts, or all would.

    >>> 0.5 < threshold_at([np.array([0.9, 0.5]), np.array([0.4])], 2, false_points=0.5) < 0.51
    True
    """
    scores = np.sort(np.concatenate([*false, np.empty(0)]))[::-1]
    allowed = int(false_points * scans)
    return -np.inf if allowed >= len(scores) else float(np.nextafter(scores[allowed], np.inf))
