"""What notebook 02 reads: which protocol a table, a volume, a picture or an assertion is of."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Rows
from ich_study.methods.lse_unet import report as lse_report, study as lse_study
from ich_study.methods.lse_unet.tables import SIZES
from ich_study.schema import SUBTYPES, result_table
from tests.methods.lse_unet.cases import (
    BAD,
    GOOD,
    LABELS,
    PATIENTS,
    SCORED,
    VALIDATION_LABELS,
    levels_as_maps,
    made_of,
    method,
    slices_of,
    two_kinds,
)

ROWS = Rows("02_lse_unet", "bhsd", 20, 0)


def test_the_report_finds_the_better_method_with_an_interval_that_excludes_zero():
    ablated, untrained = (
        method("lse_unet", 0.4, "no_consistency_loss"),
        method("lse_unet", 0.4, "random_encoder"),
    )
    rivals = lse_study.rivals_of(GOOD, SCORED, 3.0, 0)
    report = lse_report.report_masks(
        Rows("02_lse_unet", "bhsd", 200, 0),
        [GOOD, ablated, untrained, BAD, *rivals],
        SCORED,
        LABELS,
        "printed",
    )
    table = lse_report.finished(ROWS, report.rows, {})
    required = lse_report.required_differences(table, ["rdnet_tiny"], "printed", SUBTYPES, "dice")
    assert len(required) == 2 and (required["ci_low"] > 0.2).all()
    assert (required["n"] == PATIENTS).all()
    values = table[
        (table["metric"] == "dice") & (table["unit"] == "pixel") & (table["subset"] == "positive")
    ]
    fixed = values[
        (values["variant"] == "threshold_125") & (values["class"] == "average")
    ].set_index("method")["value"]
    assert set(fixed.index) == {
        "lse_unet",
        "rdnet_tiny",
        "hu_threshold",
        "centred_blob",
        "random_map",
    }
    assert fixed["lse_unet"] > fixed["random_map"]
    assert {"volume_bias_ml", "volume_lower_limit_ml"} <= set(table["metric"])
    shown = lse_report.dice_table(table, "masks-test", "positive")
    classes = ["normal", *SUBTYPES, "average", "average_subtypes", "pooled_subtypes"]
    assert list(shown.columns) == [*classes, lse_report.RIVAL_IS_ABOVE] and len(shown) == 7
    above = shown[lse_report.RIVAL_IS_ABOVE]
    assert (
        "pooled_subtypes" in above["rdnet_tiny", "printed"] and not above["random_map", "printed"]
    )
    with pytest.raises(StudyError, match="twice"):
        lse_report.finished(ROWS, [*report.rows, report.rows[0]], {})
    with pytest.raises(StudyError, match="a name twice"):
        lse_report.report_masks(ROWS, [GOOD, GOOD], SCORED, LABELS, "printed")


def report_of_kinds(found, folder=None):
    made, slices = two_kinds(found=found)
    turned, _ = two_kinds(found=found, method_name="rdnet", upside_down=True)
    report = lse_report.report_masks(ROWS, [made, turned], slices, VALIDATION_LABELS, "printed")
    return made, slices, report


def test_volumes_are_at_class_thresholds_and_the_other_halfs_mask_thresholds():
    _, _, report = report_of_kinds("high")
    table = report.volumes["lse_unet"]
    predicted = np.sort(table.loc[table["class"] == "IPH", "predicted_ml"])
    # 0.05 mL a pixel: "high" at the other half's 50 has 8 + 24 pixels, "low" no mask. At the
    # threshold of the test masks "high" would have 0.4 mL, at true labels "low" 0.05 mL.
    assert predicted == pytest.approx([0, 0, 1.6, 1.6])
    bias = [
        row
        for row in report.rows
        if (row["metric"], row["method"], row["class"], row["subset"])
        == ("volume_bias_ml", "lse_unet", "IPH", "all")
    ]
    assert [row["value"] for row in bias] == pytest.approx([0.4])
    assert bias[0]["threshold_source"] == "masks-validation"


def test_a_pixel_of_a_thick_slice_is_more_ml():
    depths = np.where(np.arange(len(SCORED.codes)) % 3, 0.05, 0.11)
    uneven = replace(SCORED, pixel_ml=depths)
    report = lse_report.report_masks(ROWS, [GOOD], uneven, LABELS, "printed")
    even = lse_report.report_masks(ROWS, [GOOD], SCORED, LABELS, "printed")
    table = report.volumes["lse_unet"].set_index(["scan_id", "class"])["truth_ml"]
    for scan, rows in SCORED.rows.groupby("scan_id"):
        for code, name in enumerate(SUBTYPES, start=1):
            drawn = (SCORED.codes[rows.index] == code).sum((1, 2))
            assert table[scan, name] == pytest.approx(drawn @ depths[rows.index])
    # what is counted in pixels does not know the depth
    dice = [[row for row in each.rows if row["metric"] == "dice"] for each in (report, even)]
    assert dice[0] == dice[1] and len(dice[0])


def test_table_4_names_each_threshold_and_what_it_was_chosen_on():
    _, _, report = report_of_kinds("low")
    table = report.tables["mask_thresholds"]
    own = table[(table["method"] == "lse_unet") & (table["subset"] == "truth")]
    found = own.set_index("protocol")["IPH"].dropna().to_dict()
    assert found == {
        "masks-test": 200,
        "labels": 25,
        "threshold_125": 125,
        "threshold_75": 75,
        "threshold_25": 25,
    }
    rows = {
        (row["variant"], row["threshold_source"]): row["value"]
        for row in report.rows
        if (row["metric"], row["method"]) == ("mask_threshold", "lse_unet")
    }
    assert rows == {("printed", "masks-test"): 200, ("printed", "labels"): 25}
    assert report.chosen["lse_unet"]["IPH"].source == "masks-test"
    assert report.chosen["lse_unet"]["IPH"].value == 200
    assert set(report.tables["volumes"]["method"]) == {"lse_unet", "rdnet"}
    differences = report.tables["differences"].set_index(
        ["class", "threshold_source", "subset", "variant"]
    )
    # LSE-UNet 36 / 50; upside down no pixel is on the lesion.
    assert differences.loc[("IPH", "masks-test", "positive", "printed"), "difference"] == (
        pytest.approx(36 / 50)
    )


def test_a_claim_rests_on_one_protocols_difference_from_the_method_asked_for():
    columns = ["method", "variant", "subset", "threshold_source", "metric", "class"]
    every = itertools.product(
        ("lse_unet - rdnet", "lse_unet - vgg", "vgg"),
        ("printed", "authors"),
        ("all", "positive"),
        ("none", "masks-test", "masks-validation"),
        ("dice", "dice_difference", "pointing_game_difference", "mass_inside_difference"),
        ("any", "IPH", "pooled_subtypes", "average"),
    )
    results = pd.DataFrame(list(every), columns=columns)
    found = lse_report.required_differences(results, ["vgg"], "authors", SUBTYPES, "dice")
    protocol = ("masks-validation", "dice_difference", "pooled_subtypes")
    assert [tuple(row) for row in found.to_numpy()] == [
        ("lse_unet - vgg", "authors", "all", *protocol),
        ("lse_unet - vgg", "authors", "positive", *protocol),
    ]
    of_boxes = results[(results["threshold_source"] == "none") & (results["subset"] == "positive")]
    found = lse_report.required_differences(
        of_boxes, ["rdnet"], "printed", ["any"], "pointing_game"
    )
    assert [tuple(row) for row in found.to_numpy()] == [
        ("lse_unet - rdnet", "printed", "positive", "none", "pointing_game_difference", "any")
    ]
    found = lse_report.required_differences(
        of_boxes, ["rdnet"], "printed", SUBTYPES, "pointing_game"
    )
    assert found["class"].tolist() == ["pooled_subtypes"]
    with pytest.raises(StudyError, match="resnet152"):
        lse_report.required_differences(results, ["resnet152"], "authors", SUBTYPES, "dice")
    assert lse_report.required_differences(results, [], "authors", SUBTYPES, "dice").empty


def test_the_table_says_where_a_trivial_rival_wins():
    values = [
        ("lse_unet", "authors", 0.5, 0.2),
        ("lse_unet", "threshold_125", 0.1, 0.9),
        ("rdnet_tiny", "printed", 0.55, 0.7),  # as good as the best rival is not below it
        ("hu_threshold", "printed", 0.4, 0.6),
        ("random_map", "printed", 0.55, 0.1),
        ("random_map", "threshold_125", 0.0, 0.95),
    ]
    rows = pd.DataFrame(
        [
            {"method": method, "variant": variant, "class": name, "value": value}
            for method, variant, *pair in values
            for name, value in zip(("IPH", "SDH"), pair)
        ]
    )
    expected = {("lse_unet", "authors"): "IPH, SDH", ("lse_unet", "threshold_125"): "SDH"}
    assert lse_report.rivals_above(rows, ["IPH", "SDH"]).to_dict() == expected
    without = rows[rows["method"].isin(["lse_unet", "rdnet_tiny"])]
    assert lse_report.rivals_above(without, ["IPH", "SDH"]).empty


def test_a_readable_table_is_of_one_protocol():
    protocols = [
        (0.1, "dice", "pixel", "masks-test", "all"),
        (0.2, "dice", "pixel", "masks-test", "positive"),
        (0.3, "dice", "pixel", "masks-validation", "all"),
        (0.4, "dice", "scan", "masks-test", "all"),
        (0.5, "precision", "pixel", "masks-test", "all"),
    ]
    names = ["value", "metric", "unit", "threshold_source", "subset"]
    common = {"method": "m", "variant": "printed", "class": "IPH", "ci_low": 0.0, "ci_high": 1.0}
    results = pd.DataFrame(protocols, columns=names).assign(**common)
    for value, metric, unit, source, subset in protocols:
        if (metric, unit) == ("dice", "pixel"):
            shown = lse_report.dice_table(results, source, subset)
            assert shown.loc[("m", "printed"), "IPH"] == f"{value:.3f} [0.000, 1.000]"


def test_localisation_is_a_column_per_metric_and_class():
    common = {"variant": "printed", "class": "IPH", "ci_low": 0.1, "ci_high": 0.9}
    common |= {"study": "s", "dataset": "d", "unit": "slice", "subset": "positive"}
    rows = [
        {"method": method, "metric": metric, "value": value, **common, "threshold_source": "none"}
        for method, metric, value in (
            ("lse_unet", "pointing_game", 0.5),
            ("lse_unet", "mass_inside", 0.25),
            ("random_map", "pointing_game", 0.75),
            ("random_map", "mass_inside", 0.2),
            ("lse_unet - random_map", "pointing_game_difference", -0.25),
        )
    ]
    shown = lse_report.localisation_table(rows)
    assert shown.loc[("lse_unet", "printed"), ("mass_inside", "IPH")] == "0.250 [0.100, 0.900]"
    above = {
        metric: shown[metric, lse_report.RIVAL_IS_ABOVE]
        for metric in ("pointing_game", "mass_inside")
    }
    assert above["pointing_game"]["lse_unet", "printed"] == "IPH"
    assert above["mass_inside"]["lse_unet", "printed"] == ""
    assert len(shown) == 2, "differences are no rows of this table"


def test_dice_by_size_is_of_thirds_of_the_slices_by_area_in_cm2():
    """The lesion of most pixels is the smallest where its pixels are small; each is hit by half."""
    codes = np.zeros((4, 8, 8), np.uint8)
    codes[0, 0, :2], codes[1, 0, :4], codes[2, 0, :6] = 1, 1, 1
    slices = slices_of(codes, ("IPH",), list("abcd"))
    slices.pixel_cm2[:] = [1.0, 1.0, 0.1, 1.0]
    levels = np.zeros((4, 8, 8))
    levels[0, 0, :2], levels[1, 0, :4], levels[2, 0, 3:6] = 255, 255, 255
    # a mark beside a lesion counts against its third, one where nothing is true against none
    levels[3, 5], levels[1, 5, :4] = 255, 255
    made = made_of(levels_as_maps(levels), ("IPH",), "lse_unet", logits=np.ones((4, 1)))
    report = lse_report.report_masks(ROWS, [made], slices, None, "printed")
    table = result_table(report.rows).query("metric == 'dice' and unit == 'pixel'")
    own = table[table["class"].isin(SIZES)].set_index("class")["value"]
    assert own.to_dict() == {"small_lesions": 2 / 3, "middle_lesions": 1.0, "large_lesions": 2 / 3}
    shown = lse_report.size_table(lse_report.finished(ROWS, report.rows, {}))
    assert list(shown.columns) == [*SIZES, lse_report.RIVAL_IS_ABOVE]


def test_boxes_have_no_mask_report():
    boxes = [np.array([[0.0, 0.0, 8.0, 1.0]])] * 4
    made, masked = two_kinds()
    boxed = slices_of(masked.codes, ("IPH",), masked.rows["patient_id"], boxes=boxes)
    report = lse_report.report_masks(ROWS, [made], boxed, VALIDATION_LABELS, "printed")
    assert (report.rows, report.tables, report.volumes, report.chosen) == ([], {}, {}, {})
    assert lse_report.dice_table(two_rows(), "masks-test", "all").empty


def two_rows():
    common = {"study": "s", "dataset": "d", "method": "m", "variant": "printed", "class": "any"}
    common |= {"unit": "slice", "subset": "all", "threshold_source": "none"}
    return result_table([{**common, "metric": metric, "value": 0.5} for metric in ("auroc", "f1")])
