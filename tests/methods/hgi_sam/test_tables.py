import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ich_study.errors import DataError
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.thresholds import Choice, fixed_threshold
from ich_study.methods.hgi_sam import tables
from ich_study.methods.hgi_sam.segmentations import Segmentation
from ich_study.metrics.overlap import Counts, dice, iou
from ich_study.schema import result_table

RNG = np.random.default_rng(3)
ROWS = pd.DataFrame(
    {
        "patient_id": np.repeat([f"p{n}" for n in range(8)], 6),
        "scan_id": np.repeat([f"s{n}" for n in range(8)], 6),
        "slice_index": list(range(6)) * 8,
        "fold": np.repeat([0, 1], 24),
        "any": pd.array(RNG.random(48) < 0.6, dtype="boolean"),
    }
)
POSITIVE = ROWS["any"].to_numpy(bool)


def counts(quality):
    size = np.where(POSITIVE, 100, 0)
    tp = (
        np.where(POSITIVE, np.clip(RNG.normal(100 * quality, 8, 48), 1, 100), 0).round().astype(int)
    )
    return Counts(tp, RNG.integers(5, 30, 48), size - tp)


COUNTS = {
    "swin_grad_cam": counts(0.2),
    "swin_sam_multi_label": counts(0.35),
    "swin_sam_binary": counts(0.5),
    "swin_hgi_sam": counts(0.75),
    "unet": counts(0.74),
}


def test_table_1_is_mean_and_standard_error_over_positive_slices():
    table = tables.table_1(COUNTS, ROWS).set_index(["fold", "method", "metric"])
    for fold, part in (
        ("0", ROWS["fold"] == 0),
        ("1", ROWS["fold"] == 1),
        ("overall", ROWS["fold"] >= 0),
    ):
        chosen = POSITIVE & part.to_numpy()
        for metric, measure in (("dice", dice), ("iou", iou)):
            values = measure(COUNTS["unet"][chosen])
            row = table.loc[(fold, "unet", metric)]
            expected = {"mean": values.mean(), "se": stats.sem(values), "slices": chosen.sum()}
            assert row.astype(float).to_dict() == pytest.approx(expected)
    printed = tables.as_printed(tables.table_1(COUNTS, ROWS), "dice", COUNTS)
    assert (
        list(printed.columns) == list(COUNTS)
        and list(printed.index) == ["0", "1", "overall"]
        and " ± " in printed.iloc[0, 0]
    )


def test_positive_slices_whose_mask_left_the_crop_do_not_count():
    lost = Counts(
        *(
            np.where(np.arange(48) == np.flatnonzero(POSITIVE)[0], 0, part)
            for part in vars(COUNTS["unet"]).values()
        )
    )
    table = tables.table_1({"unet": lost}, ROWS)
    assert (
        int(table.query("fold == 'overall' and metric == 'dice'")["slices"].iloc[0])
        == POSITIVE.sum() - 1
    )


def test_the_papers_t_test_and_the_patients_stand_side_by_side():
    table = tables.significance_table(COUNTS, ROWS, 400)
    against = table[table["family"] == "HGI-SAM against"].set_index("second")
    values = {name: dice(found[POSITIVE]) for name, found in COUNTS.items()}
    for name in ("swin_grad_cam", "unet"):
        oracle = stats.ttest_rel(values["swin_hgi_sam"], values[name])
        assert against.loc[name, "p_slices"] == pytest.approx(oracle.pvalue)
        per_patient = [
            pd.Series(values[each]).groupby(ROWS["patient_id"][POSITIVE].to_numpy()).mean()
            for each in ("swin_hgi_sam", name)
        ]
        assert against.loc[name, "p_patients"] == pytest.approx(
            stats.ttest_rel(*per_patient).pvalue
        )
    assert (against["p_patients_holm"] >= against["p_patients"]).all()
    assert against.loc["unet", "p_holm"] > 0.05 > against.loc["swin_grad_cam", "p_holm"]
    order = table[table["family"] == "order"]
    assert list(zip(order["second"], order["first"])) == [
        ("swin_grad_cam", "swin_sam_multi_label"),
        ("swin_sam_multi_label", "swin_sam_binary"),
        ("swin_sam_binary", "swin_hgi_sam"),
    ]
    assert tables.order_line(table).count("holds") == 3
    reversed_ = {
        **COUNTS,
        "swin_sam_binary": COUNTS["swin_grad_cam"],
        "swin_grad_cam": COUNTS["swin_sam_binary"],
    }
    assert "Swin-Grad-CAM < Swin-SAM multi-label is reversed" in tables.order_line(
        tables.significance_table(reversed_, ROWS, 400)
    )


