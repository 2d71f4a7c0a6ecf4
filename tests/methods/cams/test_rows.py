"""Scores to result rows, on maps whose overlap is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ich_study.evaluate.rows import Rows
from ich_study.methods.cams.rows import (
    compare_all,
    prefix_of,
    score_rows,
)
from ich_study.metrics.boxes import loose_hit
from ich_study.metrics.overlap import dice, iou
from ich_study.metrics.significance import holm
from ich_study.published.claimed import claimed_rows
from ich_study.published.claims import load_claims, verdicts
from ich_study.published.tables import load_table
from ich_study.schema import result_table
from tests.methods.cams.fakes import (
    BENCHMARK_TEST as TEST,
    BENCHMARK_VALIDATION as VALIDATION,
    STUDY,
    benchmark,
    levels,
    scored,
    truth_part,
)

PARTS = VALIDATION, TEST
ROWS = Rows(*STUDY, replicates=50)
SCORES, RESULTS = benchmark()


def row(**wanted):
    chosen = RESULTS
    for name, value in wanted.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1, wanted
    return chosen.iloc[0]


def shifted():
    """Two methods at [-3]: `late` marks nothing at its held-out threshold and exactly
    the lesions at the test part's own; `right` marks the lesions at either."""
    held_out = levels(VALIDATION, 0.8, 0.5)
    late = held_out, levels(TEST, 0.4, 0.1), "late", "-3"
    right = held_out, levels(TEST, 0.8, 0.5), "right", "-3"
    return scored(PARTS, late, right)


def test_each_row_names_the_source_of_its_threshold():
    rows = result_table(score_rows(shifted(), TEST, ROWS))
    for unit in ("pixel", "slice"):
        values = rows[(rows["metric"] == "dice") & (rows["unit"] == unit)].set_index(
            ["method", "threshold_source"]
        )["value"]
        assert values.to_dict() == {
            ("late", "masks-validation"): 0.0,
            ("late", "masks-test"): 1.0,
            ("right", "masks-validation"): 1.0,
            ("right", "masks-test"): 1.0,
        }


def test_a_difference_is_the_first_minus_the_second():
    table = compare_all(shifted(), "dice", replicates=50)
    assert table[["first", "second"]].to_numpy().tolist() == [["late [-3]", "right [-3]"]]
    # at thresholds of the test masks themselves it would be 0
    assert table["difference"].tolist() == [-1.0]
    assert table["threshold_source"].tolist() == ["masks-validation"]


def test_box_measures_are_those_of_boxes():
    # an L of 9 pixels in a lesion of 20: the same box, other pixels
    maps = []
    for part in (VALIDATION, TEST):
        truth = part.mask()
        left = truth & ~np.roll(truth, 1, axis=2)
        bottom = truth & ~np.roll(truth, -1, axis=1)
        maps.append((left | bottom).astype(np.float32))
    scores = scored(PARTS, (*maps, "m", "-3"))
    rows = result_table(score_rows(scores, TEST, ROWS))
    chosen = rows[(rows["threshold_source"] == "masks-test") & (rows["unit"] == "pixel")]
    values = chosen.set_index("metric")["value"]
    assert values["box_dice"] == values["box_iou"] == 1
    assert values["iou"] == 8 / 20 and values["dice"] == pytest.approx(2 * 8 / (20 + 8))
    whole = [part.mask().astype(np.float32) for part in PARTS]
    both = scored(PARTS, (*maps, "m", "-3"), (*whole, "n", "-3"))
    for metric, expected in (("dice", 2 * 8 / (20 + 8) - 1), ("box_dice", 0)):
        (difference,) = compare_all(both, metric, replicates=20)["difference"]
        assert difference == pytest.approx(expected)
    assert values["sensitivity"] == pytest.approx(0.4) and values["precision"] == 1


def test_healthy_slices_count_for_no_overlap_and_positive_ones_for_no_healthy_area():
    maps = levels(VALIDATION, 0.8, 0.5, 0.9), levels(TEST, 0.8, 0.5, 0.9)
    rows = result_table(score_rows(scored(PARTS, maps), TEST, ROWS))
    held_out = rows[rows["threshold_source"] == "masks-validation"]
    values = held_out.set_index(["metric", "unit"])["value"]
    assert values["dice", "pixel"] == values["precision", "pixel"] == 1
    assert values["box_match_f1", "pixel"] == values["loose_hit", "slice"] == 1
    # a whole slice of 24 x 24 pixels of 0.01 cm2; a lesion would be 0.2
    assert values["healthy_cm2", "slice"] == pytest.approx(5.76)
    assert values["healthy_brain_share", "slice"] == pytest.approx(1)
    free = rows[rows["metric"] == "pixel_average_precision"].set_index("subset")["value"]
    assert free["positive"] == 1 and free["all"] < 0.99


