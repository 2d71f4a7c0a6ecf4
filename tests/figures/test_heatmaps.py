import matplotlib.pyplot as plt
import numpy as np
import pytest

from ich_study.errors import StudyError
from ich_study.figures.heatmaps import MapColumn, heatmap_grid


def test_a_row_per_slice_and_a_column_per_method():
    hu = np.full((2, 16, 16), 30, np.int16)
    truth = np.zeros(hu.shape, np.uint8)
    truth[0, 4:8, 4:8] = 2
    columns = [
        MapColumn("GradCAM", np.random.default_rng(0).random(hu.shape)),
        MapColumn("mask", codes=truth > 0),
        MapColumn("points", points=[np.array([[3, 5]]), np.zeros((0, 2))]),
    ]
    figure = heatmap_grid(hu, columns, "two slices", truth, row_titles=["a", "b"])
    assert len(figure.axes) == 2 * 5 + 1, "the last one is the colour bar"
    assert figure.axes[-1].get_ylabel() == "heat" and figure.axes[-1].get_ylim() == (0, 1)
    marks = [[text.get_text() for text in axis.texts] for axis in figure.axes[:10]]
    assert marks == [["R", "L"], [], [], [], []] * 2
    assert [axis.get_title() for axis in figure.axes[:5]] == [
        "slice",
        "truth",
        "GradCAM",
        "mask",
        "points",
    ]
    assert figure.legends[0].get_texts()[0].get_text() == "IVH"
    plt.close(figure)


def test_less_heat_than_is_shown_leaves_the_slice_as_it_is():
    heat = np.full((1, 8, 8), 0.49)
    heat[0, 2, 3] = 0.5
    figure = heatmap_grid(
        np.zeros((1, 8, 8)), [MapColumn("m", heat)], "x", shown_from=0.5, opacity=0.6
    )
    drawn = figure.axes[1].images[1]
    assert np.flatnonzero(drawn.get_alpha()).tolist() == [2 * 8 + 3]
    assert drawn.get_alpha().max() == pytest.approx(0.6 * 1.6 * 0.5)
    assert figure.axes[-1].get_ylim() == (0.5, 1), "the bar has no colour that no picture has"
    plt.close(figure)


def test_boxes_stand_where_the_pixels_are():
    figure = heatmap_grid(np.zeros((1, 8, 8)), [], "box", boxes=[np.array([[2.0, 3.0, 4.0, 2.0]])])
    assert len(figure.axes) == 2, "no heat, no colour bar"
    assert figure.axes[1].patches[0].get_bbox().bounds == (1.5, 2.5, 4.0, 2.0)
    plt.close(figure)


def test_nothing_to_show_and_other_shapes_are_refused():
    with pytest.raises(StudyError, match="no slices"):
        heatmap_grid(np.zeros((0, 4, 4)), [], "x")
    with pytest.raises(StudyError, match="column 'm' has shape"):
        heatmap_grid(np.zeros((1, 4, 4)), [MapColumn("m", np.zeros((1, 5, 5)))], "x")