def test_what_the_paper_prints_beside_the_means_is_in_the_results():
    made = {
        name: Segmentation(name, found, "masks-validation", True) for name, found in COUNTS.items()
    }
    table, significance = tables.table_1(COUNTS, ROWS), tables.significance_table(COUNTS, ROWS, 50)
    by_fold = {0: fixed_threshold(0.1), 1: fixed_threshold(0.3)}
    choice = Choice("masks-validation", by_fold, np.zeros(48), COUNTS["swin_hgi_sam"])
    chosen = {"swin_hgi_sam": choice}
    rows = Rows("04_swin_hgi_sam", "physionet", 20)
    found = result_table(tables.printed_rows(made, table, significance, chosen, ROWS, rows))
    own = found[found["method"] == "swin_grad_cam"].set_index(["dataset", "metric"])["value"]
    values = dice(COUNTS["swin_grad_cam"][POSITIVE])
    first = (ROWS["fold"] == 0).to_numpy()[POSITIVE]
    assert own["physionet", "dice_se"] == pytest.approx(stats.sem(values))
    assert own["physionet/fold_1", "dice"] == pytest.approx(values[first].mean())
    assert own["physionet/fold_2", "dice_se"] == pytest.approx(stats.sem(values[~first]))
    test = stats.ttest_rel(dice(COUNTS["swin_hgi_sam"][POSITIVE]), values)
    assert own["physionet", "p_value"] == pytest.approx(test.pvalue)
    threshold = found[found["metric"] == "map_threshold"]
    assert threshold[["method", "value"]].to_numpy().tolist() == [["swin_hgi_sam", 0.2]]
    # no fold's number is a second one of the whole
    whole = found[(found["dataset"] == "physionet") & found["metric"].isin(["dice", "iou"])]
    assert whole.empty


def test_a_fold_has_an_interval_over_its_own_patients():
    made = {
        name: Segmentation(name, found, "masks-validation", True) for name, found in COUNTS.items()
    }
    table, significance = tables.table_1(COUNTS, ROWS), tables.significance_table(COUNTS, ROWS, 50)
    choice = Choice("masks-validation", {0: fixed_threshold(0.1)}, np.zeros(48), COUNTS["unet"])
    beside = table, significance, {"unet": choice}
    rows = Rows("04_swin_hgi_sam", "physionet", 200)
    found = result_table(tables.printed_rows(made, *beside, ROWS, rows))
    for fold, part in ROWS[POSITIVE].groupby("fold"):
        own = found[found["dataset"] == f"physionet/fold_{fold + 1}"]
        assert (own["n"] == part["patient_id"].nunique()).all()
        assert part["patient_id"].nunique() < len(part)
        measured = own[own["metric"].isin(["dice", "iou"])]
        assert len(measured) == 2 * len(COUNTS)
        assert (measured["interval"] == "bootstrap").all()
        assert measured["value"].between(measured["ci_low"], measured["ci_high"]).all()
    everyone = ROWS.loc[POSITIVE, "patient_id"].nunique()
    assert set(found.loc[found["metric"] == "p_value", "n"]) == {everyone}
    assert set(found.loc[found["metric"] == "map_threshold", "n"]) == {ROWS["patient_id"].nunique()}
    # a fold of one patient has no spread between patients, and one without hemorrhage no value
    alone = ROWS.assign(fold=np.where(ROWS["patient_id"] == ROWS["patient_id"][0], 1, 0))
    beside = tables.table_1(COUNTS, alone), significance, {}
    found = result_table(tables.printed_rows(made, *beside, alone, rows))
    of_one = found[(found["dataset"] == "physionet/fold_2") & (found["metric"] == "dice")]
    assert (of_one["n"] == 1).all() and of_one["ci_low"].isna().all()
    assert of_one["interval"].str.contains("one patient").all() and of_one["value"].notna().all()
    empty = ROWS.assign(fold=np.where(POSITIVE, 0, 1))
    beside = tables.table_1(COUNTS, empty), significance, {}
    found = result_table(tables.printed_rows(made, *beside, empty, rows))
    of_none = found[(found["dataset"] == "physionet/fold_2") & (found["metric"] == "dice")]
    assert of_none["value"].isna().all() and (of_none["n"] == 0).all()
    assert of_none["interval"].str.contains("no slice").all()


