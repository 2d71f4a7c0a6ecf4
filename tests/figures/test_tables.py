"""A table is shown whole, and in words."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
from IPython.core.formatters import DisplayFormatter

from ich_study.figures import tables
from ich_study.figures.tables import as_html, folded


def test_no_row_and_no_word_is_cut():
    sentence = "a sentence that says <more> than fifty letters do, and whose end is what matters"
    shown = folded(pd.DataFrame({"n": range(300), "said": [sentence] * 300}), "Claims & more").data
    assert shown.count("whose end is what matters") == 300 and "..." not in shown
    assert "Claims &amp; more (300 rows)" in shown and "&lt;more&gt;" in shown
    assert "max-height" in shown and "<details>" in shown
    assert "<details open>" in folded(pd.DataFrame({"n": [1]}), "t", opened=True).data


def test_names_are_words_and_nothing_is_raw():
    shown = as_html(
        pd.DataFrame(
            {
                "method": ["lse_unet - rdnet_tiny", "hires_cam"],
                "metric": ["pointing_game_difference", "dice"],
                "answer": ["hu_threshold", None],
                "ci_low": [0.25, np.nan],
            },
            index=[1531, 9042],
        )
    )
    for words in ("LSE-UNet minus RDNet", "pointing game, difference", "HiResCAM", "95 % from"):
        assert words in shown
    assert "HU 50-90 in the brain" in shown
    for raw in ("NaN", "None", "1531", "_", "<th></th>"):
        assert raw not in shown


def test_a_method_that_bears_the_name_of_its_data_is_told_from_them():
    table = pd.DataFrame(
        {"method": ["phe_sich", "hires_cam - phe_sich"], "dataset": ["phe_sich", "phe_sich"]}
    )
    shown = as_html(table)
    assert shown.count("PHE-SICH") == 2 and shown.count("small ResNet") == 2
    assert "HiResCAM minus small ResNet" in shown
    indexed = as_html(table.set_index("method"))
    assert indexed.count("PHE-SICH") == 2 and indexed.count("small ResNet") == 2


def test_parameters_and_scans_keep_their_names():
    settings = pd.DataFrame({"printed": ["window_and_head"]}, index=["squeeze_excitation"])
    assert "window_and_head" in as_html(settings) and "squeeze_excitation" in as_html(settings)
    assert "ID_bb181844_ID_b7505d90c0" in as_html(
        pd.DataFrame({"scan": ["ID_bb181844_ID_b7505d90c0"]})
    )


def test_levels_of_a_pivoted_table_are_words():
    long = pd.DataFrame(
        {
            "method": ["eigen_cam", "random_map"],
            "dataset": ["rsna/test", "rsna/test"],
            "class": ["average_subtypes", "any"],
            "layer": [-3.0, np.nan],
            "value": [0.5, 0.25],
        }
    )
    wide = long.pivot(index="method", columns=["dataset", "class", "layer"], values="value")
    shown = as_html(wide)
    for words in ("EigenCAM", "random map", "RSNA/test", "average over subtypes", "any hemorrhage"):
        assert words in shown
    assert "NaN" not in shown and wide.index.tolist() == ["eigen_cam", "random_map"]


def test_long_tables_scroll_and_empty_ones_say_so():
    assert "max-height" in as_html(pd.DataFrame({"n": range(100)}))
    assert "without a row" in as_html(pd.DataFrame())


def test_a_notebook_shows_tables_so(monkeypatch):
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    monkeypatch.setattr(tables, "get_ipython", lambda: shell)
    tables.show_tables_in_words()
    data, _ = shell.display_formatter.format(pd.DataFrame({"method": ["hires_cam"]}))
    assert "HiResCAM" in data["text/html"] and "hires_cam" in data["text/plain"]
