"""Pictures of points: what is shown, and that it is drawn where it is."""

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.methods.mil.figures import (
    DetectionPanel,
    detection_figure,
    free_response_figure,
    shown_slices,
)
from ich_study.methods.mil.peaks import Peaks
from ich_study.metrics.overlap import Counts


def panel(height: float = 1.0) -> DetectionPanel:
    """A slice of 64 pixels, its map on a grid of 32, a box at x=4, y=8 and a point at row 10,
    column 20."""
    likelihood = np.zeros((32, 32), np.float32)
    likelihood[10, 20] = height
    return DetectionPanel(
        np.full((64, 64), 30, np.int16),
        likelihood,
        np.array([[4.0, 8.0, 6.0, 3.0]]),
        Peaks(np.array([[10, 20]]), np.array([height])),
        side=32,
        title="hit, patient a",
    )


def test_slices_are_shown_by_rule():
    rows = pd.DataFrame({"patient_id": ["a", "a", "b", "c", "c"]})
    counts = Counts(np.array([3, 2, 1, 0, 0]), np.array([0, 0, 0, 4, 5]), np.array([0, 1, 0, 0, 0]))
    assert shown_slices(counts, rows) == {0: "hit", 2: "hit", 1: "missed", 4: "false"}
    assert shown_slices(counts, rows, each=1) == {0: "hit", 1: "missed", 4: "false"}
    assert shown_slices(Counts(*np.zeros((3, 5), int)), rows) == {}


def test_boxes_and_points_are_drawn_where_they_are_over_slice_and_map():
    figure = detection_figure([panel()], "heads")
    assert len(figure.axes) == 2
    for axis in figure.axes:
        box, point = axis.patches[0], axis.lines[0]
        # the box covers the pixels 4..9 and 8..10, whose outer edges lie half a pixel out
        assert (box.get_x(), box.get_y()) == (3.5, 7.5)
        assert (box.get_width(), box.get_height()) == (6, 3)
        assert (point.get_xdata().tolist(), point.get_ydata().tolist()) == ([20], [10])
        assert tuple(axis.images[0].get_extent()) == (-0.5, 31.5, 31.5, -0.5)
    assert figure.axes[0].get_title() == "hit, patient a"


def test_maps_are_stretched_each_or_alike():
    panels = [panel(1.0), panel(4.0)]
    limits = {
        scale: [
            image.get_clim()
            for axis in detection_figure(panels, "heads", scale=scale).axes
            for image in axis.images
            if image.get_cmap().name == "viridis"
        ]
        for scale in ("slice", "shared")
    }
    assert limits == {"slice": [(0, 1), (0, 4)], "shared": [(0, 4), (0, 4)]}


def test_a_figure_of_nothing_is_refused():
    with pytest.raises(StudyError, match="no slice to show"):
        detection_figure([], "nothing")


def test_the_dot_of_a_detector_is_false_points_then_sensitivity():
    curve = pd.DataFrame({"false_points_per_scan": [0.0, 2.0], "sensitivity": [0.0, 0.75]})
    axis = free_response_figure({"a": curve}, {"a": (2.0, 0.75)}, "heads").axes[0]
    line, dot = axis.lines
    assert line.get_xdata().tolist() == [0, 2] and line.get_ydata().tolist() == [0, 0.75]
    assert dot.get_xdata().tolist() == [2] and dot.get_ydata().tolist() == [0.75]
