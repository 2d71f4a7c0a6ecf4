from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Rows, jointly_corrected, paired_differences, statistic_of
from ich_study.metrics.overlap import Counts, overlap_counts
from ich_study.metrics.statistics import mean_of_items
from ich_study.schema import result_table


def case(seed=0, slices=24):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((2, slices, 8, 8)) < 0.3
    truth[::3] = False
    rows = pd.DataFrame(
        {
            "patient_id": [f"p{n // 6}" for n in range(slices)],
            "scan_id": [f"s{n // 3}" for n in range(slices)],
        }
    )
    return prediction, truth, rows


def test_units_equal_their_definitions():
    prediction, truth, rows = case()
    counts = overlap_counts(prediction, truth)

    def dice(p, t):
        return 2 * (p & t).sum() / (p.sum() + t.sum())

    assert statistic_of(counts, rows, "pixel", "dice").value() == pytest.approx(
        dice(prediction, truth)
    )
    by_slice = [dice(p, t) for p, t in zip(prediction, truth) if t.any()]
    assert statistic_of(counts, rows, "slice", "dice").value() == pytest.approx(np.mean(by_slice))
    scans = [np.flatnonzero(rows["scan_id"] == scan) for scan in rows["scan_id"].unique()]
    assert statistic_of(counts, rows, "scan", "dice").value() == pytest.approx(
        np.mean([dice(prediction[n], truth[n]) for n in scans])
    )
    assert statistic_of(counts, rows, "pixel", "precision").value() == pytest.approx(
        (prediction & truth).sum() / prediction.sum()
    )


def test_rows_are_rows_of_the_result_table():
    prediction, truth, rows = case()
    named = {"method": "m", "variant": "printed", "class_name": "IPH", "subset": "all"}
    own = Rows("02_lse_unet", "bhsd", replicates=100)
    table = result_table(own.overlap(overlap_counts(prediction, truth), rows, **named))
    assert set(table["class"]) == {"IPH"} and set(table["dataset"]) == {"bhsd"}
    assert len(table) == 12 and (table["n"] == 4).all()
    assert (table["ci_low"] <= table["value"]).all() and (table["value"] <= table["ci_high"]).all()


def test_empty_truth_has_no_value_rather_than_zero():
    prediction, truth, rows = case()
    counts = overlap_counts(prediction, np.zeros_like(truth))
    assert np.isnan(statistic_of(counts, rows, "slice", "dice").value())
    assert np.isnan(statistic_of(counts, rows, "pixel", "dice").value())


def test_a_better_method_is_found_better_and_equal_ones_are_not():
    prediction, truth, rows = case(slices=60)
    better, worse = overlap_counts(truth, truth), overlap_counts(prediction, truth)
    statistics = {
        name: statistic_of(counts, rows, "pixel", "dice")
        for name, counts in {"a": better, "b": worse, "c": worse}.items()
    }
    own = Rows("s", "d", replicates=500)
    table, rows = own.differences(
        statistics, [("a", "b"), ("b", "c")], "dice", unit="pixel", method="ignored"
    )
    assert table.loc[0, "ci_low"] > 0 and table.loc[0, "p_holm"] < 0.05
    assert table.loc[1, "difference"] == 0 and table.loc[1, "p"] == 1
    tidy = result_table(rows)
    assert tidy["metric"].tolist() == ["dice_difference"] * 2 and tidy.loc[0, "method"] == "a - b"
    # the first minus the second: 1 - 0.3 is positive, the other way round it is not
    turned = paired_differences(statistics, [("b", "a")], replicates=500)
    assert turned.loc[0, "difference"] == -table.loc[0, "difference"] < 0
    one = own.difference(statistics["a"], statistics["b"], "dice_optimism", method="a - b")
    assert one["value"] == pytest.approx(tidy.loc[0, "value"]) and one["metric"] == "dice_optimism"


def test_a_measure_of_many_pairs_is_drawn_once_and_gives_what_each_pair_alone_gives():
    rng = np.random.default_rng(0)
    patients = [f"p{number}" for number in range(9)]
    statistics = {name: mean_of_items(patients, rng.random(9)) for name in "abcd"}
    pairs = list(combinations("abcd", 2))
    alone = pd.concat([paired_differences(statistics, [pair], 300, 4) for pair in pairs])
    evaluated = []
    for name, measure in list(statistics.items()):

        def counted(weights, name=name, measure=measure):
            evaluated.append((name, len(weights)))
            return measure.evaluate(weights)

        statistics[name] = replace(measure, evaluate=counted)
    together = paired_differences(statistics, pairs, 300, 4)
    columns = ["difference", "ci_low", "ci_high", "p"]
    assert (together[columns].to_numpy() == alone[columns].to_numpy()).all()
    assert sorted(name for name, draws in evaluated if draws == 300) == list("abcd")


def test_the_joint_correction_has_the_pairs_own_signs_and_holms_where_nobody_differs():
    rng = np.random.default_rng(0)
    patients = [f"p{number}" for number in range(30)]
    easy = rng.random(30)
    statistics = {
        "good": mean_of_items(patients, 0.5 + easy / 2),
        "bad": mean_of_items(patients, easy / 4 + rng.random(30) / 20),
        "as_bad": mean_of_items(patients, easy / 4 + rng.random(30) / 20),
        "never": mean_of_items(patients, np.zeros(30), share=True),
        "nor": mean_of_items(patients, np.zeros(30), share=True),
    }
    table = paired_differences(statistics, list(combinations(statistics, 2)), 200, 1)
    table["p_corrected"] = jointly_corrected(table, statistics, 200, 1)
    found = table.set_index(["first", "second"])["p_corrected"]
    assert found["good", "bad"] == pytest.approx(1 / 201)
    assert found["bad", "as_bad"] > 0.05
    assert found["never", "nor"] == table.set_index(["first", "second"])["p_holm"]["never", "nor"]


def test_means_leave_out_what_is_not_defined():
    rows = pd.DataFrame({"patient_id": ["a", "a", "b", "c"], "scan_id": list("wxyz")})
    values = np.array([0.0, 1.0, np.nan, 0.5])
    found = Rows("s", "d", replicates=50).mean(values, rows, "pointing_game", method="m")
    assert found["value"] == 0.5 and found["metric"] == "pointing_game" and found["n"] == 3


def test_bad_input_is_named():
    _, _, rows = case()
    with pytest.raises(StudyError, match="one patient per item"):
        statistic_of(Counts(*np.zeros((3, 5), int)), rows, "pixel", "dice")
