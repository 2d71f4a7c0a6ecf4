"""Bounding boxes: tight boxes of a mask, overlap of boxes, and the loose hit rate of the CAM
benchmark.

A box is (x, y, width, height) in pixels, top left corner, as in `schema.BOX_COLUMNS`; it holds the
pixels with x <= column < x + width and y <= row < y + height.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from ich_study.errors import StudyError
from ich_study.metrics.overlap import Counts, overlap_counts, stack_counts


def as_boxes(boxes: np.ndarray) -> np.ndarray:
    """Boxes as float64 (n, 4); an empty list gives (0, 4). Raises StudyError on other shapes, NaN,
    negative sides."""
    boxes = np.asarray(boxes, np.float64)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if (
        boxes.ndim != 2
        or boxes.shape[1] != 4
        or not np.isfinite(boxes).all()
        or (boxes[:, 2:] < 0).any()
    ):
        raise StudyError(
            f"boxes have shape {boxes.shape}; expected (n, 4) of finite x, y, width >= 0, height"
            " >= 0"
        )
    return boxes


def component_boxes(mask: np.ndarray, min_pixels: int = 1) -> np.ndarray:
    """Tight boxes of the connected components of a slice's mask, int64 (n, 4); none gives (0, 4).

    mask: bool (rows, columns); a pixel has 8 neighbours. Components under `min_pixels` are left
    out.

    >>> mask = np.zeros((6, 6), bool)
    >>> mask[1:3, 2:5] = True
    >>> component_boxes(mask)  # x, y, width, height
    array([[2, 1, 3, 2]])
    """
    statistics = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    components = statistics[1:]
    return components[components[:, cv2.CC_STAT_AREA] >= min_pixels, :4].astype(np.int64)


def fill_boxes(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Union of boxes as a bool mask of `shape`; parts outside the slice are cut off.

    >>> fill_boxes([[1, 0, 2, 1]], (2, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    filled = np.zeros(shape, bool)
    for x, y, width, height in as_boxes(boxes):
        columns, rows = np.ceil([x, x + width]).astype(int), np.ceil([y, y + height]).astype(int)
        filled[max(rows[0], 0) : max(rows[1], 0), max(columns[0], 0) : max(columns[1], 0)] = True
    return filled


def filled_box_counts(prediction: np.ndarray, truth: np.ndarray) -> Counts:
    """Pixel counts between the unions of filled tight boxes of two stacks of masks, one item per
    slice.

    prediction, truth: bool (slices, rows, columns). The CAM benchmark's box Dice and IoU: its
    printed cells hold Dice = 2 IoU / (1 + IoU), which a union of filled boxes summed over all
    slices gives and a matching of boxes does not (printed_and_authors, 001.2). Feed the counts to
    `overlap.dice` and `iou`.

    >>> truth = np.zeros((1, 8, 8), bool)
    >>> truth[0, 2:6, 2:6] = True
    >>> counts = filled_box_counts(np.roll(truth, 2, axis=2), truth)
    >>> counts.tp, counts.fp, counts.fn
    (array([8]), array([8]), array([8]))
    """
    return stack_counts(
        [
            filled_counts(component_boxes(p), component_boxes(t), p.shape)
            for p, t in zip(prediction, truth)
        ]
    )


def filled_counts(predicted: np.ndarray, truth: np.ndarray, shape: tuple[int, int]) -> Counts:
    """Pixel counts between the unions of filled boxes of one slice; for truth that is boxes from
    the start."""
    return overlap_counts(fill_boxes(predicted, shape), fill_boxes(truth, shape))


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of every box with every box, float64 (n, m); 0 where both have no area.

    >>> box_iou([[0, 0, 2, 2]], [[0, 0, 2, 1], [5, 5, 1, 1]])
    array([[0.5, 0. ]])
    """
    first, second = as_boxes(first)[:, None], as_boxes(second)[None]
    low, high = (
        np.maximum(first[..., :2], second[..., :2]),
        np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:]),
    )
    common = np.clip(high - low, 0, None).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def match_boxes(predicted: np.ndarray, truth: np.ndarray, min_iou: float) -> Counts:
    """Counts of boxes, of the one-to-one matching of the boxes of one slice.

    As many pairs with IoU >= `min_iou` as possible.

    >>> counts = match_boxes([[0, 0, 4, 4], [9, 9, 2, 2]], [[0, 0, 4, 3]], min_iou=0.5)
    >>> int(counts.tp), int(counts.fp), int(counts.fn)
    (1, 1, 0)
    """
    if not 0 < min_iou <= 1:
        raise StudyError(f"min_iou is {min_iou}; expected a value in (0, 1]")
    return one_to_one(box_iou(predicted, truth) >= min_iou)


def one_to_one(hits: np.ndarray) -> Counts:
    """Counts of as many pairs as possible, each predicted and each true thing used once.

    hits: bool (predicted, true), which two may be a pair. TP = pairs, FP and FN = what is left
    over.
    """
    pairs = np.int64(0)
    if hits.size:
        pairs = (maximum_bipartite_matching(csr_array(hits), perm_type="column") >= 0).sum()
    return Counts(pairs, hits.shape[0] - pairs, hits.shape[1] - pairs)


def loose_hit(counts: Counts) -> np.ndarray:
    """1 where prediction and truth share a pixel, 0 where not, NaN where the truth is empty; the
    mean is the Loose Hit Rate (CAM benchmark, III-E3; its 527 slices all hold hemorrhage).

    >>> loose_hit(Counts(np.array([3, 0, 0]), np.array([1, 5, 7]), np.array([2, 4, 0])))
    array([ 1.,  0., nan])
    """
    return np.where(counts.present, counts.tp > 0, np.nan)
