import matplotlib.pyplot as plt
import numpy as np
import pytest

from ich_study.errors import StudyError
from ich_study.figures_tables import interval_panels, reading_of
from ich_study.schema import result_table


def table():
    return result_table([
        {"method": method, "layer": layer, "class": name, "metric": "dice", "variant": variant, "threshold_source": "none",
         "value": 0.4, "ci_low": 0.3, "ci_high": 0.5}
        for method in ("a", "b") for layer in ("-1", None) for name in ("SAH", "IPH") for variant in ("printed", "authors")
    ])


def test_a_panel_per_class_in_the_order_of_the_study_and_a_line_per_method_and_layer():
    figure = interval_panels(table(), "test")
    assert [axis.get_title() for axis in figure.axes] == ["IPH\ndice", "SAH\ndice"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a [-1]", "a", "b [-1]", "b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["printed", "authors"]
    plt.close(figure)


def test_a_reading_names_only_what_differs():
    assert set(reading_of(table())) == {"printed", "authors"}
    assert set(reading_of(table().assign(variant="printed"))) == {""}


def test_nothing_to_show_and_too_much_are_refused():
    with pytest.raises(StudyError, match="no row has a value"):
        interval_panels(table().assign(value=np.nan), "test")
    many = table().loc[[0] * 13].assign(metric=[f"m{n}" for n in range(13)])
    with pytest.raises(StudyError, match="13 panels"):
        interval_panels(many, "test")
