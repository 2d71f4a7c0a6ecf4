import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from ich_study.errors import StudyError
from ich_study.figures import style as figures
from ich_study.schema import LABELS, result_table


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
    boxed = figures.montage([panel(boxes=boxes.assign(label="any"))], 1, legend=True)
    assert [text.get_text() for text in boxed.legends[0].get_texts()] == ["hemorrhage"]
    assert axis.get_title() == "t"


def test_the_sides_of_a_slice_are_marked_as_a_radiologist_reads_them():
    axis = figures.montage([panel()], 1).axes[0]
    places = {text.get_text(): text.get_position()[0] for text in axis.texts}
    assert places["R"] < 0.5 < places["L"] and set(places) == {"R", "L"}


def contrast(colour, other="white"):
    """Of two colours, as WCAG 2 defines it."""
    light = []
    for each in (colour, other):
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in to_rgb(each)
        )
        light.append(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
    return max(light) / min(light)


def test_colours_of_the_subtypes_can_be_seen_on_white():
    assert contrast("#F0E442") < 1.4 and contrast("#FFFFFF") == 1
    assert all(contrast(figures.CLASS_COLOURS[name]) >= 3 for name in LABELS)


@pytest.mark.parametrize("name", ["cividis", "inferno", "gray"])
def test_letters_are_read_on_every_colour_of_a_map(name):
    colours = plt.get_cmap(name)(np.linspace(0, 1, 256))
    inks = [figures.ink_on(colour) for colour in colours]
    assert {"black", "white"} == set(inks)
    assert min(map(contrast, colours, inks)) >= 4.5


def test_long_titles_are_broken_and_not_cut(tmp_path):
    words = "heat of each row's class of a method with a name that is longer than its picture " * 2
    one = figures.montage([panel(title=words)], 1, words)
    curves = pd.DataFrame({"false_positive_rate": [0.0, 1], "sensitivity": [0.0, 1], "class": "x"})
    two = figures.curve_figure(curves.assign(hue="a"), "roc", words, hue="hue")
    for figure in (one, two):
        figures.save_figure(figure, tmp_path / "a.png")
        figure.draw_without_rendering()
        for text in [figure._suptitle, *(axis.title for axis in figure.axes)]:
            if text is not None and text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text.get_text()
                assert "".join(text.get_text().split()).startswith("heatofeachrow")


def test_titles_of_panels_do_not_touch_however_long_a_word_is():
    long, short = panel(title="DenseNet121" * 2 + "WWW"), panel(title="slice")
    figure = figures.montage([long, long, short], 3, "t")
    figures.fit_titles(figure)
    figure.draw_without_rendering()
    boxes = [axis.title.get_window_extent() for axis in figure.axes]
    assert boxes[0].x1 < boxes[1].x0 and boxes[1].x1 < boxes[2].x0
    sizes = [axis.title.get_fontsize() for axis in figure.axes]
    assert len(set(sizes)) == 1 and sizes[0] < 8, "all are of one size"
    figures.fit_titles(figure)
    assert [axis.title.get_fontsize() for axis in figure.axes] == pytest.approx(sizes)


def test_a_title_is_whole_where_a_legend_stands_beside_the_only_panel():
    figures.use_study_style()
    figure, axis = plt.subplots(figsize=(6.4, 2.3))
    axis.plot([0, 1], label="a network with a long name, refitted")
    axis.set_title("synthetic phantom: slices of 022: what each network says (shaded: hemorrhage)")
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figures.fit_titles(figure)
    figure.draw_without_rendering()
    box = axis.title.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    plt.close(figure)


def test_titles_name_data_sets_and_methods_as_a_radiologist_reads_them(tmp_path):
    figure = figures.montage([panel(title="lse_unet of any")], 1, "instance2022, scan_04")
    figures.save_figure(figure, tmp_path / "a.png")
    said = " ".join(figures.titles_of(figure).split())
    assert "INSTANCE 2022, scan_04" in said and "LSE-UNet of any" in said, "no other word changes"


def test_numbers_of_tables_have_three_digits():
    figures.use_study_style()
    shown = pd.DataFrame({"share": [0.826216, float("nan")], "mL": [3544.21, float("inf")]})
    assert "0.826" in str(shown) and "0.8262" not in str(shown)
    assert "3544" in str(shown) and "." not in str(shown["mL"].iloc[[0]]).split()[1]


def test_epochs_are_counted_from_one_and_never_halved(tmp_path):
    history = pd.DataFrame({"epoch": [0], "train_loss": 1.0, "valid_loss": 1.0})
    figure = figures.history_figure(history.assign(auroc=0.5, f1=0.5), "one epoch")
    ticks = [tick for tick in figure.axes[0].get_xticks() if 0.5 <= tick <= 1.5]
    assert ticks == [1]


def test_words_go_before_a_title_or_become_one():
    first, second = figures.montage([panel(title="t")], 1, "bhsd"), plt.subplots(1, 2)[0]
    figures.before_title(first, "synthetic phantom")
    assert first.get_suptitle().startswith("synthetic phantom: bhsd")
    assert first._suptitle.get_fontsize() == 10, "a wide picture's title stays as large as it is"
    figures.before_title(second, "synthetic phantom")
    assert second.get_suptitle() == "synthetic phantom"
    alone, axis = plt.subplots()
    axis.set_title("AUROC")
    figures.before_title(alone, "synthetic phantom")
    assert figures.titles_of(alone).strip() == "synthetic phantom: AUROC"


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


def test_curves_show_their_data():
    curve = pd.DataFrame(
        {"class": "any", "false_positive_rate": [0, 0.2, 1], "sensitivity": [0, 0.9, 1]}
    )
    lines = figures.curve_figure(curve, "roc", "x").axes[0].lines
    assert any(np.allclose(line.get_ydata(), [0, 0.9, 1]) for line in lines)


def test_curves_of_networks_have_colours_that_are_seen_on_white():
    names = ["resnet152", "densenet121", "rdnet_tiny", "default", "encoder"]
    points = {"false_positive_rate": [0, 1], "sensitivity": [0, 1]}
    curves = pd.concat([pd.DataFrame({"method": name, **points}) for name in names])
    axis = figures.curve_figure(curves, "roc", "x", hue="method").axes[0]
    drawn = [line.get_color() for line in axis.lines[: len(names)]]
    assert drawn == list(figures.COLOURS[: len(names)])
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels[:3] == ["ResNet152", "DenseNet121", "RDNet"]
    plt.close("all")


def test_intervals_are_placed_where_the_table_says():
    common = {"class": "any", "metric": "auroc"}
    rows = [
        {"method": name, **common, "value": v, "ci_low": v - 0.1, "ci_high": v + 0.1}
        for name, v in [("a", 0.7), ("b", 0.9)]
    ]
    axis = figures.interval_figure(result_table(rows), "x", chance=0.5).axes[0]
    points = next(line for line in axis.lines if line.get_marker() == "o")
    assert list(points.get_xdata()) == [0.7, 0.9]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert axis.get_ylim() == (1.5, -0.5), "the first above, and no point cut by the edge"


def test_titles_that_were_fitted_are_laid_out_again_only_where_they_changed(monkeypatch):
    figure, axes = plt.subplots(1, 2)
    for axis in axes:
        axis.set_title("a panel")
    laid_out = []
    draw = figure.draw_without_rendering
    monkeypatch.setattr(figure, "draw_without_rendering", lambda: (laid_out.append(1), draw()))
    figures.fit_titles(figure)
    first = len(laid_out)
    figures.fit_titles(figure)
    assert first == len(laid_out) > 0
    axes[0].set_title("another title, much longer than the panel that it stands above is wide")
    figures.fit_titles(figure)
    assert len(laid_out) > first and "\n" in axes[0].get_title()


def test_chance_of_a_precision_recall_curve_is_the_share_of_positives():
    points = {"sensitivity": [1.0, 0.5, 0.0], "threshold": [0.1, 0.5, np.inf]}
    parts = [
        pd.DataFrame({**points, "precision": [share, 0.6, 1.0], "class": name})
        for name, share in (("any", 0.3), ("SDH", 0.1))
    ]
    lines = figures.curve_figure(pd.concat(parts), "pr", "x").axes[0].lines
    dotted = [line for line in lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [0.3, 0.1]
    assert len({line.get_color() for line in dotted}) == 2