FLAT_ROWS = ROWS.assign(any=pd.array([True] * 48, dtype="boolean"))
FLAT = {"swin_grad_cam": 25, "swin_sam_multi_label": 40, "swin_sam_binary": 50, "swin_hgi_sam": 60}
"""True positives of 100 pixels found and 100 there, in every slice: Dice and precision are tp %."""


def flat_counts(tp):
    return Counts(*(np.full(48, part) for part in (tp, 100 - tp, 100 - tp)))


def test_significance_subtracts_the_other_method_from_hgi_sam_and_the_worse_from_the_better():
    table = tables.significance_table(
        {name: flat_counts(tp) for name, tp in FLAT.items()}, FLAT_ROWS, 20
    )
    found = table.set_index(["family", "first", "second"])["difference"].to_dict()
    assert found == pytest.approx(
        {
            ("HGI-SAM against", "swin_hgi_sam", "swin_grad_cam"): 0.35,
            ("HGI-SAM against", "swin_hgi_sam", "swin_sam_multi_label"): 0.20,
            ("HGI-SAM against", "swin_hgi_sam", "swin_sam_binary"): 0.10,
            ("order", "swin_sam_multi_label", "swin_grad_cam"): 0.15,
            ("order", "swin_sam_binary", "swin_sam_multi_label"): 0.10,
            ("order", "swin_hgi_sam", "swin_sam_binary"): 0.10,
        }
    )


def test_the_order_is_open_where_the_interval_reaches_zero():
    row = {"family": "order", "first": "a", "second": "b", "difference": 0.1}
    ends = [(0.0, 0.2), (0.01, 0.2), (-0.2, 0.0), (-0.2, -0.01)]
    table = pd.DataFrame([{**row, "ci_low": low, "ci_high": high} for low, high in ends])
    verdicts_ = [line.split(":")[0] for line in tables.order_line(table).split("\n")]
    assert verdicts_ == ["b < a is open", "b < a holds", "b < a is open", "b < a is reversed"]


def test_a_test_set_without_positives_is_refused():
    rows = ROWS.assign(any=pd.array([False] * 48, dtype="boolean"))
    with pytest.raises(DataError, match="labelled positive"):
        tables.table_1(COUNTS, rows)


def test_the_readings_stand_side_by_side():
    table = tables.readings_table()
    assert table.loc["gradient", ["printed", "authors"]].tolist() == ["attention", "scores"]
    assert table.loc["layer_minmax", ["printed", "authors"]].tolist() == [False, True]
    assert table.loc["thresholds tried", ["printed", "authors"]].tolist() == [
        "101 from 0 to 1",
        "50 from 0.01 to 0.99",
    ]
    assert table.loc["smallest mask", ["printed", "authors"]].tolist() == [10, 11]
