import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from torch import nn

from ich_study.errors import StudyError
from ich_study.evaluate.classification import (
    classification_results,
    curves,
    predict,
    validation_thresholds,
)
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.slice_predictions import PREDICTION_COLUMNS
from ich_study.evaluate.thresholds import Threshold
from ich_study.schema import LABELS, RESULT_COLUMNS, SUBTYPES
from tests.training.fakes import config, fake_store

CPU = torch.device("cpu")
STORE = fake_store(4)


def predictions(patients=12, per_patient=20, classes=LABELS, seed=0, dataset="fake"):
    rng = np.random.default_rng(seed)
    frames = []
    for name in classes:
        labels = rng.random(patients * per_patient) < 0.3
        logits = rng.normal(0, 1, len(labels)) + 1.5 * labels
        frames.append(
            pd.DataFrame(
                {
                    "dataset": dataset,
                    "patient_id": np.repeat([f"p{n}" for n in range(patients)], per_patient),
                    "scan_id": np.repeat([f"s{n}" for n in range(patients)], per_patient),
                    "slice_index": np.tile(range(per_patient), patients),
                    "class": name,
                    "label": pd.array(labels, dtype="boolean"),
                    "logit": logits,
                    "probability": 1 / (1 + np.exp(-logits)),
                }
            )
        )
    return pd.concat(frames, ignore_index=True).astype(PREDICTION_COLUMNS)


class MeanOfCentre(nn.Module):
    """Logits that can be worked out by hand: the mean input, and its negative."""

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        return torch.stack([mean, -mean], 1)


def test_predictions_have_a_row_per_slice_and_class_in_their_order():
    settings = config(classes=("any", "SDH"), size=48, normalisation="none")
    rows = STORE.index.iloc[[5, 0, 9]].assign(SDH=pd.array([True, pd.NA, False], dtype="boolean"))
    found = predict(
        MeanOfCentre(), settings.preprocessing(), settings.classes, STORE, rows, CPU, batch_size=2
    )
    assert found["class"].tolist() == ["any", "SDH"] * 3
    assert found["slice_index"].tolist() == [5, 5, 0, 0, 1, 1]
    assert found["label"].tolist()[1::2] == [True, pd.NA, False]
    for number, row in enumerate(rows.itertuples()):
        mean = (STORE.volumes[row.scan_id][row.slice_index].clip(0, 80) / 80).mean()
        assert found["logit"].iloc[2 * number : 2 * number + 2].tolist() == pytest.approx(
            [mean, -mean], abs=1e-5
        )
    assert np.allclose(found["probability"], 1 / (1 + np.exp(-found["logit"])))
    two = predict(
        MeanOfCentre(), settings.preprocessing(), ("any",), STORE, rows, CPU, two_outputs=True
    )
    assert np.allclose(two["logit"], -2 * found["logit"][::2].to_numpy(), atol=1e-6)


def test_outputs_that_cannot_be_used_are_named():
    settings = config(classes=("any",), size=48)

    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 1), torch.nan)

    with pytest.raises(StudyError, match=r"not finite in 32 slices, first fake-scan000 slice 0"):
        predict(Broken(), settings.preprocessing(), ("any",), STORE, STORE.index, CPU)


def value(results, name, metric):
    row = results[(results["class"] == name) & (results["metric"] == metric)]
    assert len(row) == 1, (name, metric)
    return row.iloc[0]


def test_results_equal_scikit_learn_and_lie_in_their_intervals():
    validation, test = predictions(seed=1), predictions(seed=2)
    thresholds = validation_thresholds(validation)
    results = classification_results(test, thresholds, Rows("s", "", 200), "m")
    assert results.columns.tolist() == list(RESULT_COLUMNS)
    for name in ("any", "EDH"):
        rows = test[test["class"] == name]
        truth, scores = rows["label"].to_numpy(bool), rows["logit"].to_numpy()
        at_half, at_youden = scores >= 0, scores >= thresholds[name].value
        oracle = {
            "auroc": roc_auc_score(truth, scores),
            "average_precision": average_precision_score(truth, scores),
            "f1@0.5": f1_score(truth, at_half),
            "sensitivity@0.5": recall_score(truth, at_half),
            "specificity@0.5": recall_score(~truth, ~at_half),
            "precision@0.5": precision_score(truth, at_half),
            "f1@youden": f1_score(truth, at_youden),
            "sensitivity@0.3": recall_score(truth, scores >= np.log(3 / 7)),
        }
        for metric, expected in oracle.items():
            row = value(results, name, metric)
            assert row["value"] == pytest.approx(expected), metric
            assert row["ci_low"] <= expected <= row["ci_high"] and row["n"] == 12
            assert row["threshold_source"] == ("labels" if "youden" in metric else "none")
    mean = np.mean([value(results, name, "auroc")["value"] for name in SUBTYPES])
    assert value(results, "average", "auroc")["value"] == pytest.approx(mean)


