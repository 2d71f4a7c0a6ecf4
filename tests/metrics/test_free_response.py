"""Sensitivity at so many false points a scan, against counting by hand."""

import numpy as np
import pytest

from ich_study.metrics.free_response import scored_boxes, threshold_at

BOX = np.array([[10.0, 10.0, 5.0, 5.0]])
NONE = np.zeros((0, 4))


def test_a_box_has_the_score_of_its_highest_point_and_others_are_false():
    points = [np.array([[12, 12, 0.3], [13, 13, 0.8], [2, 2, 0.9]]), np.array([[1, 1, 0.5]])]
    found, false = scored_boxes(points, [BOX, NONE])
    assert [each.tolist() for each in found] == [[0.8], []]
    assert [each.tolist() for each in false] == [[0.9], [0.5]]
    missed, _ = scored_boxes([np.zeros((0, 3))], [BOX])
    assert missed[0].tolist() == [-np.inf]
    with pytest.raises(ValueError, match="shorter"):
        scored_boxes(points, [BOX])


@pytest.mark.parametrize(("allowed", "counted"), [(0.5, 1), (1, 2), (1.5, 3), (2, 3), (5, 5)])
def test_at_most_so_many_points_are_false(allowed, counted):
    false = [np.array([0.9, 0.2]), np.array([0.7, 0.4, 0.2])]
    cut = threshold_at(false, scans=2, false_points=allowed)
    # of the two points of 0.2 neither counts where only one may
    assert sum(int((each >= cut).sum()) for each in false) == counted
