"""A table is shown whole."""

import pandas as pd

from ich_study.figures.tables import folded


def test_no_row_and_no_word_is_cut():
    sentence = "a sentence that says <more> than fifty letters do, and whose end is what matters"
    shown = folded(pd.DataFrame({"n": range(300), "said": [sentence] * 300}), "Claims & more").data
    assert shown.count("whose end is what matters") == 300 and "..." not in shown
    assert "Claims &amp; more (300 rows)" in shown and "&lt;more&gt;" in shown
    assert "max-height" in shown and "<details>" in shown
    assert "<details open>" in folded(pd.DataFrame({"n": [1]}), "t", opened=True).data