def test_a_probability_at_the_threshold_is_called():
    test = predictions(patients=2, per_patient=2, classes=("any",))
    test["label"] = pd.array([True, False, True, False], dtype="boolean")
    test["logit"] = logit([0.5, 0.5, 0.7, 0.2])
    results = classification_results(test, {}, Rows("s", "", 2), "m")
    assert value(results, "any", "sensitivity@0.5")["value"] == 1.0
    assert value(results, "any", "specificity@0.5")["value"] == 0.5
    assert value(results, "any", "sensitivity@0.7")["value"] == 0.5


def test_what_a_threshold_was_chosen_on_stands_beside_what_it_gives():
    test = predictions(classes=("any",))
    source = {"any": Threshold(0.4, "masks-test", "best F1")}
    results = classification_results(test, source, Rows("s", "", 2), "m")
    assert value(results, "any", "f1@best F1")["threshold_source"] == "masks-test"
    assert value(results, "any", "f1@0.5")["threshold_source"] == "none"
    assert value(results, "any", "auroc")["threshold_source"] == "none"


def test_unknown_labels_and_absent_classes():
    test = predictions(classes=("any", "IPH"))
    test.loc[test["class"] == "IPH", "label"] = False
    test.loc[(test["class"] == "any") & (test["slice_index"] < 10), "label"] = pd.NA
    results = classification_results(test, {}, Rows("s", "", 50), "m")
    assert np.isnan(value(results, "IPH", "auroc")["value"]) and np.isnan(
        value(results, "IPH", "sensitivity@0.5")["value"]
    )
    known = test[(test["class"] == "any") & (test["slice_index"] >= 10)]
    assert value(results, "any", "auroc")["value"] == pytest.approx(
        roc_auc_score(known["label"].to_numpy(bool), known["logit"])
    )
    assert (
        not (results["class"] == "average").any()
        and not results["metric"].str.contains("youden").any()
    )
    assert set(validation_thresholds(test)) == {"any"}
    roc, pr = curves(test)
    assert set(roc["class"]) == set(pr["class"]) == {"any"} and roc.columns[:2].tolist() == [
        "dataset",
        "class",
    ]
    test["label"] = pd.NA
    with pytest.raises(StudyError, match="no curve"):
        curves(test)


def test_data_sets_are_scored_apart():
    both = pd.concat([predictions(seed=3), predictions(seed=4, dataset="other")], ignore_index=True)
    results = classification_results(both, {}, Rows("s", "", 20), "m")
    sizes = results.groupby("dataset").size()
    assert sizes["fake"] == sizes["other"] and len(sizes) == 2


@pytest.mark.parametrize("shift", [0, 100, -1000])
def test_slices_are_ranked_by_logits_that_no_probability_tells_apart(shift):
    """At +100 every probability is 1.0, and at -1000 every one is 0.0."""
    validation, test = predictions(seed=1, classes=("any",)), predictions(seed=2, classes=("any",))
    plain = classification_results(test, validation_thresholds(validation), Rows("s", ""), "m")
    tables = []
    for table in (validation, test):
        moved = table["logit"] + shift
        tables.append(table.assign(logit=moved, probability=1 / (1 + np.exp(-moved))))
    chosen = validation_thresholds(tables[0])
    assert chosen["any"].value == pytest.approx(
        validation_thresholds(validation)["any"].value + shift
    )
    found = classification_results(tables[1], chosen, Rows("s", ""), "m")
    truth, logits = test["label"].to_numpy(bool), test["logit"].to_numpy()
    assert value(found, "any", "auroc")["value"] == pytest.approx(roc_auc_score(truth, logits))
    for metric in ("auroc", "average_precision", "f1@youden", "specificity@youden"):
        for column in ("value", "ci_low", "ci_high"):
            assert value(found, "any", metric)[column] == pytest.approx(
                value(plain, "any", metric)[column]
            ), (metric, column)
    points = [each["sensitivity"].tolist() for each in (curves(test)[0], curves(tables[1])[0])]
    assert points[0] == points[1]


def test_a_slice_at_the_threshold_is_called():
    table = predictions(classes=("any",))
    table["logit"] = np.where(table["label"].astype(bool), 0.0, -2.0)
    results = classification_results(table, {}, Rows("s", "", 20), "m")
    assert value(results, "any", "sensitivity@0.5")["value"] == 1
    assert value(results, "any", "f1@0.5")["value"] == 1
