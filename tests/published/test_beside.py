import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.published import beside
from ich_study.published.tables import load_table
from ich_study.schema import result_table


def rows(**changes):
    common = {
        "study": "06_cam_benchmark",
        "dataset": "hemorica/test",
        "method": "grad_cam",
        "variant": "printed",
        "layer": "-1",
        "class": "any",
        "ci_high": 0.3,
        "n": 10,
        "seed": 1,
        "unit": "pixel",
        "subset": "positive",
        "threshold_source": "masks-test",
        "metric": "dice",
        "value": 0.25,
        "ci_low": 0.2,
    }
    return result_table([{**common, **changes}])


def test_every_printed_table_of_the_five_papers_is_rebuilt_by_a_study():
    named = beside.load_study_tables()
    assert set(named["study"]) == {
        "02_lse_unet",
        "03_resnet_lstm",
        "04_swin_hgi_sam",
        "05_mil_detector",
        "06_cam_benchmark",
    }
    for row in named.itertuples():
        assert len(beside.printed_cells(row.paper, row.table, row.printed)) > 0


def test_cells_meet_in_method_layer_and_metric():
    cells = beside.printed_cells("cam_benchmark", "table_2a")
    table = beside.beside_cells(
        cells, rows(), "subset=positive", "06_cam_benchmark", "this study (phantom)"
    )
    assert len(table) == len(cells)
    filled = table[table["this study (phantom)"] != ""]
    assert len(filled) == 1
    assert filled.iloc[0][["method", "layer", "metric", "printed"]].tolist() == [
        "grad_cam",
        "-1",
        "dice",
        "0.3640",
    ]
    assert filled.iloc[0]["this study (phantom)"] == "0.250 [0.200, 0.300]"


def test_two_readings_of_one_number_stand_apart():
    both = pd.concat(
        [rows(), rows(threshold_source="masks-validation", value=0.2, ci_low=0.1)],
        ignore_index=True,
    )
    table = beside.beside_cells(
        beside.printed_cells("cam_benchmark", "table_2a"), both, "", "06_cam_benchmark", "ours"
    )
    assert sorted(table.loc[table["ours"] != "", "threshold_source"]) == [
        "masks-test",
        "masks-validation",
    ]


def test_a_selector_leaves_out_other_subsets_and_studies():
    cells = beside.printed_cells("cam_benchmark", "table_2a")
    assert (
        beside.beside_cells(
            cells, rows(subset="all"), "subset=positive", "06_cam_benchmark", "ours"
        )["ours"]
        == ""
    ).all()
    assert (
        beside.beside_cells(cells, rows(study="other"), "", "06_cam_benchmark", "ours")["ours"]
        == ""
    ).all()


def test_only_the_printed_rows_that_are_asked_for_stand_there():
    overall = beside.printed_cells("hgi_sam", "table_1", "row=Overall slice-wise")
    assert 0 < len(overall) < len(load_table("hgi_sam", "table_1")) and set(overall["row"]) == {
        "Overall slice-wise"
    }


def test_selectors_that_pick_nothing_are_refused():
    with pytest.raises(StudyError, match="no cell has"):
        beside.printed_cells("hgi_sam", "table_1", "row=7")
    with pytest.raises(StudyError, match="expected column=value"):
        beside.printed_cells("hgi_sam", "table_1", "colour=red")


def test_rows_for_the_picture_are_those_of_the_cells():
    cells = beside.printed_cells("cam_benchmark", "table_2a")
    mixed = pd.concat(
        [
            rows(),
            rows(metric="seconds"),
            rows(method="random_map"),
            rows(unit="scan"),
            rows(unit="slice"),
        ],
        ignore_index=True,
    )
    assert {"pixel", "slice"} <= set(cells["unit"])
    assert len(beside.study_results(mixed, "subset=positive", "06_cam_benchmark", cells)) == 1


def test_only_tables_with_a_number_of_ours_are_rebuilt():
    assert [found.name for found in beside.rebuilt_tables(rows(), "ours")] == [
        "cam_benchmark_table_2a"
    ]
    found = beside.rebuilt_tables(rows(), "ours")[0]
    assert len(found.rows) == 1 and len(found.table) == len(load_table("cam_benchmark", "table_2a"))


def test_layers_that_a_printed_table_does_not_name_stand_apart():
    hgi = {"study": "04_swin_hgi_sam", "method": "swin_hgi_sam", "unit": "slice"}
    both = pd.concat([rows(**hgi, layer=None), rows(**hgi, layer="0-3")], ignore_index=True)
    cells = beside.printed_cells("hgi_sam", "table_1", "row=Overall slice-wise")
    table = beside.beside_cells(cells, both, "", "04_swin_hgi_sam", "ours")
    assert sorted(table.loc[table["ours"] != "", "layer"]) == ["", "0-3"]
