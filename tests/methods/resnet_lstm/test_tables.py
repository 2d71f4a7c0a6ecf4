"""The direction of every difference, and the names of measures, on values written down here."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.score import Scores
from ich_study.methods.resnet_lstm.tables import (
    ABLATION,
    classifier_results,
    joined,
    map_results,
    paired_rows,
    row_above_tests,
    table_2,
    volume_results,
    volume_rows,
)
from ich_study.metrics.overlap import Counts
from ich_study.schema import result_table

ROWS = Rows("03_resnet_lstm", "fake", 20, 1)
DICE = {
    ("resnet_unet", "printed"): 0.10,
    ("resnet_lstm_unet", "printed"): 0.25,
    ("resnet_kmeans_unet", "printed"): 0.40,
    ("resnet_lstm_kmeans_unet", "printed"): 0.60,
    ("resnet_lstm_kmeans_unet", "no_contrast_enhancement"): 0.55,
    ("unet", "printed"): 0.90,
    ("resnet_lstm_kmeans", "printed"): 0.32,
    ("resnet_lstm_cam", "printed"): 0.20,
    ("hu_threshold", "printed"): 0.03,
    ("centred_blob", "printed"): 0.04,
    ("random_map", "printed"): 0.01,
}
DIFFERENCES = {
    "resnet_lstm_unet - resnet_unet": 0.15,
    "resnet_unet - resnet_lstm_unet": -0.15,
    "resnet_unet - resnet_kmeans_unet": -0.30,
    "resnet_unet - resnet_lstm_kmeans_unet": -0.50,
    "resnet_lstm_kmeans_unet - resnet_kmeans_unet": 0.20,
    "resnet_lstm_kmeans_unet - resnet_lstm_unet": 0.35,
    "resnet_lstm_kmeans_unet - resnet_unet": 0.50,
    "unet - resnet_lstm_kmeans_unet": 0.30,
    "resnet_lstm_kmeans_unet - resnet_lstm_kmeans": 0.28,
    "resnet_lstm_kmeans - resnet_lstm_cam": 0.12,
    "resnet_lstm_kmeans_unet - hu_threshold": 0.57,
    "resnet_lstm_kmeans_unet - centred_blob": 0.56,
    "resnet_lstm_kmeans_unet - random_map": 0.59,
    "resnet_lstm_kmeans_unet - resnet_lstm_kmeans_unet": 0.05,
}


def measured():
    """Volumes of three patients on which every method has the Dice of the table above."""
    rows = []
    for (method, variant), dice in DICE.items():
        for patient in ("a", "b", "c"):
            named = {"patient_id": patient, "scan_id": patient, "method": method}
            values = dict.fromkeys(("rvd", "hausdorff", "surface_dice"), 0.5)
            rows.append(
                {"fold": 0, **named, "variant": variant, "dice": dice, "tpr": 1.0, **values}
            )
    return pd.DataFrame(rows)


def predictions(logits):
    """Slice predictions of four patients with two slices each, the second one positive."""
    rows = []
    for patient in "abcd":
        for index, logit in enumerate(logits):
            place = {"dataset": "fake", "patient_id": patient, "scan_id": patient}
            scored = {"slice_index": index, "class": "any", "label": bool(index)}
            rows.append({**place, **scored, "logit": logit, "probability": 0.5})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("truth", "prefix"), [("masks", ""), ("boxes", "box_")])
def test_differences_are_first_minus_second_and_measures_against_boxes_say_so(truth, prefix):
    rows, table = volume_results(measured(), ROWS, "printed", truth)
    found = rows[rows["metric"] == f"{prefix}dice_difference"].set_index("method")["value"]
    assert found.to_dict() == pytest.approx(DIFFERENCES)
    for row in table[table["metric"] == f"{prefix}dice"].itertuples():
        assert row.difference == pytest.approx(DIFFERENCES[f"{row.first} - {row.second}"])
    by_setting = rows[rows["variant"] == "printed - no_contrast_enhancement"]
    assert by_setting["method"].tolist() == ["resnet_lstm_kmeans_unet - resnet_lstm_kmeans_unet"]
    means = rows[rows["metric"] == f"{prefix}dice"].set_index(["method", "variant"])["value"]
    assert means.to_dict() == pytest.approx(DICE)
    assert all(metric.startswith("box_") == bool(prefix) for metric in rows["metric"])


def test_the_p_of_the_papers_tests_stand_in_the_results():
    volumes = measured()
    volumes["dice"] += np.tile([0.0, 0.02, 0.03], len(DICE)) * np.linspace(1, 2, len(volumes))
    rows, _ = volume_results(volumes, ROWS, "printed", "masks")
    found = rows[rows["metric"] == "dice_p_value"].set_index("method")["value"]
    above = ABLATION[0]
    for method in ABLATION[1:]:
        pair = [volumes[volumes["method"] == name] for name in (method, above)]
        pair = [part.loc[part["variant"] == "printed", "dice"] for part in pair]
        assert found[method] == pytest.approx(stats.ttest_rel(*pair).pvalue)
        above = method
    assert set(found.index) == set(ABLATION[1:])


def test_auroc_differences_are_with_the_lstm_minus_without():
    given = {
        "resnet": predictions((0.9, 0.1)),
        "resnet_lstm_refitted": predictions((0.5, 0.5)),
        "resnet_lstm": predictions((0.1, 0.9)),
    }
    # of the rival, the first slice of every patient is the likelier one
    rival = predictions((0.5, -0.5)).assign(position=0.5)
    rows, table = classifier_results(given, rival, ROWS)
    assert dict(zip(zip(table["first"], table["second"]), table["difference"])) == pytest.approx(
        {("resnet_lstm", "resnet"): 1.0, ("resnet_lstm_refitted", "resnet"): 0.5}
    )
    auroc = rows[rows["metric"] == "auroc"]
    own = auroc[auroc["method"] != "slice_position"].set_index("method")["value"]
    assert own.to_dict() == pytest.approx(
        {"resnet": 0.0, "resnet_lstm_refitted": 0.5, "resnet_lstm": 1.0}
    )
    assert (auroc.loc[auroc["method"] == "slice_position", "value"] == 0).sum() == 3
    difference = rows[rows["metric"] == "auroc_difference"].set_index("method")["value"]
    assert difference["resnet_lstm - resnet"] == pytest.approx(1.0)
    assert difference["resnet_lstm - slice_position"] == pytest.approx(1.0)
    assert difference["resnet - slice_position"] == pytest.approx(0.0)


@pytest.mark.parametrize(("truth", "prefix"), [("masks", ""), ("boxes", "box_")])
def test_maps_are_pooled_over_folds_by_method_and_measure(truth, prefix):
    def scored(method, first, pointing, mass):
        patients = pd.DataFrame({"patient_id": [f"p{first + n}" for n in range(len(mass))]})
        counts = Counts(*np.zeros((3, len(mass), 0), int))
        values = np.array(pointing), np.array(mass)
        return Scores(method, "printed", None, "any", np.zeros(0), counts, *values, patients)

    # a slice without truth has no value and takes no part
    scores = [
        scored("resnet_cam", 0, [0.0, 1.0, np.nan], [0.2, 0.4, np.nan]),
        scored("random_map", 0, [0.0, 0.0, np.nan], [0.1, 0.3, np.nan]),
        scored("resnet_cam", 3, [1.0], [0.6]),
        scored("random_map", 3, [1.0], [0.2]),
    ]
    table = map_results(scores, ROWS, truth)
    found = table.set_index(["method", "metric"])["value"].to_dict()
    assert found == pytest.approx(
        {
            ("random_map", f"{prefix}mass_inside"): 0.2,
            ("random_map", f"{prefix}pointing_game"): 1 / 3,
            ("resnet_cam", f"{prefix}mass_inside"): 0.4,
            ("resnet_cam", f"{prefix}pointing_game"): 2 / 3,
            ("resnet_cam - random_map", f"{prefix}pointing_game_difference"): 1 / 3,
        }
    )
    assert set(table["unit"]) == {"slice"} and set(table["subset"]) == {"positive"}
    means = table[~table["metric"].str.contains("difference")]
    assert set(means["n"]) == {3} and len(joined([table, table])) == 10


def volumes(patients=9, seed=0, methods=ABLATION):
    rng = np.random.default_rng(seed)
    rows = []
    for rank, method in enumerate(methods):
        for patient in range(patients):
            rows.append(
                {
                    "fold": 0,
                    "patient_id": f"p{patient}",
                    "scan_id": f"s{patient}",
                    "method": method,
                    "variant": "printed",
                    "dice": rng.uniform(0, 0.3) + 0.15 * rank,
                    "rvd": rng.uniform(0, 3),
                    "tpr": rng.uniform(),
                    "hausdorff": np.nan,
                    "surface_dice": 0.5,
                    "predicted_ml": 1.0,
                    "truth_ml": 1.0,
                }
            )
    return pd.DataFrame(rows)


def test_each_row_is_tested_against_the_one_above_by_scipys_paired_t_test():
    table = volumes()
    tests = row_above_tests(table)
    assert (
        tests["method"].tolist() == [name for name in ABLATION[1:] for _ in range(3)]
        and len(tests) == 9
    )
    for row in tests.itertuples():
        first, second = (
            table[table["method"] == name][row.metric].to_numpy()
            for name in (row.method, row.above)
        )
        assert row.p == pytest.approx(stats.ttest_rel(first, second).pvalue) and row.n == 9
        assert (
            row.difference == pytest.approx((first - second).mean()) and row.difference * row.t > 0
        )
    assert (tests["p_holm"] >= tests["p"]).all()
    shown = table_2(table, replicates=50)
    p = tests[(tests["method"] == "resnet_lstm_unet") & (tests["metric"] == "dice")]["p"].item()
    stars = "**" if p < 0.001 else "*" if p < 0.05 else ""
    mean, spread = table[table["method"] == "resnet_lstm_unet"]["dice"].agg(["mean", "std"])
    assert shown["dice"][1].startswith(f"{mean:.2f} ± {spread:.2f}{stars} [")
    assert "*" not in shown["dice"][0]


def test_tests_refuse_other_volumes_and_two_variants_of_one_method():
    table = volumes(methods=ABLATION[:2])
    with pytest.raises(StudyError, match="different volumes"):
        row_above_tests(table.iloc[:-1])
    with pytest.raises(StudyError, match="twice"):
        row_above_tests(pd.concat([table, table]))
    assert row_above_tests(volumes(methods=ABLATION[:1])).empty


def test_result_rows_carry_means_intervals_and_spreads():
    rows = result_table(volume_rows(volumes(), Rows("s", "d", 100, 1)))
    dice = rows[(rows["method"] == ABLATION[3]) & (rows["metric"] == "dice")].iloc[0]
    values = volumes().query("method == @ABLATION[3]")["dice"]
    assert (
        dice["value"] == pytest.approx(values.mean())
        and dice["ci_low"] < dice["value"] < dice["ci_high"]
        and dice["n"] == 9
    )
    assert rows[(rows["method"] == ABLATION[3]) & (rows["metric"] == "dice_sd")][
        "value"
    ].item() == pytest.approx(values.std())
    assert not rows.duplicated(["method", "variant", "metric"]).any() and set(rows["seed"]) == {1}


def test_paired_differences_name_both_methods_and_leave_out_what_was_not_measured():
    table = volumes(methods=ABLATION[:2])
    pairs = [(ABLATION[1], ABLATION[0]), (ABLATION[3], ABLATION[0])]
    differences, rows = paired_rows(table, pairs, Rows("s", "d", 100, 3))
    differences = differences[differences["metric"] == "dice"]
    mean = table.groupby("method")["dice"].mean()
    assert differences["difference"].tolist() == pytest.approx(
        [mean[ABLATION[1]] - mean[ABLATION[0]]]
    )
    assert (
        rows[0]["method"] == "resnet_lstm_unet - resnet_unet"
        and rows[0]["metric"] == "dice_difference"
        and rows[0]["seed"] == 3
    )
