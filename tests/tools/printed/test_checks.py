"""A printed number contradicts only where no unrounded values could satisfy it and the others."""

from fractions import Fraction

import pytest

from ich_study.errors import StudyError
from ich_study.published.tables import load_table
from tools.printed.checks import Cells, Keyed, about, check_frame, point
from tools.printed.rounding import Interval

CELLS = Cells(load_table("lse_unet", "table_5"))
AVERAGE = ("lse_unet", "table_5", "DenseNet121", "AVG")


def test_a_number_meets_what_it_can_have_been_rounded_from():
    cell = CELLS.at(*AVERAGE)
    assert cell.as_printed == "0.310"
    for expected, verdict in (
        (Interval(Fraction("0.3104"), Fraction("0.32")), "consistent"),
        (Interval(Fraction("0.3106"), Fraction("0.32")), "contradicts"),
        (point(Fraction("0.31")), "consistent"),
    ):
        assert about(cell, "rule", expected, "why").verdict == verdict


def test_contradictions_come_first_with_both_intervals():
    cell = CELLS.at(*AVERAGE)
    wrong, right = point(Fraction("0.5")), point(Fraction("0.31"))
    table = check_frame([about(cell, "a", right, "w"), about(cell, "b", wrong, "w")])
    assert table["verdict"].tolist() == ["contradicts", "consistent"]
    assert table.loc[0, ["rule", "expected_low", "printed_low"]].tolist() == ["b", 0.5, 0.3095]


def test_a_cell_that_a_check_needs_and_a_table_lacks_is_an_error():
    with pytest.raises(StudyError, match="no printed number at lse_unet / table_5 / X / AVG"):
        CELLS.at("lse_unet", "table_5", "X", "AVG")
    with pytest.raises(StudyError, match="no printed number for 'dice' in an empty row"):
        Keyed()["dice"]
    assert CELLS.has("lse_unet", "table_5") and not CELLS.has("lse_unet", "table_1")
