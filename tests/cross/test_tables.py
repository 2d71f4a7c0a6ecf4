"""The protocol of notebook 08 on scans whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from ich_study.cross import measure, tables
from ich_study.evaluate.rows import Rows
from ich_study.metrics.overlap import overlap_counts
from ich_study.schema import result_table
from tests.cross.fakes import SquareStore, method


def value(rows, method, metric, unit=None, class_name="any"):
    found = rows[(rows["method"] == method) & (rows["metric"] == metric)]
    found = found[found["class"] == class_name]
    found = found[found["unit"].isna() if unit is None else found["unit"] == unit]
    assert len(found) == 1
    return found["value"].iloc[0]


def test_patients_stand_in_one_fold_each_and_those_with_truth_in_every_fold(study):
    truth = study[0]
    folds = tables.folds_of(truth, 2, seed=0)
    by_patient = pd.Series(folds).groupby(truth.rows["patient_id"].to_numpy())
    assert (by_patient.min() == by_patient.max()).all()
    assert {fold: truth.positive()[folds == fold].any() for fold in (0, 1)} == {0: True, 1: True}


def test_the_seeing_method_wins_and_the_blind_one_does_not(study):
    _, _, rows, _ = study
    assert value(rows, "bright", "dice", "pixel") == pytest.approx(1, abs=0.02)
    assert value(rows, "bright", "dice_at_own_threshold", "pixel") == pytest.approx(1, abs=0.02)
    assert value(rows, "flat", "dice", "pixel") < 0.1
    assert value(rows, "bright", "pointing_game") == 1
    assert value(rows, "bright", "pointing_game", class_name="IPH") == 1
    assert value(rows, "bright", "auroc", "slice") == 1
    assert value(rows, "bright", "point_f1") == 1
    assert value(rows, "bright", "marked_share_of_healthy_brain") == 0
    assert value(rows, "flat", "marked_share_of_healthy_brain") == 1
    assert value(rows, "bright", "sensitivity_at_0.5_false") == 1


def test_volumes_are_of_scans_in_ml(study):
    _, _, rows, _ = study
    assert value(rows, "bright", "volume_bias_ml", "scan") == pytest.approx(0, abs=1e-3)
    whole_head = 6 * 32 * 32 * 0.5 * 0.5 * 5 / 1000
    blood = 2 * 64 * 0.5 * 0.5 * 5 / 1000 * 4 / 5
    assert value(rows, "flat", "volume_bias_ml", "scan") == pytest.approx(whole_head - blood)


def test_a_held_out_threshold_never_comes_from_the_masks_it_scores():
    """Blood is 0.1 on 0 in one fold and 1 on 0.5 in the other: each fold's own best threshold would
    score it well, the other's does not."""
    store = SquareStore()
    truth = store.truth()
    methods = {"it": method("bright")}
    entry = next(measure.measured(methods, store, truth, 4.0, 0))
    folds = tables.folds_of(truth, 2, seed=0)
    maps = entry.heat.read(slice(None)).copy()
    maps[folds == 1] *= 0.1
    maps[folds == 0] = np.maximum(maps[folds == 0], 0.5)
    turned = replace(entry, gated=replace(entry.heat, maps=maps))
    scored = tables.score_all([turned], truth, 2, 0, np.array([0]))["it"]
    assert scored.held_out.by_fold[0].value < 0.11 < 0.5 < scored.held_out.by_fold[1].value
    assert scored.held_out.counts.tp[folds == 1].sum() == 0


@pytest.mark.parametrize(
    ("gate", "dice", "sensitivity"),
    # eight slices hold 64 px of blood, 22 none; without a gate each has 64 px as hot, and a point
    [(0.0, 2 * 8 / (2 * 8 + 22), 0.0), (0.5, 1.0, 1.0)],
)
def test_heat_that_is_scaled_slice_by_slice_is_scored_behind_the_methods_own_gate(
    gate, dice, sensitivity
):
    store = SquareStore()
    truth = store.truth()
    entry = next(measure.measured({"it": method("scaled", gate=gate)}, store, truth, 4.0, 0))
    scored = tables.score_all([entry], truth, 2, 0, np.array([0]))
    rows = result_table(tables.result_rows(scored, truth, Rows("08", "squares", 50, 0)))
    assert value(rows, "it", "dice", "pixel") == pytest.approx(dice)
    assert value(rows, "it", "dice_at_own_threshold", "pixel") == pytest.approx(dice)
    for allowed in ("0.5", "1", "2", "4"):
        assert value(rows, "it", f"sensitivity_at_{allowed}_false") == sensitivity
    # what looks into one slice with blood asks no gate
    assert value(rows, "it", "pointing_game") == value(rows, "it", "auroc", "slice") == 1
    assert scored["it"].shown_heat.max() == 1


def test_counts_at_the_held_out_threshold_are_not_those_at_the_methods_own(study):
    """Its own threshold marks nothing, the held-out one all blood: Dice 0 and 1."""
    truth, scored, _, _ = study
    own = overlap_counts(np.zeros_like(truth.mask()), truth.mask())
    each = {"bright": replace(scored["bright"], own=own)}
    rows = result_table(tables.result_rows(each, truth, Rows("08", "squares", 50, 0)))
    assert value(rows, "bright", "dice_at_own_threshold", "pixel") == 0
    assert value(rows, "bright", "dice", "pixel") == pytest.approx(1, abs=0.02)
    source = rows[rows["metric"] == "dice"]["threshold_source"]
    assert set(source) == {tables.HELD_OUT}


