import pandas as pd
import pytest

from ich_study.evaluate.classifier_report import (
    ScoredPart,
    headline,
    primary_auroc,
    report_classifier,
)
from ich_study.schema import RESULT_COLUMNS
from ich_study.training.learner import train_classifier
from tests.training.fakes import config, fake_store, network, parts


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    store = fake_store()
    train, held_out = parts(store)
    settings = config()
    run = train_classifier(
        network(settings),
        settings,
        store,
        train,
        held_out,
        tmp_path_factory.mktemp("run"),
    )
    half = held_out["patient_id"].isin(sorted(held_out["patient_id"].unique())[::2])
    validation = ScoredPart("fake/validation", store, held_out[half])
    test = ScoredPart("fake/test", store, held_out[~half])
    return report_classifier(
        run, validation, [test], train, method="arm", variant="printed", replicates=100
    )


def test_every_part_is_measured_under_its_name_and_learning_shows_on_held_out_patients(report):
    assert tuple(report.results.columns) == RESULT_COLUMNS
    assert set(report.results["dataset"]) == {"fake/validation", "fake/test"}
    assert primary_auroc(report.results, "fake/test", "any")["value"] > 0.8


def test_thresholds_come_from_the_validation_part_alone(report):
    youden = report.results[report.results["metric"].str.endswith("@youden")]
    assert set(youden["threshold_source"]) == {"labels"}
    validation = report.of_part("fake/validation").query("`class` == 'any'")
    positive, negative = (
        validation.loc[validation["label"] == truth, "logit"] for truth in (True, False)
    )
    threshold = report.thresholds["any"].value
    chosen = (positive >= threshold).mean() - (negative >= threshold).mean()
    every = [(positive >= cut).mean() - (negative >= cut).mean() for cut in validation["logit"]]
    assert chosen == pytest.approx(max(every))


def test_top_epochs_are_of_the_validation_part_only(report):
    top = report.results[report.results["metric"] == "f1_top5"]
    assert top["dataset"].tolist() == ["fake/validation"]
    assert report.top_epochs["dataset"].unique().tolist() == ["fake"]


def test_the_rival_of_height_learns_from_the_training_part_alone(report):
    rivals = report.results.query("method == 'slice_position'").set_index("dataset")["value"]
    # fitted on the slices that it is tested on: 0.770 and 0.833
    expected = {"fake/validation": 0.690, "fake/test": 0.563}
    assert rivals.to_dict() == pytest.approx(expected, abs=0.001)


def test_files_and_headline(report, tmp_path):
    report.write(tmp_path)
    tables = {"thresholds.csv", "metrics.csv", "roc.csv", "pr.csv"}
    written = {"predictions.parquet", "top_epochs.parquet", *tables}
    assert {path.name for path in tmp_path.iterdir()} == written
    assert set(pd.read_csv(tmp_path / "roc.csv")["dataset"]) == {"fake/validation", "fake/test"}
    assert {"auroc", "sensitivity@youden"} <= set(headline(report.results))
