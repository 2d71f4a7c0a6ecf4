"""Boxes against SciPy's labelling, torchvision's IoU and a search over all matchings."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from torchvision.ops import box_iou as torchvision_iou

from ich_study.errors import StudyError
from ich_study.metrics.boxes import (
    box_iou,
    component_boxes,
    fill_boxes,
    filled_box_counts,
    filled_counts,
    loose_hit,
    match_boxes,
)
from ich_study.metrics.overlap import Counts, dice, iou, overlap_counts

masks = hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))
box_lists = st.lists(st.tuples(*[st.integers(0, 10)] * 2, *[st.integers(1, 8)] * 2), max_size=5)


def corners(boxes):
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    return torch.tensor(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1))


@settings(max_examples=60, deadline=None)
@given(masks)
def test_component_boxes_are_scipys(mask):
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    oracle = {
        (c.start, r.start, c.stop - c.start, r.stop - r.start)
        for r, c in ndimage.find_objects(labels)
    }
    found = component_boxes(mask)
    assert {tuple(box) for box in found.tolist()} == oracle
    assert not (mask & ~fill_boxes(found, mask.shape)).any()


def test_components_under_the_minimum_are_left_out():
    mask = np.zeros((10, 10), bool)
    mask[0, 0] = mask[4:7, 4:8] = True
    assert component_boxes(mask, min_pixels=2).tolist() == [[4, 4, 4, 3]]
    assert component_boxes(np.zeros((5, 5), bool)).shape == (0, 4)


def test_non_contiguous_masks_are_read_right():
    mask = np.zeros((8, 8), bool)
    mask[1, 2:6] = True
    assert component_boxes(mask.T[::-1]).tolist() == [[1, 2, 1, 4]]


def test_fractional_boxes_hold_the_pixels_of_the_inside_test():
    filled = fill_boxes([[1.2, 0.5, 2.0, 1.0]], (4, 6))
    rows, columns = np.indices((4, 6))
    np.testing.assert_array_equal(
        filled, (columns >= 1.2) & (columns < 3.2) & (rows >= 0.5) & (rows < 1.5)
    )
    assert fill_boxes([[-3, -3, 5, 5]], (4, 4)).sum() == 4
    assert fill_boxes([[-9, -9, 5, 5], [9, 9, 3, 3]], (4, 4)).sum() == 0


def test_union_of_filled_boxes_keeps_the_identity_of_the_printed_cells():
    rng = np.random.default_rng(0)
    prediction, truth = (
        ndimage.gaussian_filter(rng.random((9, 64, 64)), (0, 3, 3)) > 0.53 for _ in range(2)
    )
    counts = filled_box_counts(prediction, truth)
    filled = [
        np.stack([fill_boxes(component_boxes(m), m.shape) for m in stack])
        for stack in (prediction, truth)
    ]
    by_hand = overlap_counts(*filled)
    np.testing.assert_array_equal(counts.tp, by_hand.tp)
    total = counts.sum()
    assert 0 < iou(total) < 1
    assert dice(total) == pytest.approx(2 * iou(total) / (1 + iou(total)), abs=1e-12)
    single = filled_counts(component_boxes(prediction[0]), component_boxes(truth[0]), (64, 64))
    assert single.fp == counts.fp[0]


@settings(max_examples=60, deadline=None)
@given(box_lists, box_lists)
def test_box_iou_is_torchvisions(first, second):
    ours = box_iou(first, second)
    np.testing.assert_allclose(
        ours,
        torchvision_iou(corners(first), corners(second)).numpy().reshape(ours.shape),
        atol=1e-12,
    )
    np.testing.assert_allclose(ours.T, box_iou(second, first))


@settings(max_examples=60, deadline=None)
@given(box_lists, box_lists, st.sampled_from([0.1, 0.3, 0.5]))
def test_matching_is_the_best_of_all(predicted, truth, min_iou):
    counts = match_boxes(predicted, truth, min_iou)
    overlap = box_iou(predicted, truth)
    small, large = sorted(overlap.shape)
    table = overlap if overlap.shape[0] == small else overlap.T
    best = max(
        (
            tuple(
                float(v)
                for v in (
                    sum(table[i, j] >= min_iou for i, j in enumerate(choice)),
                    sum(table[i, j] for i, j in enumerate(choice) if table[i, j] >= min_iou),
                )
            )
            for choice in permutations(range(large), small)
        ),
        default=(0, 0),
    )
    assert counts.tp == best[0]
    assert counts.tp + counts.fp == len(predicted) and counts.tp + counts.fn == len(truth)


def test_boxes_that_overlap_exactly_as_much_as_asked_match():
    half = [[0, 0, 2, 1]], [[0, 0, 1, 1]]
    assert box_iou(*half).tolist() == [[0.5]]
    assert match_boxes(*half, min_iou=0.5).tp == 1
    assert match_boxes(*half, min_iou=0.5001).tp == 0


def test_loose_hit():
    counts = Counts(np.array([3, 0, 0, 0]), np.array([1, 5, 0, 7]), np.array([2, 4, 4, 0]))
    np.testing.assert_array_equal(loose_hit(counts), [1, 0, 0, np.nan])


def test_what_is_no_box_is_refused():
    for wrong in ([[1, 2, 3]], [[1, 2, -1, 3]], [[1, 2, np.nan, 3]]):
        with pytest.raises(StudyError, match="finite x, y"):
            box_iou(wrong, [[0, 0, 1, 1]])
    with pytest.raises(StudyError, match="min_iou"):
        match_boxes([], [], 0)
