import numpy as np
import pandas as pd
import pytest

from ich_study.evaluate.rows import Rows
from ich_study.metrics.statistics import mean_of_items
from ich_study.published.claimed import claimed_rows
from ich_study.published.claims import load_claims, verdicts
from ich_study.schema import result_table

PATIENTS = np.array([f"p{number}" for number in range(12)])
DETECTED = {"class_name": "any", "unit": "slice", "subset": "all", "threshold_source": "none"}


def measured(rows):
    """Accuracy and F1 of two classifiers that miss the same patients, one of them one more."""
    good = np.array([1.0] * 9 + [0.0] * 3)
    found = []
    for method, values in (("swin_sam_binary", good), ("swin_sam_multi_label", good)):
        values = values if method == "swin_sam_binary" else np.r_[0.0, values[1:]]
        for metric in ("accuracy", "f1"):
            statistic = mean_of_items(PATIENTS, values)
            columns = {**DETECTED, "method": method, "variant": "printed"}
            found.append(rows.statistic(statistic, metric, **columns))
    return found


def test_what_a_claim_compares_is_paired_first_minus_second_on_the_same_patients():
    rows = Rows("04_swin_hgi_sam", "physionet", 200)
    found = measured(rows)
    paired = pd.DataFrame(claimed_rows(rows, found)).set_index("metric")
    row = paired.loc["accuracy_difference"]
    assert row["method"] == "swin_sam_binary - swin_sam_multi_label"
    assert row["value"] == pytest.approx(1 / 12) and row["ci_low"] == 0
    assert (row["variant"], row["class"], row["dataset"]) == ("printed", "any", "physionet")
    # the two intervals overlap by far more than the paired one is wide
    apart = result_table(found)["ci_high"].max() - result_table(found)["ci_low"].min()
    assert row["ci_high"] - row["ci_low"] < apart / 2
    asked = load_claims().query("claim_id == 'hgi-08'")
    judged = verdicts(result_table([*found, *claimed_rows(rows, found)]), asked).iloc[0]
    assert (judged["pairs"], judged["paired"]) == (2, 2)
    assert verdicts(result_table(found), asked).iloc[0]["paired"] == 0


def test_a_difference_that_stands_is_not_made_again():
    rows = Rows("04_swin_hgi_sam", "physionet", 50)
    found = measured(rows)
    assert claimed_rows(rows, [*found, *claimed_rows(rows, found)]) == []


def test_a_difference_of_too_few_patients_is_not_made_again_either():
    rows = Rows("04_swin_hgi_sam", "physionet", 50)
    columns = {**DETECTED, "variant": "printed"}
    found = []
    for method in ("swin_sam_binary", "swin_sam_multi_label"):
        statistic = mean_of_items(PATIENTS[:4], np.array([0.0, 1.0, 1.0, 1.0]))
        found.append(rows.statistic(statistic, "accuracy", **columns, method=method))
    once = claimed_rows(rows, found)
    assert len(once) == 1 and claimed_rows(rows, [*found, *once]) == []


def test_settings_of_one_method_are_named_by_both():
    rows = Rows("05_mil_detector", "cq500", 50)
    found = []
    for variant, share in (("printed", 1.0), ("no_h_maxima", 0.5)):
        columns = {**DETECTED, "threshold_source": "masks-validation", "variant": variant}
        statistic = mean_of_items(PATIENTS, np.full(12, share))
        found.append(rows.statistic(statistic, "point_ppv", **columns, method="mil_max_pooling"))
    (row,) = claimed_rows(rows, found)
    assert row["method"] == "mil_max_pooling - mil_max_pooling"
    assert (row["variant"], row["value"]) == ("printed - no_h_maxima", 0.5)


def test_other_patients_are_not_paired():
    rows = Rows("04_swin_hgi_sam", "physionet", 50)
    found = measured(rows)
    columns = {**DETECTED, "variant": "printed", "method": "swin_hgi_sam"}
    statistic = mean_of_items(PATIENTS[:6], np.ones(6))
    found.append(rows.statistic(statistic, "accuracy", **columns))
    assert {row["method"] for row in claimed_rows(rows, found)} == {
        "swin_sam_binary - swin_sam_multi_label"
    }


def test_two_differences_are_paired_on_the_same_patients():
    """What predicted subtypes cost each network: of 12 patients 6 lose 0.5 with LSE-UNet, and the
    same 6 lose 1 with RDNet."""
    rows = Rows("02_lse_unet", "bhsd", 200)
    found = []
    for method, variant, lost in (("lse_unet", "authors", 0.5), ("rdnet_tiny", "printed", 1.0)):
        values = np.r_[np.full(6, 1.0 - lost), np.ones(6)]
        both = [mean_of_items(PATIENTS, each) for each in (values, np.ones(12))]
        columns = {**DETECTED, "unit": "pixel", "subset": "all - positive", "class_name": "average"}
        columns |= {"threshold_source": "masks-test", "variant": variant}
        found.append(
            rows.difference(*both, "dice_difference", method=f"{method} - {method}", **columns)
        )
    (row,) = claimed_rows(rows, found)
    assert row["method"] == "lse_unet - lse_unet - rdnet_tiny - rdnet_tiny"
    assert row["metric"] == "dice_difference_difference" and row["value"] == pytest.approx(0.25)
    # costs of 0.25 and 0.5 overlap, their difference on the same patients excludes 0
    low, high = result_table(found)[["ci_low", "ci_high"]].to_numpy().T
    assert low[0] < high[1] and row["ci_low"] > 0
    asked = load_claims().query("claim_id == 'lse-12b'")
    table = result_table([*found, row])
    assert verdicts(table, asked).iloc[0]["paired"] == 1
