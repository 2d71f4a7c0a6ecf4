"""The rival that sees a slice's height alone, where height says all, something or nothing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ich_study.errors import DataError
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.slice_position import (
    head_positions,
    position_predictions,
    position_rows,
)
from ich_study.schema import result_table

TABLE = Rows("01_backbones", "fake/test", replicates=100)


def slices(patients, positive, per_scan=20, start=0):
    """Scans of one patient each; `positive`: (patients, per_scan) or of one scan, bool."""
    names = np.repeat([f"p{start + number:03d}" for number in range(patients)], per_scan)
    label = np.broadcast_to(positive, (patients, per_scan)).ravel()
    return pd.DataFrame(
        {
            "dataset": "fake",
            "patient_id": names,
            "scan_id": names,
            "slice_index": np.tile(range(per_scan), patients),
            "any": pd.array(label, dtype="boolean"),
        }
    )


MIDDLE = (np.arange(20) >= 8) & (np.arange(20) < 12)


def test_heights_are_of_the_scan_whatever_its_slices_are_numbered():
    rows = pd.DataFrame({"scan_id": ["b", "a", "b", "a", "b"], "slice_index": [9, 4, 3, 2, 6]})
    assert head_positions(rows).tolist() == [1.0, 1.0, 0.0, 0.0, 0.5]


def test_the_rival_learns_heights_from_the_training_part_alone():
    training, test = slices(10, MIDDLE), slices(5, ~MIDDLE, start=50)
    found = position_predictions(training, test, ("any",))
    # what it learned is the opposite of what holds among the test patients
    assert roc_auc_score(MIDDLE[test["slice_index"]], found["logit"]) == 1
    assert roc_auc_score(test["any"].to_numpy(bool), found["logit"]) == 0
    assert found["label"].tolist() == test["any"].tolist()
    # nothing but the height counts: scans of twice as many slices are read alike
    fine = position_predictions(training, slices(1, np.repeat(MIDDLE, 2), 40), ("any",))
    assert roc_auc_score(np.repeat(MIDDLE, 2), fine["logit"]) > 0.99


def test_unknown_labels_teach_nothing_and_a_class_without_any_still_has_a_number():
    training = slices(10, MIDDLE)
    doubtful = pd.concat([training, slices(10, ~MIDDLE, start=20).assign(any=pd.NA)])
    plain, found = (
        position_predictions(each, training, ("any",))["logit"] for each in (training, doubtful)
    )
    assert found.tolist() == plain.tolist()
    never = position_predictions(training.assign(any=False), training, ("any",))
    assert np.isfinite(never["logit"]).all() and never["probability"].max() < 0.05


def test_a_classifier_stands_beside_the_rival_with_a_paired_difference_and_within_heights():
    """A network that reads the height exactly is no better than the rival, and knows nothing among
    slices of one height; one that reads the blood is better by both."""
    rng = np.random.default_rng(0)
    chance = np.where(MIDDLE, 0.8, 0.2)
    training, test = (slices(n, rng.random((n, 20)) < chance, start=n) for n in (60, 30))
    rival = position_predictions(training, test, ("any",))
    truth = test["any"].to_numpy(bool)
    blood = truth + rng.normal(0, 0.3, len(truth))
    heights = MIDDLE[test["slice_index"]] + 0.0
    measured = {}
    for name, logits in (("blood", blood), ("heights", heights)):
        shuffled = (
            rival.drop(columns="position").assign(logit=logits).sample(frac=1, random_state=1)
        )
        rows = position_rows(shuffled, rival, TABLE, name, "printed")
        measured[name] = result_table(rows).set_index(["method", "metric"])
    of_rival = roc_auc_score(truth, rival["logit"])
    for name, logits in (("blood", blood), ("heights", heights)):
        table = measured[name]
        assert table.loc[("slice_position", "auroc"), "value"] == pytest.approx(of_rival)
        assert table.loc[("slice_position", "auroc"), "variant"] == f"beside {name} (printed)"
        difference = table.loc[(f"{name} - slice_position", "auroc_difference")]
        assert difference["value"] == pytest.approx(roc_auc_score(truth, logits) - of_rival)
        # the same patients are drawn for both, so that the bounds are narrow around no difference
        within = table.loc[(name, "auroc_within_position")]
        strata = (head_positions(test) * 5).astype(int).clip(max=4)
        assert within["value"] == pytest.approx(pairs_within(truth, logits, strata))
    difference = measured["blood"].loc[("blood - slice_position", "auroc_difference")]
    assert difference["ci_low"] > 0
    height = measured["heights"].loc[("heights - slice_position", "auroc_difference")]
    assert height["ci_low"] < 0 < height["ci_high"]


def pairs_within(truth, scores, strata):
    """The share of pairs of one stratum that are ranked rightly, by comparing them all."""
    right, pairs = 0.0, 0
    for stratum in np.unique(strata):
        inside = strata == stratum
        positive, negative = scores[inside & truth], scores[inside & ~truth]
        compared = positive[:, None] - negative
        right += (compared > 0).sum() + (compared == 0).sum() / 2
        pairs += compared.size
    return right / pairs


def test_slices_that_the_rival_did_not_see_are_refused_and_one_kind_of_label_has_no_rows():
    rows = slices(4, MIDDLE)
    rival = position_predictions(rows, rows, ("any",))
    own = rival.drop(columns="position")
    with pytest.raises(DataError, match="height in the head is not known"):
        position_rows(own, rival.iloc[1:], TABLE, "arm", "printed")
    assert position_rows(own.assign(label=True), rival, TABLE, "arm", "printed") == []
