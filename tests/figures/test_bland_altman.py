"""The Bland-Altman figure: panels, points where the numbers are, and nothing to show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from ich_study.errors import StudyError
from ich_study.evaluate.quantification import scans_of
from ich_study.figures.bland_altman import bland_altman_figure
from ich_study.figures.style import READ_AT, save_figure
from ich_study.schema import LABELS
from tests.evaluate.test_quantification import scans


def test_points_are_difference_over_mean(tmp_path):
    volumes = scans(3)[3]
    methods = {"first": volumes, "second": volumes.assign(predicted_ml=volumes["truth_ml"] * 1.5)}
    figure = bland_altman_figure(methods)
    assert len(figure.axes) == 2 * len(LABELS)
    shown = scans_of(volumes, "any", "all")
    points = np.concatenate([part.get_offsets() for part in figure.axes[0].collections])
    expected = np.stack(
        [
            (shown["predicted_ml"] + shown["truth_ml"]) / 2,
            shown["predicted_ml"] - shown["truth_ml"],
        ],
        1,
    )
    np.testing.assert_allclose(np.sort(points, 0), np.sort(expected, 0))
    for axis in figure.axes:
        drawn = np.concatenate([part.get_offsets() for part in axis.collections])
        (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
        assert (drawn >= [left, low]).all() and (drawn <= [right, high]).all(), (
            "no scan lies outside its panel"
        )
    path = save_figure(figure, tmp_path / "bland_altman.png")
    assert path.stat().st_size > 10_000
    plt.close(figure)


def test_a_row_has_one_scale_that_holds_millilitres_and_litres():
    volumes = scans(3)[3]
    litres = volumes["predicted_ml"] + np.where(volumes["class"] == "IPH", 5000.0, 0.0)
    figure = bland_altman_figure(
        {"near": volumes, "far": volumes.assign(predicted_ml=litres)},
    )
    rows = np.array(figure.axes).reshape(2, len(LABELS))
    for row in rows:
        assert len({(axis.get_xlim(), axis.get_ylim()) for axis in row}) == 1
        assert {axis.get_yscale() for axis in row} == {"symlog"}
    near, far = rows[:, 0]
    assert far.get_ylim()[1] > 5000 > near.get_ylim()[1], "a row has its own scale"
    assert "one scale a row, logarithmic beyond 10 mL" in figure.get_suptitle()
    plt.close(figure)


def test_all_six_classes_are_read_where_the_picture_is_shown_small():
    figure = bland_altman_figure({"m": scans(3)[3]})
    figure.draw_without_rendering()
    said = [text for text in figure.findobj(Text) if text.get_text().strip()]
    shown_at = READ_AT / max(READ_AT, figure.get_figwidth())
    assert min(text.get_fontsize() for text in said) * shown_at >= 5
    plt.close(figure)


def test_nothing_to_plot_is_said():
    volumes = scans()[3].assign(truth_ml=np.nan)
    with pytest.raises(StudyError, match="nothing to plot"):
        bland_altman_figure({"m": volumes})
