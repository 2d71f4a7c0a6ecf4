"""Tables for a reader, from scores whose order is known."""

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.methods.cams.rows import compare_all
from ich_study.methods.cams.tables import (
    OVER_CHANCE,
    all_answers,
    answers,
    best_layers,
    broken_rules,
    ranked,
    table_two,
)
from ich_study.metrics.overlap import dice
from tests.methods.cams.fakes import BENCHMARK_TEST as TEST, benchmark
from tests.methods.cams.test_rows import row

SCORES, RESULTS = benchmark()


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


def test_answers_name_the_winner_and_its_margins():
    raw = [each for each in SCORES if each.scores.variant == "raw"]
    found = answers(RESULTS, compare_all(raw, "dice", replicates=200)).set_index("question")
    assert found.iloc[0]["answer"] == "hires_cam [-1]" and found.iloc[0]["value"] == 1
    rival = found.loc["by how much over the best trivial rival"]
    assert rival["answer"] == "random_map" and rival["ci_low"] > 0
    depth = found.loc["by how much over its next best depth"]
    shallow = SCORES[1].marks["masks-validation"].choice.counts[TEST.positive()].sum()
    assert depth["answer"] == "hires_cam [-3]" and depth["value"] == pytest.approx(
        1 - dice(shallow)
    )


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


def test_a_cell_is_of_the_variant_source_and_unit_asked_for():
    """A table whose value says what it is: variant, source and unit."""
    digits = {"raw": 0.1, "printed": 0.2, "library": 0.3}
    rows = [
        {
            "method": method,
            "layer": layer,
            "variant": variant,
            "threshold_source": source,
            "unit": unit,
            "metric": "dice",
            "value": digits[variant]
            + (0.01 if source == "masks-test" else 0.02)
            + (0.001 if unit == "pixel" else 0.002)
            + 0.0001 * abs(int(layer)),
        }
        for method, variants in (("hires_cam", ("raw", "printed")), ("ablation_cam", tuple(digits)))
        for variant in variants
        for layer in ("-1", "-2", "-3")
        for source in ("masks-test", "masks-validation")
        for unit in ("pixel", "slice")
    ]
    table = pd.DataFrame(rows)
    found = table_two(table, "raw", "masks-validation", "pixel")
    assert found.loc["hires_cam", ("dice", "-3")] == pytest.approx(0.1213)
    found = table_two(table, "printed", "masks-test", "slice")
    assert found.loc["ablation_cam", ("dice", "-1")] == pytest.approx(0.2121)
    found = table_two(table, "library", "masks-test", "pixel")
    assert found.loc["ablation_cam", ("dice", "-2")] == pytest.approx(0.3112)
    assert found.shape == (1, 3)


def test_answers_do_not_depend_on_the_order_of_the_methods():
    """A winner that stands second in a pair wins by as much as one that stands first."""
    raw = [each for each in SCORES if each.scores.variant == "raw"]
    found = [
        answers(RESULTS, compare_all(some, "dice", replicates=200)).set_index("question")
        for some in (raw, raw[::-1])
    ]
    pd.testing.assert_frame_equal(*[part.drop(columns="p_holm") for part in found], rtol=1e-9)
    margins = found[1].iloc[1:]
    assert (margins["value"] >= 0).all() and (margins["ci_low"] <= margins["ci_high"]).all()
    assert found[1].loc[OVER_CHANCE, "answer"] == "random_map"


def test_answers_of_each_metric_are_of_that_metric():
    both = {metric: compare_all(SCORES, metric, replicates=50) for metric in ("dice", "iou")}
    found = all_answers(RESULTS, both)
    assert found["metric"].unique().tolist() == ["dice", "iou"]
    for metric in both:
        chance = found[(found["metric"] == metric) & (found["question"] == OVER_CHANCE)].iloc[0]
        rival = row(
            method="random_map",
            threshold_source="masks-validation",
            unit="pixel",
            metric=metric,
            subset="positive",
        )
        assert chance["value"] == pytest.approx(1 - rival["value"])


def test_the_best_depth_is_taken_at_thresholds_of_validation_masks():
    rows = pd.DataFrame(
        {
            "method": "m",
            "layer": ["-1", "-2", "-1", "-2"],
            "variant": "raw",
            "unit": "pixel",
            "metric": "dice",
            "threshold_source": ["masks-validation"] * 2 + ["masks-test"] * 2,
            "value": [0.4, 0.3, 0.5, 0.6],
        }
    )
    assert best_layers(rows) == {"m": "-1"}
    assert ranked(rows, "dice")["value"].tolist() == [0.4, 0.3]
    assert best_layers(rows.assign(variant="printed")) == {}


def test_shares_outside_zero_and_one_and_turned_intervals_break_a_rule():
    above = RESULTS.assign(value=RESULTS["value"].where(RESULTS["metric"] != "loose_hit", 1.2))
    assert "a share lies outside [0, 1]" in broken_rules(above)
    turned = RESULTS.rename(columns={"ci_low": "ci_high", "ci_high": "ci_low"})
    assert "an interval's ends are exchanged" in broken_rules(turned)


def test_the_winner_is_never_a_rival():
    rivals = RESULTS.assign(value=RESULTS["value"].where(RESULTS["method"] != "random_map", 2.0))
    found = answers(rivals, compare_all(SCORES, "dice", replicates=50))
    assert found.iloc[0]["answer"] == "hires_cam [-1]"
    with pytest.raises(DataError, match="no map with a layer"):
        answers(RESULTS, compare_all(SCORES, "dice", replicates=50), "absent")
