import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ich_study.errors import DataError
from ich_study.evaluate.comparisons import (
    auroc_difference_rows,
    auroc_differences,
    prediction_differences,
    threshold_ranges,
)
from ich_study.published.claims import load_claims, verdicts
from ich_study.published.lookup import row_keys
from ich_study.schema import result_table


def predictions(strength, seed=0, patients=40, slices=6):
    rng = np.random.default_rng(7)
    label = rng.random(patients * slices) < 0.4
    score = strength * label + np.random.default_rng(seed).normal(size=len(label))
    return pd.DataFrame(
        {
            "dataset": "rsna",
            "patient_id": np.repeat([f"p{i}" for i in range(patients)], slices),
            "scan_id": np.repeat([f"s{i}" for i in range(patients)], slices),
            "slice_index": np.tile(range(slices), patients),
            "class": "any",
            "label": pd.array(label, dtype="boolean"),
            "logit": score,
            "part": "rsna/test",
        }
    )


def test_differences_equal_scikit_learn_and_find_the_better_arm():
    arms = {"good": predictions(3.0, 1), "poor": predictions(0.5, 2), "same": predictions(3.0, 1)}
    table = auroc_differences(
        arms, [("good", "poor"), ("good", "same")], "rsna/test", "any", replicates=400
    )
    aurocs = {
        name: roc_auc_score(frame["label"].astype(bool), frame["logit"])
        for name, frame in arms.items()
    }
    assert table.loc[0, "difference"] == pytest.approx(aurocs["good"] - aurocs["poor"])
    assert table.loc[0, "ci_low"] > 0 and table.loc[0, "p_holm"] < 0.05
    assert table.loc[1, "difference"] == 0 and table.loc[1, "p_holm"] == 1
    assert (table["p_holm"] >= table["p"]).all()


def test_arms_on_other_slices_and_unknown_arms_are_refused():
    good = predictions(3.0)
    with pytest.raises(DataError, match="different slices"):
        auroc_differences({"a": good, "b": good.iloc[6:]}, [("a", "b")], "rsna/test", "any")
    with pytest.raises(DataError, match="no predictions of arm 'c'"):
        auroc_differences({"a": good}, [("a", "c")], "rsna/test", "any")


def test_the_claims_are_judged_by_the_paired_difference():
    table = auroc_differences(
        {"good": predictions(3.0, 1), "poor": predictions(0.5, 2)},
        [("good", "poor")],
        "rsna/test",
        "any",
        400,
    )
    difference = auroc_difference_rows(table, "01_backbones", 0)
    own = result_table(
        [
            {
                "study": "01_backbones",
                "dataset": "rsna/test",
                "method": name,
                "variant": "printed",
                "class": "any",
                "unit": "slice",
                "subset": "all",
                "threshold_source": "none",
                "metric": "auroc",
                "value": 0.8,
                "ci_low": 0.5,
                "ci_high": 1.0,
                "n": 40,
                "seed": 0,
            }
            for name in ("good", "poor")
        ]
    )
    claim = pd.DataFrame(
        {
            **dict.fromkeys(load_claims(), ""),
            "study": "01_backbones",
            "metric": "auroc",
            "left": "method=good",
            "comparison": ">",
            "right": "method=poor",
            "protocol": "class=any;unit=slice;variant=printed;subset=all;threshold_source=none",
        },
        index=[0],
    )
    beside = pd.concat([own, difference], ignore_index=True)
    assert verdicts(own, claim)["verdict"].tolist() == ["undecided"]
    assert verdicts(beside, claim)["verdict"].tolist() == ["supported"]


