"""Every step is drawn in its place, with the masks it was given and no others."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from ich_study.errors import StudyError
from ich_study.figures.steps import OUTLINE_COLOUR, TRUTH_COLOUR, Step, steps_figure
from ich_study.figures.style import READ_AT

MASK = np.zeros((6, 5), bool)
MASK[2:4, 1:3] = True


def drawn(axis):
    return np.asarray(axis.images[0].get_array())


def test_steps_stand_in_reading_order_with_their_numbers_and_the_rest_is_empty():
    steps = [Step(f"step {name}", np.full((6, 5), 0.1 * n)) for n, name in enumerate("abc")]
    figure = steps_figure(steps, "title", columns=2)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == ["1 step a", "2 step b", "3 step c"]
    assert [float(drawn(axis).max()) for axis in shown] == pytest.approx([0, 0.1, 0.2])
    plt.close(figure)


def test_titles_of_a_wide_picture_are_read_as_easily_as_those_of_a_narrow_one():
    steps = [Step("step", np.zeros((6, 5)))] * 7
    narrow, wide = steps_figure(steps, "t", columns=4), steps_figure(steps, "t", columns=7)
    for figure in (narrow, wide):
        shown_at = READ_AT / max(READ_AT, figure.get_figwidth())
        assert figure.axes[0].title.get_fontsize() * shown_at >= 6.5
        plt.close(figure)


def test_kinds_are_drawn_on_their_own_scales():
    values = np.array([[-4.0, 2.0]])
    kinds = {
        "signed": (-4, 4),
        "heat": (0, 1),
        "grey": (0, 1),
        "hu": (0, 1),
    }
    for kind, limits in kinds.items():
        figure = steps_figure([Step(kind, values, kind)], "title")
        assert figure.axes[0].images[0].get_clim() == limits
        plt.close(figure)
    figure = steps_figure([Step("hu", np.array([[0, 40, 80]]), "hu")], "title")
    assert drawn(figure.axes[0]).tolist() == [[0, 0.5, 1]]
    clusters = steps_figure([Step("clusters", np.array([[0, 1, 3]]), "clusters")], "title")
    assert clusters.axes[0].images[0].get_clim() == (-0.5, 3.5)
    assert clusters.axes[0].images[0].cmap.N == 4
    plt.close("all")


def test_truth_and_outline_have_their_own_colours_and_empty_masks_none():
    figure = steps_figure([Step("both", np.zeros((6, 5)), outline=MASK, truth=MASK)], "title")
    colours = [tuple(lines.get_edgecolor()[0]) for lines in figure.axes[0].collections]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["truth", "what the method marks"]
    assert colours == [to_rgba(name) for name in (TRUTH_COLOUR, OUTLINE_COLOUR)]
    empty = steps_figure([Step("empty", np.zeros((6, 5)), outline=~MASK & MASK)], "title")
    assert not empty.axes[0].collections
    plt.close("all")


def test_masks_of_another_shape_and_no_steps_are_refused():
    with pytest.raises(StudyError, match="mask"):
        steps_figure([Step("wrong", np.zeros((4, 4)), outline=MASK)], "title")
    with pytest.raises(StudyError, match="no steps"):
        steps_figure([], "title")


def test_heat_lies_over_its_slice_as_opaque_as_it_is_high():
    hu, heat = np.full((2, 2), 40.0), np.array([[0.0, 0.25], [0.5, 1.0]])
    figure = steps_figure([Step("heat", heat, "heat", under=hu)], "title")
    below, above = figure.axes[0].images
    assert (np.asarray(below.get_array()) == 0.5).all()
    assert np.asarray(above.get_alpha()) == pytest.approx(np.array([[0, 0.28], [0.56, 0.7]]))
    plt.close(figure)


def test_a_signed_image_over_a_slice_hides_it_only_where_it_is_large():
    heat = np.zeros((6, 5))
    heat[0, 0], heat[1, 1] = -2.0, 1.0
    step = Step("map", heat, "signed", under=np.full((6, 5), 40), limit=4.0)
    figure = steps_figure([step], "t", columns=1)
    # no scale lies over the slice, one stands beside it
    assert figure.axes[1].get_ylim() == (-1, 1) and not figure.axes[0].child_axes
    under, over = figure.axes[0].images
    assert under.get_cmap().name == "gray" and over.get_clim() == (-4.0, 4.0)
    assert over.get_alpha()[0, 0] == pytest.approx(0.3) and over.get_alpha()[2, 2] == 0
    with pytest.raises(StudyError, match="mask"):
        steps_figure([Step("map", heat, "signed", under=np.zeros((2, 2)))], "t")
