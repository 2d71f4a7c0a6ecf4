import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics import HausdorffDistanceMetric
from scipy import stats

from ich_study.errors import DataError, StudyError
from ich_study.methods.resnet_lstm.report import (
    ABLATION,
    measured_volumes,
    on_scan_grid,
    paired_rows,
    result_rows,
    row_above_tests,
    table_2,
    volume_measures,
)
from ich_study.schema import result_table

SPACING = (5.0, 0.5, 0.5)


def ball(shift=0, radius=4.0, shape=(8, 24, 24)):
    zz, rr, cc = np.mgrid[: shape[0], : shape[1], : shape[2]]
    return ((zz - 4) * 2) ** 2 + (rr - 12) ** 2 + (cc - 12 - shift) ** 2 < radius**2


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


def test_measures_of_one_volume_follow_their_formulas_and_monai():
    prediction, truth = ball(3), ball()
    found = volume_measures(prediction, truth, SPACING, 1.0)
    both = (prediction & truth).sum()
    assert found["dice"] == pytest.approx(2 * both / (prediction.sum() + truth.sum()))
    assert found["tpr"] == pytest.approx(both / truth.sum())
    assert found["rvd"] == pytest.approx(
        abs(int(prediction.sum()) - int(truth.sum())) / truth.sum()
    )
    assert found["truth_ml"] == pytest.approx(truth.sum() * 5 * 0.5 * 0.5 / 1000)
    metric = HausdorffDistanceMetric(include_background=True)
    oracle = metric(
        torch.from_numpy(prediction)[None, None].float(),
        torch.from_numpy(truth)[None, None].float(),
        spacing=list(SPACING),
    )
    assert found["hausdorff"] == pytest.approx(float(oracle), abs=1e-4)


def test_empty_predictions_empty_truths_and_unknown_spacing_are_defined():
    nothing = np.zeros_like(ball())
    missed = volume_measures(nothing, ball(), SPACING, 1.0)
    assert (missed["dice"], missed["rvd"], missed["tpr"], missed["surface_dice"]) == (
        0,
        1,
        0,
        0,
    ) and np.isnan(missed["hausdorff"])
    healthy = volume_measures(ball(), nothing, SPACING, 1.0)
    assert (
        all(np.isnan(healthy[name]) for name in ("dice", "rvd", "tpr", "hausdorff", "surface_dice"))
        and healthy["predicted_ml"] > 0
    )
    unknown = volume_measures(ball(), ball(), (np.nan, np.nan, np.nan), 1.0)
    assert unknown["dice"] == 1 and np.isnan(unknown["hausdorff"]) and np.isnan(unknown["truth_ml"])


def test_predictions_on_another_grid_are_brought_to_the_scans():
    truth = {"a": np.repeat(np.repeat(ball(), 2, 1), 2, 2)}
    table = measured_volumes(
        {"a": ball()}, truth, {"a": "p"}, {"a": SPACING}, method="m", variant="v", fold=1
    )
    assert table["dice"].tolist() == [1.0] and table["fold"].tolist() == [1]
    probability = np.zeros((1, 2, 2), np.float32)
    probability[0, 0, 0] = 1
    assert (
        on_scan_grid(probability, (4, 4), 0.6)[0].sum() == 3
        and on_scan_grid(probability, (2, 2), 0.99).sum() == 1
    )
    with pytest.raises(DataError, match="slices"):
        measured_volumes(
            {"a": ball()[:3]}, truth, {"a": "p"}, {"a": SPACING}, method="m", variant="v", fold=0
        )
    with pytest.raises(DataError, match="empty"):
        measured_volumes({}, truth, {}, {}, method="m", variant="v", fold=0)


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
    rows = result_table(
        result_rows(volumes(), {"study": "s", "dataset": "d", "seed": 1}, replicates=100)
    )
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
    differences, rows = paired_rows(table, pairs, {"study": "s", "seed": 3}, ("dice",), 200)
    mean = table.groupby("method")["dice"].mean()
    assert differences["difference"].tolist() == pytest.approx(
        [mean[ABLATION[1]] - mean[ABLATION[0]]]
    )
    assert (
        rows[0]["method"] == "resnet_lstm_unet - resnet_unet"
        and rows[0]["metric"] == "dice_difference"
        and rows[0]["seed"] == 3
    )
