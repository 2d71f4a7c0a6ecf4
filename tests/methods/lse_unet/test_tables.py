"""Rows of the result table: which of two is subtracted from which, whose subset a row is of, and
averages over classes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ich_study.evaluate.rows import Rows
from ich_study.methods.lse_unet import study as lse_study, tables as lse_tables
from ich_study.methods.lse_unet.study import MethodMaps, Protocol
from ich_study.metrics.overlap import Counts, dice
from ich_study.metrics.statistics import mean_of_items
from ich_study.schema import SUBTYPES, result_table
from tests.methods.lse_unet.cases import BAD, GOOD, RNG, SCORED, made_of, slices_of, two_kinds

ROWS = Rows("02_lse_unet", "bhsd", 20, 0)


def constant(value):
    return mean_of_items(["a", "b"], np.full(2, value))


def test_differences_of_a_method_with_itself_have_their_direction():
    values = {
        ("lse_unet", "authors", "masks-test", "truth"): 0.60,
        ("lse_unet", "no_consistency_loss", "masks-test", "truth"): 0.50,
        ("lse_unet", "random_encoder", "masks-test", "truth"): 0.35,
        ("lse_unet", "shared_patients", "masks-test", "truth"): 0.68,
        ("lse_unet", "authors", "masks-validation", "truth"): 0.53,
        ("lse_unet", "authors", "masks-test", "class_thresholds"): 0.41,
        ("lse_unet", "printed", "masks-test", "truth"): 0.1,
        ("rdnet", "threshold_125", "none", "truth"): 0.2,
        ("rdnet", "threshold_25", "none", "truth"): 0.05,
        ("rdnet", "printed", "masks-test", "truth"): 0.3,
        ("rdnet", "printed", "masks-validation", "truth"): 0.28,
        # A baseline's variant of the same name is no ablation of LSE-UNet.
        ("rdnet", "authors", "masks-test", "truth"): 0.3,
        ("rdnet", "no_consistency_loss", "masks-test", "truth"): 0.1,
    }
    statistics = {lse_tables.Key(*key, "IPH"): constant(value) for key, value in values.items()}
    rows = lse_tables.own_differences(ROWS, statistics, "authors")
    found = {
        (row["method"], row["variant"], row["metric"], row["threshold_source"], row["subset"]): (
            round(row["value"], 6)
        )
        for row in rows
    }
    lse, rdnet = "lse_unet - lse_unet", "rdnet - rdnet"
    assert found == {
        (lse, "authors - no_consistency_loss", "dice_difference", "masks-test", "positive"): 0.10,
        (lse, "random_encoder - authors", "dice_difference", "masks-test", "positive"): -0.25,
        (lse, "authors", "dice_difference", "masks-test", "all - positive"): -0.19,
        (lse, "authors", "dice_optimism_masks", "masks-test", "positive"): 0.07,
        (lse, "shared_patients", "dice_optimism_patients", "masks-test", "positive"): 0.08,
        (rdnet, "threshold_125 - threshold_25", "dice_difference", "none", "positive"): 0.15,
        (rdnet, "printed", "dice_optimism_masks", "masks-test", "positive"): 0.02,
    }
    assert len(rows) == len(found)


def test_a_method_is_subtracted_from_lse_unet_in_the_same_variant_or_its_printed_one():
    values = {
        ("lse_unet", "authors", "masks-test", "truth"): 0.6,
        ("rdnet", "printed", "masks-test", "truth"): 0.2,
        ("vgg", "printed", "masks-test", "truth"): 0.1,
        ("vgg", "authors", "masks-test", "truth"): 0.7,
        ("lse_unet", "authors", "masks-test", "class_thresholds"): 0.5,
        ("rdnet", "printed", "masks-test", "class_thresholds"): 0.45,
    }
    statistics = {lse_tables.Key(*key, "IPH"): constant(value) for key, value in values.items()}
    table, rows = lse_tables.method_differences(ROWS, statistics, "lse_unet", ["rdnet", "vgg"])
    expected = {
        ("rdnet", "positive"): 0.4,
        ("vgg", "positive"): -0.1,
        ("rdnet", "all"): 0.05,
    }
    in_table = table.set_index(["second", "subset"])["difference"].round(6).to_dict()
    in_rows = {
        (row["method"].removeprefix("lse_unet - "), row["subset"]): round(row["value"], 6)
        for row in rows
    }
    assert in_table == in_rows == expected
    assert set(table["first"]) == {"lse_unet"} and set(table["variant"]) == {"authors"}
    assert {row["metric"] for row in rows} == {"dice_difference"}
    alone, none = lse_tables.method_differences(ROWS, statistics, "other", ["rdnet"])
    assert alone.empty and none == []


def test_a_rule_gives_the_subset_and_the_protocol_its_source():
    made, slices = two_kinds()
    found = lse_study.protocols(made, lse_study.joint_histograms(made, slices), slices, None, 0)
    scans = lse_study.scan_rows(slices.rows)
    statistics = lse_tables.dice_statistics("lse_unet", found, scans, ("IPH",))
    rows = lse_tables.protocol_rows(ROWS, statistics, "lse_unet", found, scans, ("IPH",))
    dices = {
        (row["subset"], row["threshold_source"], row["variant"]): row["value"]
        for row in rows
        if (row["class"], row["metric"], row["unit"]) == ("IPH", "dice", "pixel")
    }
    # True classes: every lesion may get a mask. Class thresholds: the "low" ones alone.
    assert dices == {
        ("positive", "masks-test", "printed"): pytest.approx(36 / 50),
        ("positive", "masks-validation", "printed"): pytest.approx(36 / 98),
        ("all", "masks-test", "printed"): pytest.approx(4 / 34),
        ("all", "masks-validation", "printed"): pytest.approx(4 / 34),
        # the authors' rule: every slice holds the one class, so all true classes again
        ("positive_or_called", "masks-test", "printed"): pytest.approx(36 / 50),
        ("positive_or_called", "masks-validation", "printed"): pytest.approx(36 / 98),
        ("positive", "none", "threshold_125"): pytest.approx(36 / 98),
        ("positive", "none", "threshold_75"): pytest.approx(36 / 98),
        ("positive", "none", "threshold_25"): pytest.approx(64 / 128),
    }
    per_scan = [row for row in rows if (row["class"], row["unit"]) == ("IPH", "scan")]
    # Each scan by itself: "low" at 200 has one of 8 pixels, 2 / 9; "high" all, 1.
    tested = next(
        row
        for row in per_scan
        if (row["subset"], row["threshold_source"]) == ("positive", "masks-test")
    )
    assert tested["value"] == pytest.approx((2 / 9 + 1) / 2)


def test_localisation_is_the_first_methods_minus_the_others():
    upright, slices = two_kinds()
    turned, _ = two_kinds(method_name="rdnet", upside_down=True)
    rows = lse_tables.localisation_rows(ROWS, [upright, turned], slices, 0)
    found = {(row["method"], row["metric"]): row["value"] for row in rows}
    # Heat on the lesion over all heat: 675 of 995 and 2040 of 5880; upside down nothing is on it.
    mass = (675 / 995 + 2040 / 5880) / 2
    assert found == {
        ("lse_unet", "pointing_game"): 1,
        ("rdnet", "pointing_game"): 0,
        ("lse_unet", "mass_inside"): pytest.approx(mass),
        ("rdnet", "mass_inside"): 0,
        ("lse_unet - rdnet", "pointing_game_difference"): 1,
        ("lse_unet - rdnet", "mass_inside_difference"): pytest.approx(mass),
    }


def test_localisation_of_a_map_without_heat():
    rows = lse_tables.localisation_rows(ROWS, [GOOD, BAD], SCORED, 0)
    table = (
        result_table([row for row in rows if not row["metric"].endswith("_difference")])
        .groupby(["method", "metric"])["value"]
        .mean()
    )
    assert table["lse_unet", "pointing_game"] > 0.8 > 0.5 > table["rdnet_tiny", "pointing_game"]
    assert table["lse_unet", "mass_inside"] > table["rdnet_tiny", "mass_inside"]
    heat = replace(GOOD.heat, name="m", maps=GOOD.heat.maps - 10)
    nothing = MethodMaps(heat, GOOD.logits, {})
    empty = result_table(lse_tables.localisation_rows(ROWS, [nothing], SCORED, 0))
    assert (empty.loc[empty["metric"] == "mass_inside", "value"] == 0).all()


def test_all_lesions_pooled_count_each_lesion_once():
    rows = lse_tables.localisation_rows(ROWS, [GOOD, BAD], SCORED, 0)
    found = {
        row["class"]: row["value"]
        for row in rows
        if (row["method"], row["metric"]) == ("lse_unet", "pointing_game")
    }
    counts = {name: SCORED.positive(name).sum() for name in found if name != "pooled_subtypes"}
    hits = sum(found[name] * counts[name] for name in counts)
    assert found["pooled_subtypes"] == pytest.approx(hits / sum(counts.values()))


def test_the_share_of_empty_maps_counts_classes_that_a_slice_has():
    rows = pd.DataFrame({"IPH": [True, True, False], "SDH": [True, False, False]})
    maps = np.full((3, 2, 4, 4), -1.0, np.float32)
    maps[0, 0, 2, 2] = 0.5  # of three maps of a class that its slice has, one holds heat
    maps[2] = 1
    made = made_of(maps, ("IPH", "SDH"))
    assert lse_study.empty_share(made, rows) == pytest.approx(2 / 3)
    maps[0, 0] = 0  # zero is no heat either
    assert lse_study.empty_share(made, rows) == 1


def test_the_grid_pattern_is_of_the_classes_that_a_slice_has():
    pattern = np.tile(RNG.normal(size=(8, 8)), (2, 2)).astype(np.float32)
    maps = np.zeros((2, 2, 16, 16), np.float32)
    maps[0, 0] = maps[1, 1] = pattern
    rows = pd.DataFrame({"patient_id": ["a", "b"], "IPH": [True, True], "SDH": [False, True]})
    found = lse_tables.grid_row(ROWS, made_of(maps, ("IPH", "SDH")), rows)
    # Slice 0: its only class repeats, 1. Slice 1: one of its two does, 1 / 2.
    assert found["metric"] == "grid_pattern" and found["value"] == pytest.approx(0.75)


def test_the_precision_of_pooled_subtypes_counts_pixels_of_another_subtype_as_false():
    """4 of 5 marked pixels are right. In patient b nothing of IVH is marked: that subtype has no
    precision there, the pooled ones have."""
    counts = Counts(
        np.array([[90, 2, 1], [90, 1, 0]]),
        np.array([[2, 1, 0], [1, 0, 0]]),
        np.array([[2, 1, 0], [4, 0, 3]]),
    )
    of_b = Counts(counts.tp[1:], counts.fp[1:], counts.fn[1:])
    scans = pd.DataFrame({"patient_id": ["a", "b"], "scan_id": ["a", "b"]})
    found = {}
    for name, own, patients in (("both", counts, scans), ("b alone", of_b, scans[1:])):
        protocol = Protocol("truth", "printed", "none", own, {}, own)
        rows = lse_tables.protocol_rows(ROWS, {}, "m", [protocol], patients, ("IPH", "IVH"))
        found[name] = {row["class"]: row["value"] for row in rows if row["metric"] == "precision"}
    assert found["both"]["pooled_subtypes"] == pytest.approx((2 + 1 + 1) / (2 + 1 + 1 + 1))
    assert found["both"]["IPH"] == pytest.approx(3 / 4)
    assert found["b alone"]["pooled_subtypes"] == 1 and np.isnan(found["b alone"]["IVH"])


def test_the_papers_average_counts_the_background():
    counts = lse_study.joint_histograms(GOOD, SCORED)["truth"].at([125] * 5)
    statistics = lse_tables.dice_statistics(
        "m",
        [Protocol("truth", "printed", "none", counts, {}, counts)],
        lse_study.scan_rows(SCORED.rows),
        SUBTYPES,
    )
    per_class = dice(counts.sum(0))
    assert statistics["m", "printed", "none", "truth", "average"].value() == pytest.approx(
        per_class.mean()
    )
    assert statistics["m", "printed", "none", "truth", "average_subtypes"].value() == pytest.approx(
        per_class[1:].mean()
    )
    pooled = (
        2
        * counts.tp[:, 1:].sum()
        / (2 * counts.tp[:, 1:].sum() + counts.fp[:, 1:].sum() + counts.fn[:, 1:].sum())
    )
    assert statistics["m", "printed", "none", "truth", "pooled_subtypes"].value() == pytest.approx(
        pooled
    )
    assert statistics["m", "printed", "none", "truth", "IVH"].value() == pytest.approx(per_class[2])


def test_an_average_leaves_out_classes_that_the_drawn_patients_do_not_have():
    counts = Counts(
        np.array([[90, 4, 0], [90, 0, 0]]),
        np.array([[2, 2, 0], [1, 0, 3]]),
        np.array([[2, 1, 0], [4, 0, 0]]),
    )
    average = lse_tables.average_of(counts, np.array(["a", "b"]))["average_subtypes"]
    # only patient a has the first subtype, none has the second, which b is given in error
    assert average.evaluate(
        np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    ).tolist() == pytest.approx([8 / 11, 8 / 11, np.nan], nan_ok=True)


def test_two_subtypes_overlap_where_both_maps_claim_a_pixel():
    """Slice 0 has both: IPH on rows 0 to 3, IVH on rows 3 to 4, so 1 row of 5 is claimed twice.
    Slice 1 has IPH alone, whatever the map of IVH says there."""
    maps = np.zeros((2, 2, 8, 8), np.float32)
    maps[:, 0, :4], maps[0, 1, 3:5], maps[1, 1, :4] = 1.0, 1.0, 1.0
    codes = np.zeros((2, 8, 8), np.uint8)
    codes[:, 0, 0], codes[0, 4, 4] = 1, 2
    slices = slices_of(codes, ("IPH", "IVH"), ["a", "b"])
    made = made_of(maps, ("IPH", "IVH"), "lse_unet")
    row = lse_tables.overlap_row(ROWS, made, slices.rows)
    assert row["value"] == pytest.approx(1 / 5)
    assert (row["metric"], row["class"], row["unit"]) == ("subtype_overlap", "any", "pixel")
    alone = lse_tables.overlap_row(ROWS, made, slices.rows.assign(IVH=False))
    assert np.isnan(alone["value"])
