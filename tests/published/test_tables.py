import re

import pytest

from ich_study import paths
from ich_study.errors import StudyError
from ich_study.published import tables
from ich_study.schema import SUBTYPES

PRINTED_CELLS = {
    ("lse_unet", "table_1"): 6 * 6,
    ("lse_unet", "table_2"): 6 * 7,
    ("lse_unet", "table_3"): 6 * 7,
    ("lse_unet", "table_4"): 6 * 5,
    ("lse_unet", "table_5"): 6 * 7,
    ("lse_unet", "table_6"): 6 * 7,
    ("lse_unet", "table_7"): 6 * 7,
    ("cam_benchmark", "table_1"): 6 + 5,
    ("cam_benchmark", "table_2a"): 9 * 15,
    ("cam_benchmark", "table_2b"): 9 * 12,
    ("resnet_lstm", "table_1"): 4 + 4 + 1,
    ("resnet_lstm", "table_2"): 5 * 3,
    ("hgi_sam", "table_1"): 6 * 12,
    ("hgi_sam", "table_2"): 6 * 30,
    ("mil_detector", "table_1"): 2 * 3,
}

SPOT_CHECKS = [
    ("lse_unet", "table_1", "DenseNet121*", "SAH", "0.960"),
    ("lse_unet", "table_3", "RDNet", "IVH", "0.264"),
    ("lse_unet", "table_4", "Ours", "m_EDH", "25"),
    ("lse_unet", "table_5", "DenseNet121", "SAH", "0.854"),
    (
        "cam_benchmark",
        "table_1",
        "Augmentation, 224×224, ✓, 1",
        "F1 Score (Top-5)",
        "0.9106 ± 0.0022",
    ),
    ("cam_benchmark", "table_2a", "EigenGradCAM", "Pixel Dice [-2]", "0.0117"),
    ("cam_benchmark", "table_2b", "AblationCAM", "Pixel IoU [-3]", "0.3759"),
    ("resnet_lstm", "table_1", "Fully sup U-Net(baseline) [14]", "SD", "0.51 ± 1.14"),
    ("resnet_lstm", "table_2", "ResNet-LSTM + K-means + U-Net", "RVD", "0.37 ± 0.32**"),
    ("hgi_sam", "table_1", "Overall slice-wise", "Dice Coefficient, Swin-HGI-SAM", "0.444 ± 0.014"),
    ("hgi_sam", "table_2", "3", "Specificity, Swin-UNETR", "0.551"),
    ("mil_detector", "table_1", "Attention", "PPV [%]", "38.19"),
]


@pytest.fixture(scope="module")
def everything():
    return tables.load_all()


def test_every_table_of_the_five_papers_is_there_with_every_cell():
    assert {
        key for key in map(tuple, tables.list_tables().to_numpy()) if key[1].startswith("table_")
    } == set(PRINTED_CELLS)
    assert {key: len(tables.load_table(*key)) for key in PRINTED_CELLS} == PRINTED_CELLS


def test_all_columns_are_typed(everything):
    assert list(everything.columns) == list(tables.TABLE_COLUMNS)
    assert {name: str(dtype) for name, dtype in everything.dtypes.items()} == tables.TABLE_COLUMNS


def test_every_number_has_its_source_and_stands_in_its_own_file(everything):
    assert everything["source"].str.len().min() > 10
    for paper, table in tables.list_tables().to_numpy():
        frame = tables.load_table(paper, table)
        assert set(frame["paper"]) == {paper}
        assert set(frame["table"]) == {table}


def test_table_sources_name_row_and_column(everything):
    numbered = everything[everything["table"].str.startswith("table_")]
    assert all(
        f"row {r}, column {c}" in s
        for r, c, s in zip(numbered["row"], numbered["column"], numbered["source"])
    )


def test_no_resolution_lost_its_multiplication_sign():
    lost = re.compile(r"\b(\d{3})\1\b")
    assert lost.search("Baseline, 224224, –, 1") and not lost.search("Baseline, 224×224, –, 1")
    published = paths.resolve("ich_study/published")
    files = [*published.rglob("*.csv"), paths.resolve("params/paper/printed.csv")]
    assert len(files) > 10
    assert not [file for file in files if lost.search(file.read_text(encoding="utf-8"))]


def test_text_numbers_are_quoted_with_the_number_in_the_quote(everything):
    quoted = everything[everything["table"].str.startswith("text_")]
    for row in quoted.itertuples():
        bare = row.as_printed.replace(" ", "").strip("[]")
        assert bare in row.source.partition(': "')[2].replace(" ", ""), row.source


@pytest.mark.parametrize(("paper", "table", "row", "column", "printed"), SPOT_CHECKS)
def test_cells_read_against_the_papers_by_eye(everything, paper, table, row, column, printed):
    cell = everything.query(
        "paper == @paper and table == @table and row == @row and column == @column"
    )
    assert list(cell["as_printed"]) == [printed]


def test_subtypes_and_levels_are_the_shared_ones(everything):
    named = set(everything["class"].dropna())
    assert named <= {*SUBTYPES, "any", "average", "normal"}
    assert (
        everything.loc[everything["metric"].isin(["dice", "iou", "auroc", "f1"]), "value"]
        .between(0, 1)
        .all()
    )


def test_the_area_of_hard_decisions_is_not_called_auroc(everything):
    printed_auc = everything[
        (everything["paper"] == "hgi_sam") & everything["column"].str.startswith("AUC,")
    ]
    assert len(printed_auc) == 30
    assert set(printed_auc["metric"]) == {"balanced_accuracy"}


def test_a_loaded_table_is_a_copy():
    frame = tables.load_table("mil_detector", "table_1")
    frame["value"] = 0.0
    assert tables.load_table("mil_detector", "table_1")["value"].min() > 0


def test_what_is_missing_is_named_with_what_exists():
    with pytest.raises(StudyError, match=r"table_9.*table_1"):
        tables.load_table("lse_unet", "table_9")
    with pytest.raises(StudyError, match=r"lse_unet.*mil_detector"):
        tables.load_table("grad_cam", "table_1")


def test_a_table_with_an_unknown_column_is_refused(monkeypatch):
    """A transcription that is damaged in any other way fails `tools.printed`."""
    columns = {name: kind for name, kind in tables.TABLE_COLUMNS.items() if name != "note"}
    monkeypatch.setattr(tables, "TABLE_COLUMNS", columns)
    with pytest.raises(StudyError, match=r"mil_detector/table_1.csv: .*unknown columns \['note'\]"):
        tables._load.__wrapped__("mil_detector", "table_1")
