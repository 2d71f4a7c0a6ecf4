"""What notebook 02 reads: which protocol a table, a volume, a picture or an assertion is of."""

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.methods.lse_unet import report as lse_report, study as lse_study
from ich_study.schema import SUBTYPES
from tests.methods.lse_unet.cases import (
    BAD,
    GOOD,
    LABELS,
    PATIENTS,
    SCORED,
    SIDE,
    SLICES,
    VALIDATION_LABELS,
    method,
    two_kinds,
)


def test_the_report_finds_the_better_method_with_an_interval_that_excludes_zero():
    ablated, untrained = (
        method("lse_unet", 0.4, "no_consistency_loss"),
        method("lse_unet", 0.4, "random_encoder"),
    )
    rivals = lse_study.rivals_of(GOOD, SCORED, 3.0, 0)
    report = lse_report.report_masks(
        [GOOD, ablated, untrained, BAD, *rivals], SCORED, LABELS, "bhsd", "printed", 200, 0
    )
    for subset in ("all", "positive"):
        found = lse_report.headline_difference(
            report, "rdnet_tiny", subset, "masks-validation", "printed"
        )
        assert found["ci_low"] > 0.2 and found["patients"] == PATIENTS
    table = lse_report.finished(report.rows, [])
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
    shown = lse_report.readable(table, "masks-test", "positive")
    classes = ["normal", *SUBTYPES, "average", "average_subtypes", "pooled_subtypes"]
    assert list(shown.columns) == [*classes, lse_report.RIVAL_IS_ABOVE] and len(shown) == 7
    above = shown[lse_report.RIVAL_IS_ABOVE]
    assert (
        "pooled_subtypes" in above["rdnet_tiny", "printed"] and not above["random_map", "printed"]
    )
    with pytest.raises(StudyError, match="stand twice"):
        lse_report.finished([*report.rows, report.rows[0]], [])
    with pytest.raises(StudyError, match="a name twice"):
        lse_report.report_masks([GOOD, GOOD], SCORED, LABELS, "bhsd", "printed", 20, 0)


def report_of_kinds(found, folder=None):
    made, slices = two_kinds(found=found)
    turned, _ = two_kinds(found=found, method_name="rdnet", upside_down=True)
    report = lse_report.report_masks(
        [made, turned], slices, VALIDATION_LABELS, "bhsd", "printed", 20, 0
    )
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


def test_table_4_names_each_threshold_and_what_it_was_chosen_on(tmp_path):
    _, _, report = report_of_kinds("low")
    report.write(tmp_path)
    table = pd.read_csv(tmp_path / "mask_thresholds.csv")
    own = table[(table["method"] == "lse_unet") & (table["subset"] == "truth")]
    found = own.set_index("protocol")["IPH"].dropna().to_dict()
    assert found == {
        "masks-test": 200,
        "labels": 25,
        "threshold_125": 125,
        "threshold_75": 75,
        "threshold_25": 25,
    }
    assert report.chosen("lse_unet")["IPH"].source == "masks-test"
    assert report.chosen("lse_unet")["IPH"].value == 200
    assert set(pd.read_csv(tmp_path / "volumes.csv")["method"]) == {"lse_unet", "rdnet"}
    differences = pd.read_csv(tmp_path / "differences.csv").set_index(
        ["class", "threshold_source", "subset", "variant"]
    )
    # LSE-UNet 36 / 50; upside down no pixel is on the lesion.
    assert differences.loc[("IPH", "masks-test", "positive", "printed"), "difference"] == (
        pytest.approx(36 / 50)
    )


def test_the_headline_is_one_protocols_difference_of_the_pooled_subtypes():
    table = pd.DataFrame(
        [
            (second, subset, source, variant, name)
            for second in ("rdnet", "vgg")
            for subset in ("all", "positive")
            for source in ("masks-test", "masks-validation")
            for variant in ("printed", "authors")
            for name in ("IPH", "pooled_subtypes", "average")
        ],
        columns=["second", "subset", "threshold_source", "variant", "class"],
    )
    report = lse_report.MaskReport([], table, pd.DataFrame(), {}, {})
    asked = ("vgg", "positive", "masks-validation", "authors")
    found = lse_report.headline_difference(report, *asked)
    assert tuple(found) == (*asked, "pooled_subtypes")
    with pytest.raises(StudyError, match="0 differences"):
        lse_report.headline_difference(report, "resnet", *asked[1:])


def test_the_pointing_difference_is_of_the_asked_method_and_class():
    rows = [
        {"method": f"lse_unet - {other}", "metric": f"{metric}_difference", "class": name}
        for other in ("rdnet", "vgg")
        for metric in ("pointing_game", "mass_inside")
        for name in ("IPH", "SDH")
    ]
    found = lse_report.pointing_difference(rows, "vgg", "SDH")
    assert found == {
        "method": "lse_unet - vgg",
        "metric": "pointing_game_difference",
        "class": "SDH",
    }
    with pytest.raises(StudyError, match="'resnet152'"):
        lse_report.pointing_difference(rows, "resnet152", "IPH")


def test_the_table_says_where_a_trivial_rival_wins():
    values = [
        ("lse_unet", "authors", 0.5, 0.2),
        ("lse_unet", "threshold_125", 0.1, 0.9),
        ("rdnet_tiny", "printed", 0.6, 0.7),
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
        if unit == "pixel":
            shown = lse_report.readable(results, source, subset, metric=metric)
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


def test_pictures_show_masks_at_the_test_masks_thresholds_and_true_labels():
    made, slices, report = report_of_kinds("low")
    shown = pd.DataFrame({"class": "IPH", "place": np.arange(4)})
    (column,) = lse_report.map_columns([made], slices, shown, report)
    # At 200: all 8 pixels of the "high" lesions, one of the "low" ones; class thresholds would give
    # the "high" ones no mask.
    assert sorted((column.codes == 1).sum((1, 2))) == [1, 1, 8, 8]
    np.testing.assert_array_equal(column.heatmaps, made.test.scaled(8)[:, 0])


def test_columns_name_their_variant_where_a_method_has_several():
    shown = lse_study.shown_slices(SCORED)
    report = lse_report.report_masks([GOOD, BAD], SCORED, None, "bhsd", "printed", 20, 0)
    columns = lse_report.map_columns([GOOD, BAD], SCORED, shown, report)
    assert [column.title for column in columns] == ["lse_unet", "rdnet_tiny"]
    assert columns[0].codes.shape == (5, SIDE, SIDE)
    variants = lse_report.map_columns(
        [GOOD, method("lse_unet", 0.4, "authors"), BAD], SCORED, shown, None
    )
    assert [column.title for column in variants] == [
        "lse_unet\n(printed)",
        "lse_unet\n(authors)",
        "rdnet_tiny",
    ]


def test_slices_with_boxes_are_of_different_patients():
    boxes = [
        np.array([[4.0, 4.0, 8.0, 8.0]]) if place % SLICES == 2 else np.zeros((0, 4))
        for place in range(len(SCORED))
    ]
    boxed = ScoredSlices(SCORED.rows, SCORED.hu, None, None, boxes, SCORED.pixel_ml)
    picked = lse_report.shown_boxes(boxed, "any", 3)
    assert len(picked) == 3 and (picked["place"] % SLICES == 2).all()
    assert lse_report.truths_of(boxed, ["any"])["any"].sum() == PATIENTS * 64
