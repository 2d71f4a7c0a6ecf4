import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.figures.intervals import interval_panels, reading_of
from ich_study.schema import result_table


def table():
    return result_table(
        [
            {
                "method": method,
                "layer": layer,
                "class": name,
                "metric": "dice",
                "variant": variant,
                "threshold_source": "none",
                "value": 0.4,
                "ci_low": 0.3,
                "ci_high": 0.5,
            }
            for method in ("a", "b")
            for layer in ("-1", None)
            for name in ("SAH", "IPH")
            for variant in ("printed", "authors")
        ]
    )


def test_a_panel_per_class_in_the_order_of_the_study_and_a_line_per_method_and_layer():
    figure = interval_panels(table(), "test")
    assert [axis.get_title() for axis in figure.axes] == ["IPH\ndice", "SAH\ndice"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "a [-1]",
        "a",
        "b [-1]",
        "b",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["printed", "authors"]
    plt.close(figure)


def test_a_reading_names_only_what_differs():
    found = reading_of(table())
    assert set(found["colour"]) == {"printed", "authors"} and set(found["marker"]) == {""}
    assert set(reading_of(table().assign(variant="printed"))["colour"]) == {""}
    both = pd.concat([table(), table().assign(threshold_source="labels")], ignore_index=True)
    assert set(reading_of(both)["marker"]) == {"none", "labels"}
    masked = pd.concat(
        [table().assign(brain_mask=True), table().assign(brain_mask=False)], ignore_index=True
    )
    assert set(reading_of(masked)["marker"]) == {"brain mask", "no brain mask"}


def test_no_two_readings_of_a_method_look_alike_or_share_a_place():
    several = pd.concat(
        [
            table().assign(variant=f"variant {number}", threshold_source=source)
            for number in range(9)
            for source in ("labels", "none")
        ],
        ignore_index=True,
    ).drop_duplicates(["method", "layer", "class", "variant", "threshold_source"])
    figure = interval_panels(several, "test")
    looks = [(line.get_color(), line.get_marker()) for line in figure.axes[0].lines]
    assert len(looks) == 18 and len(set(looks)) == 18
    heights = np.concatenate([line.get_ydata() for line in figure.axes[0].lines])
    assert len(heights) == 4 * 18 and len(set(heights)) == 4 * 18
    assert len(figure.legends[0].get_texts()) == 9 + 2
    plt.close(figure)
    with pytest.raises(StudyError, match="cannot be told apart"):
        interval_panels(
            pd.concat(
                [table().assign(variant=f"variant {number}") for number in range(13)],
                ignore_index=True,
            ),
            "test",
        )


def test_a_point_lies_on_the_line_of_its_own_interval():
    rows = table().assign(
        value=np.arange(16) / 20,
        ci_low=np.arange(16) / 20 - 0.05,
        ci_high=np.arange(16) / 20 + 0.02,
    )
    figure = interval_panels(rows, "test")
    for axis in figure.axes:
        drawn = {}
        for line, collection in zip(axis.lines, axis.collections):
            for value, height, segment in zip(
                line.get_xdata(), line.get_ydata(), collection.get_segments()
            ):
                assert segment[:, 1].tolist() == [height, height] and segment[
                    :, 0
                ] == pytest.approx([value - 0.05, value + 0.02])
                drawn[round(value, 3)] = height
        wanted = rows[rows["class"] == axis.get_title().split("\n")[0]]["value"]
        assert sorted(drawn) == pytest.approx(sorted(wanted))
    plt.close(figure)


def test_nothing_to_show_and_too_much_are_refused():
    with pytest.raises(StudyError, match="no row has a value"):
        interval_panels(table().assign(value=np.nan), "test")
    many = table().loc[[0] * 13].assign(metric=[f"m{n}" for n in range(13)])
    with pytest.raises(StudyError, match="13 panels"):
        interval_panels(many, "test")