def test_a_scan_of_exactly_one_half_is_called(study):
    truth, scored, _, made = study
    logit = np.where(truth.rows["any"].to_numpy(bool), 0.0, -1.0)
    table = tables.triage({"half": replace(scored["bright"], logit=logit)}, truth, 0.1, made)
    known = table.set_index("metric")["value"]
    # called above one half alone, no scan would be: sensitivity 0
    assert known[["sensitivity", "specificity"]].tolist() == [1, 1]


def test_truth_given_as_heat_is_perfect(study):
    assert tables.perfect_dice(study[0], 2, 0) == 1


def test_tables_to_choose_by(study, cost):
    _, scored, rows, _ = study
    choose = tables.choosing_table(rows, cost)
    assert set(choose["method"]) == set(scored) and choose["method"].iloc[0] == "bright"
    bright = choose[choose["method"] == "bright"]
    assert bright[["milliseconds", "memory_mib"]].to_numpy().tolist() == [[5, 7]]


def test_slices_are_ranked_by_logits_where_probabilities_are_all_one(study):
    truth, scored, _, _ = study
    label = truth.rows["any"].to_numpy(bool)
    logits = 40 + np.random.default_rng(0).normal(size=len(label)) + label
    assert (expit(logits) == 1).all()  # ranked by these, AUROC would be 0.5
    each = {"bright": replace(scored["bright"], logit=logits)}
    rows = result_table(tables.result_rows(each, truth, Rows("08", "squares", 50, 0)))
    expected = roc_auc_score(label, logits)
    assert 0.55 < expected < 1 and value(rows, "bright", "auroc", "slice") == pytest.approx(
        expected
    )


def test_pairs_ranks_sizes_and_triage(study):
    truth, scored, results, made = study
    pairs = tables.all_pairs(made)
    whole = pairs[pairs["class"] == "any"]
    # a rival says no probability, so that its slices are not ranked
    assert whole.groupby("metric").size().to_dict() == {
        "auroc": 1,
        "dice": 10,
        "point_f1": 10,
        "pointing_game": 10,
    }
    assert set(pairs.loc[pairs["metric"] == "pointing_game", "class"]) == {"any", "IPH"}
    for row in pairs[(pairs["first"] == "bright") & (pairs["second"] == "flat")].itertuples():
        unit = {"dice": "pixel", "auroc": "slice"}.get(row.metric)
        both = [
            value(results, name, row.metric, unit, pairs["class"][row.Index])
            for name in ("bright", "flat")
        ]
        assert row.difference == pytest.approx(both[0] - both[1])
    assert (
        whole.query("first == 'bright' and second == 'flat' and metric == 'dice'")[
            "difference"
        ].item()
        > 0.9
    )
    assert (whole["p_corrected"] >= 1 / (made.replicates + 1)).all()
    clear = whole.query("first == 'bright' and second == 'flat'")
    assert (clear["p_corrected"] <= clear["p_holm"] + 1e-9).all()
    standing = tables.standing(pairs).set_index(["metric", "class", "method"]).sort_index()
    dice = standing.loc["dice", "any"]
    assert dice.loc["bright", "better_than"] >= 1 and dice.loc["bright", "worse_than"] == 0
    assert dice["better_than"].sum() == dice["worse_than"].sum()
    assert (dice["compared"] == 4).all()
    order, distance = tables.ranks(scored, truth)
    assert order.index[0] == "bright" and order["bright"] < order["flat"]
    assert distance == pytest.approx(2.728 * np.sqrt(5 * 6 / (6 * 4)), abs=2e-3)
    sizes = tables.by_size(scored, truth, made)
    assert sizes.groupby(["method", "metric"])["slices"].sum().eq(8).all()
    # its rows are no pairs of their own, though their measures are compared
    assert tables.all_pairs(made).equals(pairs)
    room = tables.triage(scored, truth, 0.1, made)
    assert set(room["method"]) == {"bright", "flat"}  # a rival says no probability
    known = room.set_index(["method", "metric"])
    asked = ["sensitivity", "specificity", "ppv", "npv"]
    assert known.loc["bright"].loc[asked, "value"].eq(1).all()
    assert known.loc[("flat", "specificity"), "value"] == 0
    assert known.loc[("flat", "ppv"), "value"] == pytest.approx(0.1)
    # four patients with blood were all called: Clopper and Pearson
    assert known.loc[("bright", "sensitivity"), "ci_low"] == pytest.approx(0.025 ** (1 / 4))
    said = tables.side_by_side(room, ("metric",)).loc[("squares", "bright")]
    assert said["sensitivity"] == "1.00 [0.40, 1.00]" and said["ppv"] == "1.00"
    assert scored["bright"].shown_heat.shape == scored["bright"].shown_mask.shape == (2, 32, 32)
    assert scored["bright"].shown_heat.max() == 1
    cost = tables.cost_table(scored).set_index("method")
    assert cost["rival"].tolist() == [False, False, True, True, True]
    assert cost.loc["bright", "milliseconds"] == 1000 * scored["bright"].seconds > 0


def test_a_standing_counts_clear_differences_on_both_sides():
    rows = [("a", "b", 0.4, 0.01), ("a", "c", 0.2, 0.06), ("b", "c", -0.2, 0.04)]
    pairs = pd.DataFrame(rows, columns=["first", "second", "difference", "p_corrected"])
    found = tables.standing(pairs.assign(**{"metric": "dice", "class": "any"}))
    counted = found.set_index("method")[["better_than", "worse_than", "compared"]]
    assert counted.loc[["a", "b", "c"]].to_numpy().tolist() == [[1, 0, 2], [0, 2, 2], [1, 0, 2]]
