import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from ich_study.errors import StudyError
from ich_study.figures.heatmaps import WIDEST, MapColumn, heatmap_grid
from ich_study.figures.style import OUTLINE_COLOUR


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
    assert marks == [["R", "L"], [], [], [], [], ["R", "L"], [], [], ["no mask"], []]
    assert [axis.get_title() for axis in figure.axes[:5]] == [
        "slice",
        "truth",
        "GradCAM",
        "mask",
        "points",
    ]
    assert legend_of(figure) == ["truth: IVH", "predicted mask", "point"]
    plt.close(figure)


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_many_columns_stand_in_bands_each_with_its_slice_and_truth():
    hu, truth = np.zeros((2, 16, 16), np.int16), np.ones((2, 16, 16), bool)
    columns = [MapColumn(f"m{number}", np.ones(hu.shape)) for number in range(9)]
    rival = MapColumn("rival", np.ones((1, 16, 16)))
    figure = heatmap_grid(hu, columns, "x", truth, row_titles=["a", "b"], below=[rival])
    drawn = [axis for axis in figure.axes[:-1] if axis.get_visible()]
    assert [axis.get_title() for axis in drawn if axis.get_title()] == [
        *("slice", "truth", "m0", "m1", "m2", "m3", "m4"),
        *("slice", "truth", "m5", "m6", "m7", "m8"),
        *("slice", "truth", "rival"),
    ]
    assert len(drawn) == 2 * 7 + 2 * 6 + 3
    assert [axis.get_ylabel() for axis in drawn if axis.get_ylabel()] == ["a", "b"] * 2
    assert figure.get_figwidth() == pytest.approx(WIDEST)
    first = MapColumn("m", np.ones((1, 16, 16)))
    one = heatmap_grid(hu[:1], [first], "x", row_titles=["a"], below=[rival])
    assert [axis.get_ylabel() for axis in one.axes[:-1]] == ["a", "", "", ""]
    with pytest.raises(StudyError, match="column 'rival' has shape"):
        heatmap_grid(hu, [], "x", below=[MapColumn("rival", np.ones(hu.shape))])
    plt.close("all")


def test_eight_pictures_stand_beside_each_other_and_nine_do_not():
    for methods, lines in ((6, 1), (7, 2)):
        columns = [MapColumn("m", np.ones((1, 8, 8)))] * methods
        figure = heatmap_grid(np.zeros((1, 8, 8)), columns, "x", np.ones((1, 8, 8), bool))
        shown = [axis for axis in figure.axes[:-1] if axis.get_visible()]
        assert len(shown) == methods + 2 * lines and figure.get_figwidth() <= WIDEST
        plt.close(figure)


def test_a_panel_without_any_heat_says_so():
    heat = np.zeros((2, 8, 8))
    heat[1, 0, 0] = 1e-6
    figure = heatmap_grid(np.zeros((2, 8, 8)), [MapColumn("m", heat)], "x")
    said = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert said[1] == ["no heat"] and said[3] == []
    plt.close(figure)


def test_heat_of_nothing_but_0_and_1_is_outlined():
    """A rival's thresholded HU: the palest colour is not seen on white blood."""
    heat = np.zeros((2, 8, 8))
    heat[:, 2:5, 2:5] = 1
    heat[1, 0, 0] = 0.5
    figure = heatmap_grid(np.zeros(heat.shape), [MapColumn("m", heat)], "x")
    binary, graded = figure.axes[1], figure.axes[3]
    assert len(binary.collections) == 1 and not graded.collections
    assert binary.collections[0].get_path_effects(), "a dark rim"
    plt.close(figure)


def test_a_method_that_marks_nothing_says_so_though_it_has_heat():
    heat, codes = np.full((2, 8, 8), 0.3), np.zeros((2, 8, 8), bool)
    codes[1, 2:5, 2:5] = True
    heat[0, 0, 0] = 0.9
    empty = MapColumn("n", np.zeros_like(heat), codes)
    figure = heatmap_grid(np.zeros(heat.shape), [MapColumn("m", heat, codes), empty], "x")
    said = [[text.get_text() for text in axis.texts] for axis in figure.axes[:6]]
    assert said == [["R", "L"], ["no mask"], ["no heat"], ["R", "L"], [], ["no heat"]]
    plt.close(figure)


def test_the_legend_tells_a_predicted_mask_from_masks_and_boxes_of_the_truth():
    hu, mask = np.zeros((1, 8, 8)), np.zeros((1, 8, 8), bool)
    mask[0, 2:4, 2:4] = True
    column, empty = MapColumn("m", codes=mask), MapColumn("m", codes=~mask & mask)
    boxes = [np.array([[1.0, 1.0, 3.0, 3.0]])]
    figure = heatmap_grid(hu, [column], "x", boxes=boxes, outlined="mask of m")
    assert legend_of(figure) == ["truth: box", "mask of m"]
    line = figure.axes[2].collections[0].get_edgecolor()[0]
    assert to_hex(line).upper() == OUTLINE_COLOUR, "not the colour of the truth"
    assert legend_of(heatmap_grid(hu, [empty], "x", mask)) == ["truth"]
    coded = MapColumn("m", codes=mask * np.uint8(3))
    figure = heatmap_grid(hu, [coded], "x")
    assert legend_of(figure) == ["SAH", "predicted mask"]
    # what is drawn as an outline is a line in the legend
    assert len(figure.legends[0].get_lines()) == 2 and not figure.legends[0].get_patches()
    plt.close("all")


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
