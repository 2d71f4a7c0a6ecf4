import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn import metrics

from ich_study.evaluate.rows import Rows
from ich_study.evaluate.scan_methods import ScanRecipe
from ich_study.methods.hgi_sam.detection import (
    TABLE_2,
    decisions,
    detected,
    detection_of_classifier,
    detection_of_masks,
    detection_rows,
    detection_table,
    detections_of_classifiers,
    position_rows,
)
from ich_study.new_scan.apply import marked
from ich_study.schema import result_table

RNG = np.random.default_rng(5)
ROWS = pd.DataFrame(
    {"patient_id": np.repeat([f"p{n}" for n in range(10)], 4), "fold": np.repeat([0, 1], 20)}
)
TRUTH = RNG.random(40) < 0.4
SCORE = np.clip(0.35 * TRUTH + 0.65 * RNG.random(40), 0, 1)
FOUND = detected(ROWS, TRUTH, SCORE > 0.5, SCORE)


def test_table_2_is_scikit_learns():
    table = detection_table({"swin_hgi_sam": FOUND}).set_index("fold")
    for fold, part in (("overall", np.ones(40, bool)), ("1", (ROWS["fold"] == 1).to_numpy())):
        truth, decided = TRUTH[part], FOUND["decided"].to_numpy()[part]
        expected = {
            "accuracy": metrics.accuracy_score(truth, decided),
            "precision": metrics.precision_score(truth, decided),
            "f1": metrics.f1_score(truth, decided),
            "sensitivity": metrics.recall_score(truth, decided),
            "specificity": metrics.recall_score(~truth, ~decided),
            "auc_of_decisions": metrics.roc_auc_score(truth, decided),
            "auroc": metrics.roc_auc_score(truth, SCORE[part]),
        }
        assert table.loc[fold, list(expected)].astype(float).to_dict() == pytest.approx(expected)
    assert table.loc["overall", "auroc"] != pytest.approx(table.loc["overall", "auc_of_decisions"])
    rows = detection_rows({"swin_hgi_sam": FOUND}, Rows("04_swin_hgi_sam", "fake", 200), "printed")
    everything = result_table(rows)
    of_fold = everything[everything["dataset"] == "fake/fold_2"].set_index("metric")
    # five patients of four slices each
    assert (of_fold["n"] == 5).all() and (of_fold["interval"] == "bootstrap").all()
    assert of_fold["value"].between(of_fold["ci_low"], of_fold["ci_high"]).all()
    of_fold = of_fold["value"]
    expected = table.loc["1", list(TABLE_2)].astype(float).to_dict()
    assert of_fold.to_dict() == pytest.approx(
        {**expected, "balanced_accuracy": expected["auc_of_decisions"]}
    )
    rows = everything[everything["dataset"] == "fake"].set_index("metric")
    expected = table.loc["overall", list(TABLE_2)].astype(float).to_dict()
    assert rows["value"].to_dict() == pytest.approx(
        {**expected, "balanced_accuracy": expected["auc_of_decisions"]}
    )
    assert (
        (rows["ci_low"] <= rows["value"]).all()
        and (rows["value"] <= rows["ci_high"]).all()
        and (rows["n"] == 10).all()
    )


def test_the_classifier_decides_at_one_half_on_known_labels():
    labels = pd.array([True, False, pd.NA, True], dtype="boolean")
    logits = np.array([0.5, -1.5, 2.0, -0.5])
    predictions = pd.concat(
        [
            pd.DataFrame({"class": name, "label": labels, "logit": values})
            for name, values in (("any", logits), ("SDH", -logits))
        ]
    ).iloc[[0, 4, 1, 5, 2, 6, 3, 7]]
    found = detection_of_classifier(predictions, ROWS.iloc[8:12])
    assert found["truth"].tolist() == [True, False, True]
    assert found["decided"].tolist() == [True, False, False]
    assert decisions(predictions).tolist() == [True, False, True, False]


def test_one_half_itself_is_hemorrhage_as_in_a_mask_of_a_scan():
    labels = pd.array([True, False], dtype="boolean")
    predictions = pd.DataFrame({"class": "any", "label": labels, "logit": [0.0, -1e-7]})
    assert decisions(predictions).tolist() == [True, False]
    assert detection_of_classifier(predictions, ROWS[:2])["decided"].tolist() == [True, False]
    # the gate with which 08 and 09 mark a slice
    recipe = ScanRecipe("hgi_sam", "swin_hgi_sam", "printed", ("any",), (0.5,), (0.5,), "labels")
    probability = expit(predictions[["logit"]].to_numpy())
    marks = marked(np.ones((1, 2, 1, 1), np.float32), probability, recipe)
    assert marks.ravel().astype(bool).tolist() == [True, False]


def test_a_method_is_detected_by_the_classifier_that_it_explains():
    def predicted(logits):
        labels = pd.array([True, False], dtype="boolean")
        return pd.DataFrame({"class": "any", "label": labels, "logit": logits})

    predictions = {"binary": [0.1, 0.2], "multi_label": [0.3, 0.4], "two_outputs": [0.6, 0.7]}
    found = detections_of_classifiers(
        {name: predicted(values) for name, values in predictions.items()}, ROWS[:2]
    )
    assert {name: each["score"].tolist() for name, each in found.items()} == {
        "swin_sam_multi_label": [0.3, 0.4],
        "swin_sam_binary": [0.1, 0.2],
        "swin_hgi_sam": [0.6, 0.7],
    }


def test_tiny_foregrounds_are_no_detection():
    masks = np.zeros((4, 8, 8), bool)
    for number, pixels in enumerate((0, 9, 10, 11)):
        masks[number].reshape(-1)[:pixels] = True
    for variant, expected in (
        ("printed", [False, False, True, True]),
        ("authors", [False, False, False, True]),
    ):
        found = detection_of_masks(masks, TRUTH[:4], ROWS[:4], variant)
        assert found["decided"].tolist() == expected and found["score"].tolist() == [0, 9, 10, 11]


def test_every_classifier_of_table_2_stands_beside_the_height_of_its_slices():
    """The training slices teach the rival that the second slice of a scan is positive, which it is
    not among those tested: fitted on these, it would be as good as the classifiers, and the
    difference 0. Grad-CAM has no classifier of its own."""
    rows = pd.DataFrame(
        {
            "dataset": "fake",
            "patient_id": np.repeat([f"p{n}" for n in range(6)], 2),
            "scan_id": np.repeat([f"p{n}" for n in range(6)], 2),
            "slice_index": np.tile([0, 1], 6),
            "any": pd.array(np.tile([False, True], 6), dtype="boolean"),
        }
    )
    tested = rows.assign(any=~rows["any"])
    right = tested.assign(label=tested["any"], logit=np.tile([1.0, -1.0], 6), **{"class": "any"})
    predictions = dict.fromkeys(("binary", "multi_label", "two_outputs"), right)
    table = result_table(
        position_rows(predictions, rows, tested, Rows("04_swin_hgi_sam", "fake", 50), "printed")
    )
    differences = table[table["metric"] == "auroc_difference"].set_index("method")["value"]
    assert differences.to_dict() == {
        f"{name} - slice_position": 1.0
        for name in ("swin_sam_binary", "swin_sam_multi_label", "swin_hgi_sam")
    }
