import matplotlib.pyplot as plt
import pandas as pd

from ich_study.evaluate.results import collect_tables
from ich_study.evaluate.rows import OF_SLICES
from ich_study.figures import style
from ich_study.published.beside import rebuilt_tables
from ich_study.published.classifiers import (
    LSE_UNET,
    all_called_rows,
    classifier_curves,
    classifier_rows,
)
from ich_study.schema import result_table

AUROC = {"dataset": "rsna/test", "variant": "printed", "metric": "auroc", "seed": 1}
BOUNDS = {"value": 0.7, "ci_low": 0.6, "ci_high": 0.8}


def row(study, method, class_name="any", **more):
    return {**AUROC, **BOUNDS, "study": study, "method": method, "class": class_name, **more}


ROWS = [
    row("01_backbones", "densenet121"),
    row("01_backbones", "resnet152"),
    row("01_backbones", "resnet152", "EDH", ci_low=None, ci_high=None),
    row("01_backbones", "slice_position", variant="beside densenet121 (printed)"),
    row("01_backbones", "slice_position", variant="beside resnet152 (printed)"),
    row("01_backbones", "resnet152", dataset="bhsd"),
    row("02_lse_unet", "lse_unet", variant="authors", value=0.75),
    row("02_lse_unet", "lse_unet", variant="no_consistency_loss"),
    row("02_lse_unet", "slice_position", variant="beside lse_unet (authors)"),
]
COMPARED = ["resnet152", "densenet121", LSE_UNET]


def test_lse_unets_base_variant_stands_below_its_classifiers_and_the_rival_last():
    found = classifier_rows(result_table(ROWS), "auroc", "rsna/test", COMPARED)
    of_any = found[found["class"] == "any"]
    assert of_any["method"].tolist() == [*COMPARED, "slice_position"]
    assert of_any["value"].tolist() == [0.7, 0.7, 0.75, 0.7]
    assert set(found["dataset"]) == {"rsna/test"}
    without = classifier_rows(result_table(ROWS), "auroc", "rsna/test", COMPARED[:1])
    assert LSE_UNET not in set(without["method"])


def test_a_rival_alone_is_no_chart():
    assert classifier_rows(result_table(ROWS), "auroc", "rsna/test", ["rdnet_tiny"]).empty


def test_the_chart_has_a_line_for_each_and_says_what_has_no_interval():
    found = classifier_rows(result_table(ROWS), "auroc", "rsna/test", COMPARED)
    figure = style.interval_figure(found, "AUROC", chance=0.5)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["ResNet152", "DenseNet121", "LSE-UNet", "height in the head"]
    assert "without a line" in figure.texts[-1].get_text()
    whole = style.interval_figure(found[found["class"] == "any"], "AUROC")
    assert len(whole.texts) == len(figure.texts) - 1
    plt.close("all")


def test_lse_unets_roc_curve_stands_with_those_of_its_classifiers(tmp_path, capsys):
    curve = pd.DataFrame({"false_positive_rate": [0.0, 1.0], "sensitivity": [0.0, 1.0]})
    points = [
        curve.assign(**{"dataset": dataset, "class": name})
        for dataset in ("rsna/test", "rsna/validation")
        for name in ("any", "EDH")
    ]
    runs = ("01_backbones/densenet121", "01_backbones/other", "01_backbones/resnet152")
    for run in (*runs, "02_lse_unet"):
        (tmp_path / run).mkdir(parents=True)
        pd.concat(points).to_csv(tmp_path / run / "roc.csv", index=False)
    curves = collect_tables(tmp_path, "roc.csv")
    found = classifier_curves(curves, "rsna/test", COMPARED)
    assert found["method"].tolist() == [name for name in COMPARED for _ in range(2)]
    assert set(found["dataset"]) == {"rsna/test"} and set(found["class"]) == {"any"}
    assert capsys.readouterr().out == ""
    figure = style.curve_figure(found, "roc", "any", hue="method")
    named = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert named == ["ResNet152", "DenseNet121", "LSE-UNet"]
    plt.close("all")
    # a run of 02 from before it wrote its curve
    (tmp_path / "02_lse_unet" / "roc.csv").unlink()
    curves = collect_tables(tmp_path, "roc.csv")
    found = classifier_curves(curves, "rsna/test", COMPARED)
    assert found["method"].unique().tolist() == COMPARED[:2]
    assert "any on rsna/test: lse_unet" in capsys.readouterr().out


def test_calling_every_slice_is_a_rival_of_table_1_alone():
    top = {"dataset": "hemorica/validation", "metric": "f1_top5", **OF_SLICES}
    rows = [row("01_backbones", name, **top) for name in ("cam_baseline", "cam_augment", "own")]
    rows.append(row("01_backbones", "own", **{**top, "dataset": "elsewhere/validation"}))
    points = {"sensitivity": [1.0, 0.0], "precision": [0.25, 1.0], "threshold": [0.1, 2.0]}
    curves = [
        pd.DataFrame({**points, "method": each["method"], "dataset": place, "class": "any"})
        for each in rows
        for place in ("hemorica/validation", "hemorica/test", "elsewhere/validation")
    ]
    found = all_called_rows(result_table(rows), pd.concat(curves))
    assert found[["method", "dataset", "metric", "value"]].to_numpy().tolist() == [
        ["all_called", "hemorica/validation", "f1_top5", 0.4]
    ]
    assert found["ci_low"].isna().all()
    assert all_called_rows(result_table(rows[2:]), pd.concat(curves)).empty
    (table,), _ = rebuilt_tables(pd.concat([result_table(rows), found], ignore_index=True))
    wide = table.wide().set_index(["row", "number"])
    assert wide.loc[("every slice called", "ours"), "F1 Score (Top-5)"] == "0.4000"