def test_a_difference_is_the_first_named_minus_the_second():
    """`perfect` ranks every positive slice above every negative one, `reversed` below."""
    slices = predictions(0)
    certain = slices["label"].astype(float)
    arms = {
        "perfect": slices.assign(logit=certain),
        "reversed": slices.assign(logit=-certain),
    }
    table = auroc_differences(arms, [("perfect", "reversed")], "rsna/test", "any", 20)
    assert table.loc[0, ["first", "second", "difference"]].tolist() == ["perfect", "reversed", 1.0]
    row = auroc_difference_rows(table, "01_backbones", 3).iloc[0]
    assert (row["method"], row["value"], row["seed"]) == ("perfect - reversed", 1.0, 3)
    # every patient with slices of both kinds is ranked without an error, or with errors only
    both = int((slices.groupby("patient_id")["label"].nunique() == 2).sum())
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(2 * 0.025 ** (1 / both) - 1), 1.0)
    assert row["interval"] == "exact"


def test_no_pairs_give_an_empty_table():
    assert auroc_differences({}, [], "rsna/test", "any").empty


def key(method, **more):
    named = {"study": "01_backbones", "dataset": "rsna", "part": "test", "method": method}
    return {
        **named,
        "metric": "auroc",
        "variant": "printed",
        "layer": "",
        "class": "any",
        "unit": "slice",
        "subset": "all",
        "threshold_source": "none",
        "brain_mask": "",
        **more,
    }


def test_the_pairs_of_claims_are_measured_on_the_same_patients():
    """`better` is sure of every slice, `worse` calls all slices positive."""
    slices = predictions(0)
    sure = slices["label"].astype(float) * 8 - 4
    arms = {"better": slices.assign(logit=sure), "worse": slices.assign(logit=5.0)}
    pairs = [
        (key("better"), key("worse")),
        (key("better", metric="specificity@0.5"), key("worse", metric="specificity@0.5")),
        (key("better", metric="f1@0.3"), key("better", metric="f1@0.5")),
        (key("better"), key("absent")),
        (key("better"), key("worse", part="validation")),
    ]
    found = prediction_differences(pairs, arms, {}, 50, 1)
    assert found[["method", "metric", "value"]].to_numpy().tolist() == [
        ["better - worse", "auroc_difference", 0.5],
        ["better - worse", "specificity@0.5_difference", 1.0],
        ["better - better", "f1@0.3 - f1@0.5_difference", 0.0],
    ]
    assert set(found["dataset"]) == {"rsna/test"} and found["layer"].isna().all()


def test_a_slice_at_the_threshold_is_called_in_a_pair_too():
    slices = predictions(0)
    arms = {"at": slices.assign(logit=0.0), "below": slices.assign(logit=-1e-9)}
    pair = [key(name, metric="sensitivity@0.5") for name in arms]
    found = prediction_differences([tuple(pair)], arms, {}, 20, 1)
    assert found["value"].tolist() == [1.0]


def test_the_range_over_thresholds_is_largest_less_smallest_and_is_paired():
    """Scores of one classifier lie within the thresholds 0.3 to 0.7, of the other beyond them: its
    precision and sensitivity do not move."""
    far = predictions(0.0)
    far["logit"] = np.where(far["label"].astype(bool), 5.0, -5.0)
    near = far.assign(logit=np.tile([5.0, 0.4, -0.4], len(far) // 3))
    arms = {"cam_final": far, "cam_baseline": near}
    table = threshold_ranges(arms, list(arms), "rsna/test", replicates=200)
    found = table.set_index(["method", "metric"])
    label = near["label"].astype(bool)
    shares = [(near["logit"] >= np.log(cut / (1 - cut)))[label].mean() for cut in (0.3, 0.5, 0.7)]
    moved = max(shares) - min(shares)
    assert moved > 0.2
    assert found.loc[("cam_baseline", "sensitivity_range"), "value"] == pytest.approx(moved)
    assert found.loc[("cam_final", "sensitivity_range"), "value"] == 0
    pair = [
        row_keys(row) for row in table.to_dict("records") if row["metric"] == "sensitivity_range"
    ]
    paired = prediction_differences([tuple(pair)], arms, {}, 200, 0).iloc[0]
    assert paired["value"] == pytest.approx(-moved) and paired["ci_high"] < 0
    assert threshold_ranges(arms, [], "rsna/test").empty
