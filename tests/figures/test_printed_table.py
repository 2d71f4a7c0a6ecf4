import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from ich_study.figures import printed_table as tables, style


def cells():
    """Two rows and two measures: one cell without our number, one rival, a second reading."""
    columns = ["row", "column", "reading", "printed", "printed_value", "ours", "difference"]
    rows = [
        ("A", "Dice, x", "ours", "0.50", 0.5, "0.75 [0.70, 0.80]", "+0.25", 0.75),
        ("A", "Dice, x", "ours, against boxes", "0.50", 0.5, "0.20", "", 0.2),
        ("A", "IoU, x", "ours", "0.40", 0.4, "0.10", "-0.30", 0.1),
        ("B", "Dice, x", "ours", "0.30", 0.3, "", "", np.nan),
        ("random map", "Dice, x", "ours", "", np.nan, "0.01", "", 0.01),
    ]
    return pd.DataFrame(rows, columns=[*columns, "value"])


def test_every_number_stands_in_the_picture_and_the_shade_says_which_way():
    figure = tables.table_figure(cells(), ["Dice, x", "IoU, x"], "a table of the phantom")
    axis = figure.axes[0]
    texts = {text.get_text(): text for text in axis.texts}
    assert {"0.50 (+0.25)", "0.75 [0.70, 0.80]", "0.40 (-0.30)", "0.30", "0.01"} <= set(texts)
    assert {"a table of the phantom", "random map", "† ours, against boxes"} <= set(texts)
    assert texts["† 0.20"].get_color() == texts["† ours, against boxes"].get_color()
    assert texts["† 0.20"].get_color() != texts["0.10"].get_color()
    shades = [patch for patch in axis.patches if patch.get_alpha()]
    higher, lower = shades  # in proportion to the larger number: 0.25 of 0.75, 0.30 of 0.40
    assert to_rgb(higher.get_facecolor()) == to_rgb(tables.HIGHER)
    assert to_rgb(lower.get_facecolor()) == to_rgb(tables.LOWER)
    assert lower.get_alpha() / higher.get_alpha() == pytest.approx(0.75 * 3)
    plt.close(figure)


def test_readings_have_one_order_in_cells_and_legend_and_a_mark_each():
    """The longest name stands first in the table's lines, and the second row lacks the first
    number."""
    first, second, third = ("ours", "ours, classes as in the authors' script", "ours, other")
    rows = [
        ("A", "Dice", each, "0.5", 0.5, number, "", 0.1)
        for each, number in ((second, "0.2"), (first, "0.1"), (third, "0.3"))
    ]
    rows += [("B", "Dice", each, "0.5", 0.5, "0.4", "", 0.4) for each in (first, second)]
    table = pd.DataFrame(rows, columns=cells().columns)
    figure = tables.table_figure(table, ["Dice"], "t")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in texts if text[-3:] in {"0.1", "0.2", "0.3", "0.4"}] == [
        *("0.2", "† 0.1", "‡ 0.3"),
        *("0.4", "† 0.4"),
    ]
    assert texts[-4:] == ["printed", second, f"† {first}", f"‡ {third}"]
    plt.close(figure)


def test_notes_stand_below_the_table_in_lines_that_fit(tmp_path):
    style.use_study_style()
    note = "A fold is a part of the patients that no network of it has seen in training. " * 4
    figure = tables.table_figure(cells(), ["Dice, x", "IoU, x"], "t", [note, "short"])
    style.save_figure(figure, tmp_path / "a.png")
    figure.canvas.draw()
    texts = figure.axes[0].texts
    shown = " ".join(text.get_text() for text in texts)
    assert note.strip() in shown and shown.endswith("short")
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in texts)
    assert all(text.get_window_extent().y0 >= 0 for text in texts)
    plt.close(figure)


def test_a_picture_is_1200_pixels_wide_and_no_text_leaves_its_column(tmp_path):
    style.use_study_style()
    long = [f"Intersection over Union, supervised network {number}" for number in range(9)]
    many = [
        cells().iloc[[0]].assign(column=name, ours="0.755 ± 0.014 [0.705, 0.804]") for name in long
    ]
    figure = tables.table_figure(pd.concat(many), long, "wide")
    style.save_figure(figure, tmp_path / "a.png")
    assert plt.imread(tmp_path / "a.png").shape[1] == 1200
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    over = [
        (one, two)
        for number, one in enumerate(boxes)
        for two in boxes[number + 1 :]
        if one.shrunk(0.9, 0.7).overlaps(two.shrunk(0.9, 0.7))
    ]
    assert not over
    plt.close(figure)


def test_columns_of_one_measure_stay_in_one_block():
    depths = ["[-1]", "[-2]", "[-3]"]
    names = [f"{measure} {depth}" for measure in ("Hit", "Dice", "IoU") for depth in depths]
    assert tables.column_blocks(names) == [names[:6], names[6:]]
    wide = [f"AUC, {number}" for number in range(9)]
    assert tables.column_blocks(["Accuracy, 0", *wide]) == [["Accuracy, 0"], wide]


def test_a_long_row_name_has_room_though_its_cells_have_one_line():
    named = cells().assign(row="a name of a method that takes three lines of its narrow column")
    below = cells().iloc[[3]].assign(row="next")
    one = named.iloc[[3]].assign(ours="")
    figure = tables.table_figure(pd.concat([cells(), one, below]), ["Dice, x"], "t")
    figure.canvas.draw()
    found = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    (long,) = [box for text, box in found.items() if text.startswith("a name")]
    assert not long.overlaps(found["next"])
    plt.close(figure)


def test_numbers_of_either_sign_are_shaded_no_darker_than_the_strongest():
    gain = cells().iloc[[0]].assign(printed_value=0.01, value=-0.02, difference="-0.03")
    figure = tables.table_figure(gain, ["Dice, x"], "t")
    (shade,) = [patch for patch in figure.axes[0].patches if patch.get_alpha()]
    assert shade.get_alpha() == pytest.approx(tables.STRONGEST)
    plt.close(figure)


def test_nothing_is_said_of_printed_numbers_where_there_are_none():
    figure = tables.table_figure(cells().iloc[[4]], ["Dice, x"], "t")
    assert not any("printed" in text.get_text() for text in figure.axes[0].texts)
    plt.close(figure)


def test_a_title_does_not_break_within_the_name_of_a_data_set():
    title = "numbers of slices, " * 5 + "(PHE-SICH)"
    figure = tables.table_figure(cells(), ["Dice, x", "IoU, x"], title)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {title.removesuffix(" (PHE-SICH)"), "(PHE-SICH)"} <= texts
    plt.close(figure)
