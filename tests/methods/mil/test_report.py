"""Rows, free-response curves and bad input of the point measures."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.slice_position import position_predictions
from ich_study.evaluate.slice_predictions import decided
from ich_study.methods.mil import report
from ich_study.methods.mil.network import ReadyNetwork, create_mil, published_preprocessing
from ich_study.methods.mil.peaks import Detector
from ich_study.methods.mil.report import (
    classifier_rows,
    free_response,
    point_counts_of,
    point_rows,
    point_statistic,
    subtype_rows,
    time_row,
)
from ich_study.metrics.points import point_counts
from ich_study.schema import SUBTYPES, result_table
from tests.methods.mil.fakes import Spikes, blob_store, spiked_maps

TABLE = Rows("s", "fake", replicates=100)
COMMON = {"method": "m", "variant": "printed", "class_name": "any", "subset": "all"}
DETECTOR = Detector(0.2, 0.8, 3, "printed", False)


@pytest.fixture(scope="module")
def maps():
    from tests.methods.mil.fakes import scored_maps

    return scored_maps()


def test_rows_hold_the_sums_of_the_rule_of_the_code(maps):
    peaks = maps.peaks(DETECTOR)
    counts = [point_counts(found.points, boxes) for found, boxes in zip(peaks, maps.boxes)]
    tp, fp, fn = (sum(int(getattr(each, name)) for each in counts) for name in ("tp", "fp", "fn"))
    assert tp and fp and fn
    table = result_table(point_rows(maps, peaks, TABLE, **COMMON)).set_index(["unit", "metric"])[
        "value"
    ]
    assert table["slice", "point_f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert table["slice", "point_ppv"] == pytest.approx(tp / (tp + fp))
    assert table["slice", "point_sensitivity"] == pytest.approx(tp / (tp + fn))
    assert table["scan", "false_points_per_scan"] == pytest.approx(fp / 6)
    assert table["slice", "point_f1_one_to_one"] <= table["slice", "point_f1"]


def test_the_mean_over_patients_is_the_mean_of_their_own_ratios(maps):
    peaks = maps.peaks(DETECTOR)
    counts = point_counts_of(maps, peaks)
    own = []
    for _, places in maps.rows.groupby("patient_id").indices.items():
        part = counts[places].sum()
        own.append(float(part.tp) / float(part.tp + part.fn))
    assert point_statistic(
        counts, maps.rows, "point_sensitivity", "patient"
    ).value() == pytest.approx(np.mean(own))


def test_gating_removes_the_points_of_slices_called_healthy(maps):
    peaks = maps.peaks(replace(DETECTOR, threshold=-np.inf))
    kept = maps.logits >= 0
    assert 0 < kept.sum() < len(kept)
    expected = [
        point_counts(found.points[: len(found.points) * int(keep)], boxes)
        for found, boxes, keep in zip(peaks, maps.boxes, kept)
    ]
    gated = point_counts_of(maps, peaks, kept=kept)
    assert (
        int(gated.fp.sum())
        == sum(int(each.fp) for each in expected)
        < int(point_counts_of(maps, peaks).fp.sum())
    )
    rows = pd.DataFrame(point_rows(maps, peaks, TABLE, gate=0.5, **COMMON))
    assert {"point_f1_gated", "point_ppv_one_to_one_gated", "false_points_per_scan_gated"} <= set(
        rows["metric"]
    )


def test_the_free_response_curve_is_the_detector_at_every_threshold(maps):
    everything = replace(DETECTOR, threshold=-np.inf)
    curve = free_response(maps, maps.peaks(everything))
    assert (
        curve["sensitivity"].is_monotonic_increasing
        and curve["false_points_per_scan"].is_monotonic_increasing
    )
    assert curve.iloc[0][["false_points_per_scan", "sensitivity"]].tolist() == [0, 0]
    for place in (3, len(curve) // 2, len(curve) - 1):
        row = curve.iloc[place]
        just_under = np.nextafter(np.float32(row["threshold"]), np.float32(-np.inf))
        total = point_counts_of(
            maps, maps.peaks(replace(everything, threshold=float(just_under)))
        ).sum()
        assert row["sensitivity"] == pytest.approx(int(total.tp) / int(total.tp + total.fn))
        assert row["false_points_per_scan"] == pytest.approx(int(total.fp) / 6)
    bare = replace(maps, boxes=[np.empty((0, 4))] * len(maps))
    with pytest.raises(StudyError, match="needs boxes"):
        free_response(bare, bare.peaks(everything))


def test_subtypes_without_boxes_have_no_value_and_unnamed_boxes_no_row(maps):
    rows = {
        row["class"]: row["value"]
        for row in subtype_rows(maps, maps.peaks(DETECTOR), TABLE, **COMMON)
    }
    assert set(rows) == set(SUBTYPES)
    assert 0 < rows["IPH"] <= 1 and all(np.isnan(rows[name]) for name in ("IVH", "SAH", "EDH"))
    unnamed = replace(maps, labels=[np.full(len(labels), "any") for labels in maps.labels])
    assert subtype_rows(unnamed, maps.peaks(DETECTOR), TABLE, **COMMON) == []


def test_the_classifier_is_scored_as_scikit_learn_scores_it(maps):
    truth = maps.rows["any"].to_numpy(bool)
    found = classifier_rows(maps, maps.rows, TABLE, **COMMON)
    rows = {row["metric"]: row["value"] for row in found if row["method"] == "m"}
    assert rows["accuracy"] == pytest.approx(accuracy_score(truth, maps.logits > 0))
    assert rows["auroc"] == pytest.approx(roc_auc_score(truth, maps.logits))
    rival = position_predictions(maps.rows, maps.rows, ("any",))
    of_rival = [row["value"] for row in found if row["method"] == "slice_position"]
    assert of_rival == pytest.approx([roc_auc_score(truth, rival["logit"])])
    (difference,) = [row["value"] for row in found if row["metric"] == "auroc_difference"]
    assert difference == pytest.approx(rows["auroc"] - of_rival[0])


def test_the_rival_of_height_learns_from_the_training_part_alone(maps):
    """The other way round: fitted on the slices that it is tested on, the rival would reach 1."""
    turned = maps.rows.assign(any=~maps.rows["any"])
    found = classifier_rows(maps, turned, TABLE, **COMMON)
    assert [row["value"] for row in found if row["method"] == "slice_position"] == [0]


def test_bad_input_is_refused(maps):
    for rows in (maps.rows.assign(any=False), maps.rows.assign(any=pd.NA)):
        with pytest.raises(StudyError, match="needs both kinds"):
            classifier_rows(replace(maps, rows=rows), maps.rows, TABLE, **COMMON)
    with pytest.raises(ValueError, match=r"longer|shorter"):
        point_counts_of(maps, maps.peaks(DETECTOR)[1:])


def test_the_clock_counts_every_patient_once():
    store = blob_store(4)
    ready = ReadyNetwork(create_mil("authors", "max_pooling"), published_preprocessing(32))
    row = time_row(ready, DETECTOR, store, store.index, TABLE, 2, **COMMON)
    assert row["metric"] == "milliseconds" and row["n"] == 4 and 0 < row["value"] < 5000


def test_the_first_scan_of_each_patient_is_timed(monkeypatch):
    store = blob_store(3)
    scans = store.index.assign(patient_id=["p00"] * 16 + ["p02"] * 8)
    seen = []
    monkeypatch.setattr(report, "locate", lambda ready, detector, hu: seen.append(hu))
    ready = ReadyNetwork(create_mil("authors", "max_pooling"), published_preprocessing(32))
    time_row(ready, DETECTOR, store, scans, TABLE, 2, **COMMON)
    first, last = store.volumes["scan-p00"][:2], store.volumes["scan-p02"][:2]
    # the first one warms the machine up
    np.testing.assert_array_equal(seen, [first, first, last])


SPIKE = Detector(0.0, 1.0, 1, "printed", False)
BOX = (3, 3, 3, 1)
"""Three pixels, of which the outer two can both be maxima."""


def values_of(slices, **options):
    maps = spiked_maps(slices)
    rows = point_rows(maps, maps.peaks(SPIKE), TABLE, **options, **COMMON)
    return {row["metric"]: row["value"] for row in rows if row["unit"] in ("slice", "scan")}


def test_the_two_rules_give_two_values():
    # two points in one box: one hit and no false point, or one pair and one point left over
    values = values_of([Spikes("a", [(3, 3, 2.0), (3, 5, 3.0)], [BOX])])
    assert values["point_f1"] == 1 and values["point_f1_one_to_one"] == pytest.approx(2 / 3)
    assert values["point_ppv"] == 1 and values["point_ppv_one_to_one"] == 0.5
    # one point in two boxes: two hits, or one pair and one box left over
    values = values_of([Spikes("a", [(3, 3, 2.0)], [BOX, (2, 2, 4, 4)])])
    assert values["point_sensitivity"] == 1 and values["point_sensitivity_one_to_one"] == 0.5


def test_the_classifier_lets_points_through_and_the_labels_do_not():
    slices = [
        Spikes("a", [(3, 3, 2.0)], [BOX], logit=-1.0, positive=True),
        Spikes("b", [(8, 8, 2.0)], [], logit=1.0, positive=False),
        Spikes("c", [(3, 3, 2.0)], [BOX], logit=0.5, positive=True),
        Spikes("d", [(8, 8, 2.0)], [], logit=-1.0, positive=False),
    ]
    values = values_of(slices, gate=0.5)
    # by the labels the false points would go and F1 be 1
    assert values["point_f1"] == pytest.approx(4 / 6)
    assert values["point_f1_gated"] == pytest.approx(2 / 4)
    assert values["false_points_per_scan"] == 2 / 4
    assert values["false_points_per_scan_gated"] == 1 / 4
    # at 0.7 the third slice (0.62) is gated too
    assert values_of(slices, gate=0.7)["point_f1_gated"] == 0
    assert not any("gated" in name for name in values_of(slices))


def test_a_probability_of_exactly_the_gate_is_a_hemorrhage():
    assert decided(np.array([0.0, -1e-6, 1e-6]), 0.5).tolist() == [True, False, True]
    slices = [Spikes("a", logit=0.0), Spikes("b", logit=-1.0, positive=False)]
    accuracy = classifier_rows(spiked_maps(slices), spiked_maps(slices).rows, TABLE, **COMMON)[0]
    assert accuracy["metric"] == "accuracy" and accuracy["value"] == 1


def test_false_points_are_counted_per_scan():
    slices = [
        Spikes("a", [(8, 8, 2.0)], [BOX], scan="first"),
        Spikes("a", [(8, 8, 2.0)], [], scan="first"),
        Spikes("a", [(8, 8, 2.0)], [], scan="second"),
        Spikes("a", [], [], scan="third"),
    ]
    assert values_of(slices)["false_points_per_scan"] == 1
    maps = spiked_maps(slices)
    curve = free_response(maps, maps.peaks(replace(SPIKE, threshold=-np.inf)))
    assert curve["false_points_per_scan"].tolist()[1] == 1


def test_the_free_response_curve_of_three_heights():
    slices = [
        Spikes("a", [(3, 3, 3.0), (8, 8, 2.0)], [BOX]),
        Spikes("a", [(3, 3, 1.0)], [BOX, (8, 8, 2, 2)]),
    ]
    maps = spiked_maps(slices)
    curve = free_response(maps, maps.peaks(replace(SPIKE, threshold=0.0)))
    assert curve["threshold"].tolist() == [np.inf, 3, 2, 1]
    assert curve["false_points_per_scan"].tolist() == [0, 0, 1, 1]
    assert curve["sensitivity"].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3])
