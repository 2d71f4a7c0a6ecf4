"""The MIL paper's rule by its worked examples and against a count pixel by pixel; one-to-one
against all matchings."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ich_study.errors import StudyError
from ich_study.metrics.boxes import fill_boxes
from ich_study.metrics.overlap import RATIOS, Counts, sensitivity, stack_counts
from ich_study.metrics.points import (
    boxes_on_grid,
    point_counts,
    point_counts_one_to_one,
    point_f1,
    points_in_boxes,
)
from ich_study.metrics.ratio import ratio

SIDE = 20
point_lists = st.lists(st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)), max_size=5)
box_lists = st.lists(st.tuples(*[st.integers(0, 14)] * 2, *[st.integers(1, 6)] * 2), max_size=5)


def precision(counts: Counts):
    return ratio(*RATIOS["precision"](counts))


def numbers(counts: Counts):
    return int(counts.tp), int(counts.fp), int(counts.fn)


@pytest.mark.parametrize(
    "points, boxes, expected",
    [
        ([(5, 5), (6, 6)], [(4, 4, 4, 4)], (1, 0, 0)),  # several points in one box are one TP
        ([(5, 5)], [(4, 4, 4, 4), (5, 5, 4, 4)], (2, 0, 0)),  # one point in two boxes is two TP
        ([(5, 5), (15, 15)], [(4, 4, 4, 4), (0, 10, 3, 3)], (1, 1, 1)),
        ([(1, 1)], [], (0, 1, 0)),
        ([], [(1, 1, 2, 2)], (0, 0, 1)),
        ([], [], (0, 0, 0)),
    ],
)
def test_the_papers_rule(points, boxes, expected):
    assert numbers(point_counts(points, boxes)) == expected


def test_inside_includes_the_first_and_excludes_the_last_edge():
    box = [(10, 20, 4, 3)]
    inside = [(20, 10), (22, 13), (20, 14), (23, 10), (19, 10), (20, 9)]
    assert points_in_boxes(inside, box)[:, 0].tolist() == [True, True, False, False, False, False]


def test_points_are_row_then_column():
    assert (
        points_in_boxes([(2, 9)], [(9, 2, 1, 1)]).item()
        and not points_in_boxes([(9, 2)], [(9, 2, 1, 1)]).item()
    )


def test_boxes_are_rounded_half_to_even():
    np.testing.assert_array_equal(boxes_on_grid([[1, 3, 5, 7]]), [[0, 2, 2, 4]])
    np.testing.assert_array_equal(
        boxes_on_grid([[236.16, 151.02, 50.88, 62.99]]), [[118, 76, 25, 31]]
    )
    assert boxes_on_grid([]).shape == (0, 4)


@settings(max_examples=80, deadline=None)
@given(point_lists, box_lists)
def test_rule_agrees_with_painted_boxes(points, boxes):
    grid = np.zeros((SIDE, SIDE), bool)
    for row, column in points:
        grid[row, column] = True
    tp = sum(bool((fill_boxes([box], grid.shape) & grid).any()) for box in boxes)
    union = fill_boxes(boxes, grid.shape)
    fp = sum(not union[row, column] for row, column in points)
    assert numbers(point_counts(points, boxes)) == (tp, fp, len(boxes) - tp)


@settings(max_examples=80, deadline=None)
@given(point_lists, box_lists)
def test_one_to_one_is_the_largest_matching(points, boxes):
    hits = points_in_boxes(points, boxes)
    table = hits if hits.shape[0] <= hits.shape[1] else hits.T
    best = max(
        sum(bool(table[i, j]) for i, j in enumerate(choice))
        for choice in permutations(range(table.shape[1]), table.shape[0])
    )
    counts = point_counts_one_to_one(points, boxes)
    assert numbers(counts) == (best, len(points) - best, len(boxes) - best)
    assert counts.tp <= point_counts(points, boxes).tp


def test_printed_f1_follows_from_printed_ppv_and_sensitivity():
    # 61.88 % PPV and 54.72 % sensitivity give the printed 58.08 % (MIL detector, Table I).
    counts = Counts(*(np.array(v) for v in (5472.0, 5472 / 0.6188 - 5472, 10000 - 5472)))
    assert precision(counts) == pytest.approx(0.6188) and sensitivity(counts) == pytest.approx(
        0.5472
    )
    assert point_f1(counts) == pytest.approx(0.5808, abs=5e-5)


def test_slices_without_boxes_count_towards_the_sum():
    total = stack_counts([point_counts([(1, 1)], [(0, 0, 3, 3)]), point_counts([(8, 8)], [])]).sum()
    assert (
        precision(total) == 0.5
        and sensitivity(total) == 1
        and point_f1(total) == pytest.approx(2 / 3)
    )


def test_no_boxes_at_all_and_no_points_at_all():
    assert np.isnan(point_f1(point_counts([(1, 1)], []))) and np.isnan(
        sensitivity(point_counts([(1, 1)], []))
    )
    assert (
        np.isnan(precision(point_counts([], [(1, 1, 2, 2)])))
        and point_f1(point_counts([], [(1, 1, 2, 2)])) == 0
    )


def test_what_is_no_point_is_refused():
    with pytest.raises(StudyError, match="row, column"):
        point_counts([(1, 2, 3), (4, 5, 6)], [[0, 0, 9, 9]])
