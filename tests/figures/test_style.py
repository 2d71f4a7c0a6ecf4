import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.figures import style as figures
from ich_study.schema import result_table


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def panel(**more):
    return figures.SlicePanel(np.linspace(-100, 200, 400).reshape(20, 20).astype(np.int16), **more)


def test_a_slice_is_drawn_in_its_window_with_outlines_and_boxes():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:9, 5:9] = 2
    boxes = pd.DataFrame(
        {"x": [4.0], "y": [5.0], "width": [6.0], "height": [7.0], "label": ["IVH"]}
    )
    axis = figures.montage([panel(mask=mask, boxes=boxes, title="t")], 1).axes[0]
    shown = axis.images[0].get_array()
    assert shown.min() == 0 and shown.max() == 1
    rectangle = axis.patches[0]
    assert (rectangle.get_width(), rectangle.get_height()) == (6, 7)
    assert axis.get_title() == "t"


def test_a_montage_of_nothing_says_so():
    with pytest.raises(StudyError, match="no slices"):
        figures.montage([], 3, "empty")


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    first = figures.save_figure(figures.montage([panel()], 1), tmp_path / "a.png").read_bytes()
    assert (
        first == figures.save_figure(figures.montage([panel()], 1), tmp_path / "b.png").read_bytes()
    )


def test_points_are_spread_the_same_way_each_time_and_the_global_stream_goes_on():
    values = pd.DataFrame({"class": ["IPH"] * 20, "value": np.linspace(1, 2, 20)})
    priors = pd.DataFrame({"class": ["IPH"], "low": [1.0], "median": [1.5], "high": [2.0]})
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    spread = [
        figures.distribution_figure(values, priors, "t", "mL", log=False)
        .axes[0]
        .collections[-1]
        .get_offsets()
        for _ in range(2)
    ]
    assert np.array_equal(*spread) and len(np.unique(spread[0][:, 0])) > 10
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_curves_show_their_data_and_unknown_kinds_are_refused():
    curve = pd.DataFrame(
        {"class": "any", "false_positive_rate": [0, 0.2, 1], "sensitivity": [0, 0.9, 1]}
    )
    lines = figures.curve_figure(curve, "roc", "x").axes[0].lines
    assert any(np.allclose(line.get_ydata(), [0, 0.9, 1]) for line in lines)
    with pytest.raises(StudyError, match="det"):
        figures.curve_figure(curve, "det", "x")


def test_intervals_are_placed_where_the_table_says():
    common = {"class": "any", "metric": "auroc"}
    rows = [
        {"method": name, **common, "value": v, "ci_low": v - 0.1, "ci_high": v + 0.1}
        for name, v in [("a", 0.7), ("b", 0.9)]
    ]
    axis = figures.interval_figure(result_table(rows), "method", "x", chance=0.5).axes[0]
    points = next(line for line in axis.lines if line.get_marker() == "o")
    assert list(points.get_xdata()) == [0.7, 0.9]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
