import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.methods.cams.rows import best_of, claim_rows, compare_all, score_rows
from ich_study.methods.cams.scores import score_all
from ich_study.methods.cams.tables import (
    answers,
    best_layers,
    broken_rules,
    table_two,
    table_two_beside,
)
from ich_study.metrics.overlap import dice, iou
from ich_study.metrics.significance import holm
from ich_study.published.claims import load_claims, verdicts
from ich_study.published.tables import load_table
from ich_study.schema import result_table
from tests.methods.cams.fakes import perfect_series, truth_part

VALIDATION, TEST = truth_part(seed=1, prefix="v"), truth_part(6, seed=2, prefix="t")
COMMON = {"study": "06_cam_benchmark", "dataset": "hemorica/test", "class": "any"}
SERIES = [
    perfect_series(VALIDATION, TEST, "hires_cam", "-1"),
    perfect_series(VALIDATION, TEST, "hires_cam", "-3", 0.7, seed=4),
    perfect_series(VALIDATION, TEST, "ablation_cam", "-3", 5.0, seed=5),
    perfect_series(VALIDATION, TEST, "hires_cam", "-3", 0.7, "printed", 6),
    perfect_series(VALIDATION, TEST, "ablation_cam", "-3", 0.2, "library", 7),
    perfect_series(VALIDATION, TEST, "random_map", "", 50.0),
]
SCORES = score_all(SERIES, VALIDATION, TEST)
RESULTS = result_table(score_rows(SCORES, TEST, COMMON, replicates=100))


def row(**wanted):
    chosen = RESULTS
    for name, value in wanted.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1, wanted
    return chosen.iloc[0]


def test_rows_hold_what_was_counted():
    score, positive = SCORES[1], TEST.positive
    there = {
        "method": "hires_cam",
        "layer": "-3",
        "variant": "raw",
        "threshold_source": "masks-validation",
        "subset": "positive",
    }
    counts = score.pixel["masks-validation"][positive]
    assert row(**there, metric="dice", unit="pixel")["value"] == pytest.approx(dice(counts.sum()))
    assert row(**there, metric="iou", unit="slice")["value"] == pytest.approx(iou(counts).mean())
    boxes = score.box_union["masks-validation"][positive].sum()
    assert row(**there, metric="box_dice", unit="pixel")["value"] == pytest.approx(dice(boxes))
    assert row(**there, metric="loose_hit", unit="slice")["value"] == pytest.approx(
        np.nanmean(score.hits("masks-validation"))
    )
    healthy = row(**{**there, "subset": "all"}, metric="healthy_cm2")
    assert healthy["value"] == pytest.approx(
        score.predicted_cm2["masks-validation"][TEST.healthy].mean()
    )
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
    rows = claim_rows(SCORES, TEST, COMMON, ("hires_cam", "ablation_cam"), replicates=100)
    assert {row["metric"] for row in rows} == {
        f"{name}_difference" for name in ("dice", "iou", "box_dice", "box_iou")
    }
    every = pd.concat([RESULTS, result_table(rows)], ignore_index=True)
    claims = load_claims()
    judged = verdicts(
        every.assign(dataset="hemorica"), claims[claims["claim_id"].isin(["cam-23", "cam-24"])]
    ).set_index("claim_id")
    assert judged.loc["cam-23", "pairs"] > 0 and judged.loc["cam-24", "verdict"] in {
        "supported",
        "contradicted",
        "undecided",
    }


def test_differences_are_corrected_over_all_pairs():
    table = compare_all(SCORES, TEST, "dice", replicates=200)
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
    with pytest.raises(DataError, match="twice"):
        compare_all([*SCORES, SCORES[0]], TEST, "dice")


def test_a_clear_difference_survives_the_correction():
    table = compare_all(SCORES, TEST, "dice")
    clear = table[(table["first"] == "hires_cam [-1]") & (table["second"] == "random_map")].iloc[0]
    assert clear["p_holm"] < 0.05


