"""Rules inside a table, each on numbers changed until it must speak."""

import pytest

from ich_study.published.tables import load_table
from tools.printed import identities
from tools.printed.checks import Cells


def verdicts(rule, paper, table, **changed):
    """What a rule says of a table in which cells (row, column) print something else."""
    frame = load_table(paper, table)
    for (row, column), text in changed.get("cells", {}).items():
        place = frame["row"].eq(row) & frame["column"].eq(column)
        assert place.sum() == 1
        frame.loc[place, ["as_printed", "value"]] = [text, float(text)]
    return {check.address[2:]: check.verdict for check in rule(Cells(frame))}


def test_an_average_is_the_mean_of_its_row():
    right = verdicts(identities.row_averages, "lse_unet", "table_5")
    assert right["DenseNet121", "AVG"] == "contradicts"
    cells = {("DenseNet121", "SAH"): "0.085"}
    mended = verdicts(identities.row_averages, "lse_unet", "table_5", cells=cells)
    assert mended["DenseNet121", "AVG"] == "consistent"


def test_bold_is_the_best_of_its_column():
    found = verdicts(identities.bold_is_best, "lse_unet", "table_1")
    assert found["Ours", "SAH"] == "contradicts"
    mended = verdicts(
        identities.bold_is_best, "lse_unet", "table_1", cells={("Ours", "SAH"): "0.960"}
    )
    assert mended["Ours", "SAH"] == "consistent"


@pytest.mark.parametrize(("dice", "verdict"), [(None, "consistent"), ("0.9999", "contradicts")])
def test_global_dice_follows_from_global_iou(dice, verdict):
    frame = load_table("cam_benchmark", "table_2a")
    first = next(
        check for check in identities.dice_of_iou(Cells(frame)) if check.rule == "Dice of IoU"
    )
    row, column = first.address[2:]
    changed = {"cells": {(row, column): dice}} if dice else {}
    found = verdicts(identities.dice_of_iou, "cam_benchmark", "table_2a", **changed)
    assert found[row, column] == verdict
