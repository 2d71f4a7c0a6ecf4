import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError, RunError
from ich_study.methods.cams.classifiers import all_called, figure_three_curves, table_one

PART = "hemorica/test"


@pytest.fixture
def runs(tmp_path):
    for name, top in (("cam_baseline", 0.80), ("cam_size_512", 0.85)):
        (tmp_path / name).mkdir()
        measures = {"average_precision": 0.7, "f1@0.3": 0.5, "f1@0.5": 0.6, "f1@0.7": 0.4}
        rows = [
            {
                "dataset": PART,
                "class": "any",
                "metric": metric,
                "value": value,
                "ci_low": value - 0.1,
                "ci_high": value + 0.1,
            }
            for metric, value in measures.items()
        ]
        rows += [
            {"dataset": "hemorica/validation", "class": "any", "metric": metric, "value": value}
            for metric, value in (
                ("f1_top5", top),
                ("f1_top5_sd", 0.01),
                ("average_precision", 0.99),
            )
        ]
        pd.DataFrame(rows).to_csv(tmp_path / name / "metrics.csv", index=False)
        curve = {
            "sensitivity": [1.0, 0.5, 0.0],
            "precision": [0.3, 0.6, 1.0],
            "threshold": [0.1, 0.5, np.inf],
        }
        pd.DataFrame(curve).assign(**{"dataset": PART, "class": "any"}).to_csv(
            tmp_path / name / "pr.csv", index=False
        )
    return [tmp_path / "cam_baseline", tmp_path / "cam_size_512"]


def test_table_one_holds_both_parts_numbers_and_the_gain(runs):
    table = table_one(runs, PART, "cam_baseline").set_index("method")
    assert table["f1_top5"].tolist() == [0.80, 0.85] and table["average_precision"].tolist() == [
        0.7,
        0.7,
    ]
    assert (
        table.loc["cam_size_512", "difference"] == pytest.approx(0.05)
        and table.loc["cam_baseline", "difference"] == 0
    )
    assert np.isnan(table_one(runs, PART, "absent")["difference"]).all()


def test_curves_are_those_of_the_part(runs):
    curves = figure_three_curves(runs, PART, "any")
    assert curves["run"].unique().tolist() == ["cam_baseline", "cam_size_512"] and len(curves) == 6


def test_runs_that_did_not_finish_are_named(runs, tmp_path):
    with pytest.raises(RunError, match="cam_final, found nothing"):
        table_one([*runs, tmp_path / "cam_final"], PART, None)
    with pytest.raises(DataError, match="no average precision of 'any' on rsna/test"):
        table_one(runs, "rsna/test", None)
    with pytest.raises(DataError, match="no precision-recall curve"):
        figure_three_curves(runs, PART, "SDH")


def test_calling_every_slice_is_scored_on_the_patients_that_chose_the_epochs(runs):
    assert all_called(runs, PART, "any") is None  # these runs have curves of the test part alone
    for folder in runs:
        curves = pd.read_csv(folder / "pr.csv")
        chosen = curves.assign(dataset="hemorica/validation", precision=[0.25, 0.6, 1.0])
        pd.concat([curves, chosen]).to_csv(folder / "pr.csv", index=False)
    assert all_called(runs, PART, "any") == 0.4  # 2 * 0.25 / 1.25, and not of the other part