def test_rows_hold_what_was_counted():
    score, positive = SCORES[1], TEST.positive()
    marks = score.marks["masks-validation"]
    there = {
        "method": "hires_cam",
        "layer": "-3",
        "variant": "raw",
        "threshold_source": "masks-validation",
        "subset": "positive",
    }
    counts = marks.choice.counts[positive]
    assert row(**there, metric="dice", unit="pixel")["value"] == pytest.approx(dice(counts.sum()))
    assert row(**there, metric="iou", unit="slice")["value"] == pytest.approx(iou(counts).mean())
    boxes = marks.union[positive].sum()
    assert row(**there, metric="box_dice", unit="pixel")["value"] == pytest.approx(dice(boxes))
    assert row(**there, metric="loose_hit", unit="slice")["value"] == pytest.approx(
        np.nanmean(loose_hit(marks.choice.counts))
    )
    healthy = row(**{**there, "subset": "all"}, metric="healthy_cm2")
    assert healthy["value"] == pytest.approx(marks.cm2[TEST.healthy].mean())
    micro = row(**there, metric="dice", unit="pixel")
    assert micro["ci_low"] <= micro["value"] <= micro["ci_high"] and micro["n"] == 6


def test_global_boxes_keep_the_printed_identity():
    """Dice = 2 IoU / (1 + IoU) in every cell of Table IIa, pixels and boxes."""
    for metric in ("", "box_"):
        micro = RESULTS[RESULTS["unit"] == "pixel"]
        pairs = [
            micro[micro["metric"] == f"{metric}{name}"].reset_index()["value"]
            for name in ("dice", "iou")
        ]
        assert np.allclose(pairs[0], 2 * pairs[1] / (1 + pairs[1]))


def test_names_are_those_of_the_printed_tables_and_the_claims():
    for table in ("table_2a", "table_2b"):
        printed = load_table("cam_benchmark", table)
        metrics = set(zip(printed["metric"], printed["unit"], printed["subset"]))
        assert metrics <= set(zip(RESULTS["metric"], RESULTS["unit"], RESULTS["subset"]))
        assert {"hires_cam", "ablation_cam"} <= set(printed["method"]) and set(
            printed["layer"]
        ) == {"-1", "-2", "-3"}
    rows = Rows(*STUDY, replicates=50)
    measured = score_rows(SCORES, TEST, rows)
    paired = claimed_rows(rows, measured)
    # of the library's maps and thresholds of the test masks, as the paper ran
    assert {row["method"] for row in paired} >= {
        "hires_cam - ablation_cam",
        "ablation_cam - hires_cam",
    }
    assert {(row["variant"], row["threshold_source"]) for row in paired} == {
        ("library", "masks-test")
    }
    asked = load_claims().query("claim_id in ['cam-18', 'cam-19']")
    judged = verdicts(result_table([*measured, *paired]), asked)
    assert judged["paired"].tolist() == judged["pairs"].tolist() == [2, 2]


def test_differences_are_corrected_over_all_pairs():
    table = compare_all(SCORES, "dice", replicates=200)
    assert np.allclose(table["p_holm"], holm(table["p"].to_numpy()))
    pairs = set(zip(table["first"], table["second"]))
    assert ("hires_cam [-1]", "hires_cam [-3]") in pairs and (
        "hires_cam [-3]",
        "ablation_cam [-3]",
    ) in pairs
    assert ("hires_cam [-1]", "random_map") in pairs and (
        "hires_cam [-1]",
        "ablation_cam [-3]",
    ) not in pairs
    clear = table[(table["first"] == "hires_cam [-1]") & (table["second"] == "random_map")].iloc[0]
    assert clear["ci_low"] > 0


def test_a_clear_difference_survives_the_correction():
    table = compare_all(SCORES, "dice")
    clear = table[(table["first"] == "hires_cam [-1]") & (table["second"] == "random_map")].iloc[0]
    assert clear["p_holm"] < 0.05


def test_where_nothing_is_known_healthy_no_healthy_row_stands():
    part = truth_part(3, seed=3)
    part = replace(part, rows=part.rows.assign(any=pd.array([True] * len(part), dtype="boolean")))
    rows = score_rows(scored((VALIDATION, part), (VALIDATION.mask(), part.mask())), part, ROWS)
    assert not any(row["metric"].startswith("healthy") for row in rows)


def test_pixels_of_filled_boxes_have_names_of_their_own():
    part = replace(TEST, kind="boxes", annotated=TEST.boxes())
    scores = scored((VALIDATION, part), (VALIDATION.mask(), TEST.mask(), "m", "-3"))
    metrics = {row["metric"] for row in score_rows(scores, part, ROWS)}
    assert {"box_truth_dice", "box_truth_sensitivity", "box_dice"} <= metrics
    assert not metrics & {"dice", "iou", "sensitivity"}
    assert prefix_of(part) == "box_truth_" and prefix_of(TEST) == ""
