"""Pictures of points: what is shown, and that it is drawn where it is."""

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.methods.mil.figures import (
    Panel,
    free_response_figure,
    panel_figure,
    slices_of_each_outcome,
)
from ich_study.metrics.overlap import Counts

DRAWN = {"side": 32, "boxes": np.array([[4.0, 8.0, 6.0, 3.0]]), "points": np.array([[10, 20]])}
"""A box at x=4, y=8 and a point at row 10, column 20 of a grid of 32 pixels."""


def slice_and_map(height: float = 1.0) -> tuple[Panel, Panel]:
    """A slice of 64 pixels and a map of 8 cells."""
    cells = np.zeros((8, 8), np.float32)
    cells[2, 5] = height
    hu = Panel("hit, patient a", np.full((64, 64), 30, np.int16), **DRAWN)
    return hu, Panel("map", cells, window=None, dropped=np.array([[1, 2]]), **DRAWN)


def test_slices_are_shown_by_rule():
    rows = pd.DataFrame({"patient_id": ["a", "a", "b", "c", "c"]})
    counts = Counts(np.array([3, 2, 1, 0, 0]), np.array([0, 0, 0, 4, 5]), np.array([0, 1, 0, 0, 0]))
    assert slices_of_each_outcome(counts, rows) == {0: "hit", 2: "hit", 1: "missed", 4: "false"}
    assert slices_of_each_outcome(Counts(*np.zeros((3, 5), int)), rows) == {}


def test_boxes_and_points_are_drawn_where_they_are_over_slice_and_map():
    hu, map_panel = slice_and_map()
    figure = panel_figure([[hu], [map_panel]], "heads")
    assert len(figure.axes) == 2
    for axis in figure.axes:
        box, point = axis.patches[0], axis.lines[-1]
        # the box covers the pixels 4..9 and 8..10, whose outer edges lie half a pixel out
        assert (box.get_x(), box.get_y()) == (3.5, 7.5)
        assert (box.get_width(), box.get_height()) == (6, 3)
        assert (point.get_xdata().tolist(), point.get_ydata().tolist()) == ([20], [10])
        assert tuple(axis.images[0].get_extent()) == (-0.5, 31.5, 31.5, -0.5)
    assert figure.axes[0].get_title() == "hit, patient a" and len(figure.axes[0].lines) == 1
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name.partition(":")[0] for name in named] == ["box", "cross", "small cross"]
    dropped, kept = figure.axes[1].lines
    assert dropped.get_xdata().tolist() == [2] and dropped.get_markersize() < kept.get_markersize()


def test_a_map_is_shown_between_its_own_extremes_and_says_them_and_hu_through_a_window():
    figure = panel_figure([slice_and_map(1.0), slice_and_map(4.0)], "heads")
    limits = [axis.images[0].get_clim() for axis in figure.axes]
    assert limits == [(0, 1), (0, 1), (0, 1), (0, 4)]
    assert figure.axes[3].get_title() == "map\n0 to 4"
    # 30 HU lie at 3/8 of the brain window of 0 to 80
    assert float(figure.axes[0].images[0].get_array()[0, 0]) == pytest.approx(3 / 8)


def test_a_map_of_shares_is_drawn_over_three_decades_and_names_nothing_finer():
    share = np.full((8, 8), 2.3e-6)
    share[2, 3] = 0.5
    panel = Panel("attention", share, 8, None, limits=(2.3e-6, 0.5), logarithmic=True)
    axis = panel_figure([[panel]], "t").axes[0]
    assert axis.images[0].get_clim() == (0.0005, 0.5)
    assert axis.images[0].norm(0.005) == pytest.approx(1 / 3)
    assert axis.get_title() == "attention\n< 0.001 to 0.5"


def test_a_figure_of_nothing_is_refused():
    with pytest.raises(StudyError, match="no slice to show"):
        panel_figure([[], []], "nothing")


def test_the_dot_of_a_detector_is_false_points_then_sensitivity():
    curve = pd.DataFrame({"false_points_per_scan": [0.0, 2.0], "sensitivity": [0.0, 0.75]})
    axis = free_response_figure({"a": curve}, {"a": (2.0, 0.75)}, "heads").axes[0]
    line, dot = axis.lines
    assert line.get_xdata().tolist() == [0, 2] and line.get_ydata().tolist() == [0, 0.75]
    assert dot.get_xdata().tolist() == [2] and dot.get_ydata().tolist() == [0.75]