def test_table_two_shows_the_rivals_and_the_library_in_its_variant():
    raw = table_two(RESULTS, "raw", "masks-validation", "pixel")
    assert raw.loc["hires_cam", ("dice", "-1")] == 1 and np.isfinite(
        raw.loc["random_map", ("dice", "")]
    )
    library = table_two(RESULTS, "library", "masks-test", "slice")
    expected = row(
        method="ablation_cam",
        layer="-3",
        variant="library",
        threshold_source="masks-test",
        metric="dice",
        unit="slice",
    )
    assert library.loc["ablation_cam", ("dice", "-3")] == pytest.approx(expected["value"])
    assert "hires_cam" in library.index


def test_the_printed_table_stands_beside_ours():
    beside = table_two_beside(RESULTS, "table_2a", "ours")
    chosen = (beside["variant"] == "raw") & (beside["threshold_source"] == "masks-validation")
    beside = beside[chosen].set_index(["method", "metric", "layer"])
    assert beside.loc[("hires_cam", "dice", "-3"), "printed"] == "0.5219"
    assert beside.loc[("hires_cam", "dice", "-1"), "ours"].startswith("1.000 [")
    assert (
        beside.loc[("random_map", "dice", ""), "printed"] == ""
        and beside.loc[("layer_cam", "dice", "-1"), "ours"] == ""
    )
    half = table_two_beside(RESULTS, "table_2b", "ours")
    assert len(half[half["printed"] != ""]) == 3 * 2 * 108 and "loose_hit" not in set(
        half["metric"]
    )


def test_answers_name_the_winner_and_its_margins():
    raw = [score for score in SCORES if score.variant == "raw"]
    found = answers(RESULTS, compare_all(raw, TEST, "dice", replicates=200)).set_index("question")
    assert found.iloc[0]["answer"] == "hires_cam [-1]" and found.iloc[0]["value"] == 1
    rival = found.loc["by how much over the best trivial rival"]
    assert rival["answer"] == "random_map" and rival["ci_low"] > 0
    depth = found.loc["by how much over its next best depth"]
    shallow = SCORES[1].pixel["masks-validation"][TEST.positive].sum()
    assert depth["answer"] == "hires_cam [-3]" and depth["value"] == pytest.approx(
        1 - dice(shallow)
    )
    with pytest.raises(DataError, match="no comparison"):
        answers(RESULTS, compare_all(raw[1:3], TEST, "dice", replicates=50))


def test_a_sound_table_breaks_no_rule_and_a_changed_one_does():
    assert broken_rules(RESULTS) == []
    swapped = RESULTS.assign(value=RESULTS["value"].where(RESULTS["metric"] != "iou", 0.5))
    assert any("2 IoU" in rule for rule in broken_rules(swapped))
    worse = RESULTS["metric"].isin(["dice", "iou"]) & (RESULTS["threshold_source"] == "masks-test")
    assert any(
        "own threshold is worse" in rule
        for rule in broken_rules(RESULTS.assign(value=RESULTS["value"].where(~worse, 0.0)))
    )
    assert best_layers(RESULTS) == {"hires_cam": "-1", "ablation_cam": "-3", "random_map": ""}


def test_best_of_names_the_best_method_and_never_a_rival():
    assert best_of(RESULTS, "dice")[["method", "layer"]].tolist() == ["hires_cam", "-1"]
    with pytest.raises(DataError, match="no result"):
        best_of(RESULTS, "dice", variant="other")


def test_where_nothing_is_known_healthy_no_healthy_row_stands():
    part = truth_part(3, seed=3)
    part = type(part)(
        **{
            **vars(part),
            "rows": part.rows.assign(any=pd.array([True] * len(part), dtype="boolean")),
        }
    )
    rows = score_rows(
        score_all([perfect_series(VALIDATION, part)], VALIDATION, part),
        part,
        COMMON,
        replicates=20,
        prefix="box_truth_",
    )
    metrics = {row["metric"] for row in rows}
    assert (
        not any(name.startswith("healthy") for name in metrics)
        and {"box_truth_dice", "box_dice"} <= metrics
        and "dice" not in metrics
    )
