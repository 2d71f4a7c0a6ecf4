from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.score import score
from ich_study.evaluate.thresholds import Choice, Threshold, choose, fixed_threshold
from ich_study.methods.hgi_sam import segmentations
from ich_study.methods.hgi_sam.segmentations import (
    Segmentation,
    ablation_differences,
    box_rows,
    gated,
    gated_by_classifiers,
    mask_rows,
    pointing_rows,
    segmentation_rows,
    segmented,
    setting_difference,
    supervised,
)
from ich_study.methods.hgi_sam.thresholds import GRID, of_other_folds
from ich_study.metrics.overlap import Counts
from ich_study.published.claimed import with_claimed
from ich_study.published.claims import load_claims, verdicts
from ich_study.schema import result_table
from tests.evaluate.fakes import heat_of, truth_of

FOLDS = np.repeat([0, 1], 4)
MASKS = np.zeros((8, 12, 12), bool)
MASKS[[0, 1, 2, 4, 5, 6], 2:6, 2:7] = True
"""20 pixels in every positive slice."""
TRUTH = truth_of(MASKS, np.repeat(["p0", "p1", "p2", "p3"], 2))
INDEX = TRUTH.rows
ROWS = Rows("04_swin_hgi_sam", "fake", 20)


def scores_of(method, columns, variant="printed", layer=None):
    """Heat over `columns` of the truth's five: 0.8 in the first fold, 0.4 in the second."""
    maps = np.zeros(MASKS.shape, np.float32)
    maps[:4, 2:6, 2 : 2 + columns], maps[4:, 2:6, 2 : 2 + columns] = 0.8, 0.4
    heat = replace(heat_of(maps, method), variant=variant, layer=layer)
    return score(heat, TRUTH, GRID)


SCORES = {
    "swin_grad_cam": scores_of("swin_grad_cam", 1),
    "swin_sam_multi_label": scores_of("swin_sam_multi_label", 2),
    "swin_sam_binary": scores_of("swin_sam_binary", 3),
    "swin_hgi_sam": scores_of("swin_hgi_sam", 4, layer="0-2"),
}
FREE = {
    "swin_grad_cam": Threshold(0.5, "labels", "Otsu"),
    "swin_sam_multi_label": Threshold(0.4, "labels", "Otsu"),
    "swin_sam_binary": Threshold(0.41, "labels", "Otsu"),
    "swin_hgi_sam": fixed_threshold(0.9),
}


def of_dice(percent, method="swin_hgi_sam", source="masks-validation", brain=True, layer=None):
    """Dice and precision of `percent` in every slice."""
    counts = Counts(*(np.full(8, part) for part in (percent, 100 - percent, 100 - percent)))
    return Segmentation(method, counts, source, brain, layer=layer)


def predicted(*positive):
    """Predictions of a classifier that calls these slices positive."""
    logits = np.zeros(8)
    logits[list(positive)] = 0.5
    return pd.DataFrame({"class": "any", "label": INDEX["any"], "logit": logits})


def test_masks_are_named_by_what_they_are_and_where_their_threshold_came_from():
    headline = {name: segmented(each, of_other_folds(each, FOLDS)) for name, each in SCORES.items()}
    assert headline["swin_hgi_sam"].columns == {
        "method": "swin_hgi_sam",
        "threshold_source": "masks-validation",
        "brain_mask": True,
        "variant": "printed",
        "layer": "0-2",
    }
    # at the other fold's threshold, the lowest of the best, all columns of heat are found
    found = {name: each.counts.tp[[0, 3, 4]].tolist() for name, each in headline.items()}
    assert found == {
        "swin_grad_cam": [4, 0, 4],
        "swin_sam_multi_label": [8, 0, 8],
        "swin_sam_binary": [12, 0, 12],
        "swin_hgi_sam": [16, 0, 16],
    }
    choices = {
        name: choose(each, FREE[name].source, given=FREE[name]) for name, each in SCORES.items()
    }
    free = {name: segmented(SCORES[name], choice) for name, choice in choices.items()}
    # heat of the second fold is 0.4, and 0.4 itself is in
    assert {name: each.counts.tp[[0, 4]].tolist() for name, each in free.items()} == {
        "swin_grad_cam": [4, 0],
        "swin_sam_multi_label": [8, 8],
        "swin_sam_binary": [12, 0],
        "swin_hgi_sam": [0, 0],
    }
    assert [each.threshold_source for each in free.values()] == ["labels"] * 3 + ["none"]


def test_gating_empties_slices_called_negative_and_what_they_hold_is_missed():
    counts = Counts(np.array([4, 5, 0]), np.array([1, 2, 3]), np.array([6, 7, 0]))
    original = Segmentation("swin_hgi_sam", counts, "labels", True, "authors", "0-2")
    kept = gated(original, np.array([True, False, False]))
    assert [part.tolist() for part in vars(kept.counts).values()] == [
        [4, 0, 0],
        [1, 0, 0],
        [6, 12, 0],
    ]
    assert kept.columns == {**original.columns, "method": "swin_hgi_sam_gated"}


def test_a_method_is_gated_by_the_classifier_that_it_explains_and_not_by_the_truth():
    predictions = {
        "two_outputs": predicted(0, 3),
        "multi_label": predicted(1),
        "binary": predicted(2, 7),
    }
    segmentations = {name: of_dice(60, name) for name in SCORES}
    found = gated_by_classifiers(segmentations, predictions)
    assert {each.method: np.flatnonzero(each.counts.tp).tolist() for each in found} == {
        "swin_grad_cam_gated": [0, 3],
        "swin_sam_multi_label_gated": [1],
        "swin_sam_binary_gated": [2, 7],
        "swin_hgi_sam_gated": [0, 3],
    }


def test_supervised_masks_carry_no_threshold_and_no_brain():
    masks = MASKS.copy()
    masks[0, 2], masks[0, 7, :3] = False, True
    found = supervised("unet", masks, TRUTH, "printed")
    assert (found.threshold_source, found.brain_mask) == ("none", False)
    assert [part[[0, 1, 3]].tolist() for part in vars(found.counts).values()] == [
        [15, 20, 0],
        [3, 0, 0],
        [5, 0, 0],
    ]


def test_rows_are_of_positive_slices_and_of_all():
    counts = Counts(*(np.array(part) for part in ([9, 9, 9, 0] * 2, [1, 1, 1, 60] * 2, [0] * 8)))
    found = segmentation_rows([Segmentation("unet", counts, "none", False)], INDEX, ROWS)
    dice = {(row["subset"], row["unit"]): row["value"] for row in found if row["metric"] == "dice"}
    # slices 3 and 7 are healthy; scans are pairs of slices
    assert dice == pytest.approx(
        {
            ("positive", "slice"): 18 / 19,
            ("positive", "pixel"): 18 / 19,
            ("all", "pixel"): 108 / (108 + 126),
            ("all", "scan"): (18 / 19 + 18 / (18 + 61)) / 2,
        }
    )
    table = result_table(found)
    assert len(table) == 16 and set(table["class"]) == {"any"}
    with pytest.raises(DataError, match="labelled positive"):
        segmentation_rows([], INDEX.assign(any=False), ROWS)


def test_a_difference_is_the_first_setting_minus_the_second():
    methods = [of_dice(40, "swin_sam_multi_label", "labels"), of_dice(60, "swin_hgi_sam")]
    row = setting_difference(*methods, INDEX, ROWS)
    assert row["method"] == "swin_sam_multi_label - swin_hgi_sam"
    assert (row["value"], row["threshold_source"]) == (pytest.approx(-0.20), "labels")
    assert (row["unit"], row["subset"], row["class"]) == ("slice", "positive", "any")


def test_the_differences_decide_the_claims_of_the_paper():
    methods = [
        of_dice(percent, name)
        for name, percent in {
            "swin_grad_cam": 20,
            "swin_sam_multi_label": 35,
            "swin_sam_binary": 50,
            "swin_hgi_sam": 75,
            "unet": 74,
        }.items()
    ]
    rows, patients = Rows("04_swin_hgi_sam", "physionet", 20), [f"p{number}" for number in range(8)]
    index = INDEX.assign(patient_id=patients)
    found = segmentation_rows(methods, index, rows)
    results = with_claimed(found, rows)
    claims = load_claims()
    wanted = claims[claims["claim_id"].isin(["hgi-04", "hgi-05", "hgi-07", "hgi-15"])]
    assert verdicts(results, wanted)["verdict"].tolist() == ["supported"] * 4


def test_every_mask_of_the_study_has_its_rows(monkeypatch):
    folds = replace(TRUTH, rows=INDEX.assign(fold=FOLDS))

    def staged(method, columns, variant="printed", layer=None, brain=True):
        maps = np.zeros(MASKS.shape, np.float32)
        maps[:, 2:6, 2 : 2 + columns] = 0.5
        heat = replace(heat_of(maps, method), variant=variant, layer=layer)
        object.__setattr__(heat, "brain", brain or None)
        return heat

    # columns of the truth's five that each heat covers, by method and setting
    methods = dict(zip(SCORES, (1, 2, 3, 4)))
    heats = {
        "printed": {name: staged(name, columns) for name, columns in methods.items()},
        "authors": {name: staged(name, 5, "authors") for name in methods},
    }
    settings = [("0-2", 4, True), ("0-3", 3, True), (None, 5, False)]
    monkeypatch.setattr(
        segmentations,
        "ablations",
        lambda heat: [
            staged(heat.name, count, layer=layer, brain=brain) for layer, count, brain in settings
        ],
    )
    monkeypatch.setattr(
        segmentations, "first_stages", lambda heat: staged(heat.name, 1, layer="0-2")
    )
    scores = {name: score(heat, folds, GRID) for name, heat in heats["printed"].items()}
    headline = {name: segmented(each, of_other_folds(each, FOLDS)) for name, each in scores.items()}
    headline["unet"] = supervised("unet", MASKS, folds, "printed")
    free = {
        name: choose(each, "labels", given=Threshold(0.6, "labels", "Otsu"))
        for name, each in scores.items()
    }
    rivals = {"random_map": score(staged("random_map", 2), folds, GRID)}
    predictions = dict.fromkeys(("two_outputs", "multi_label", "binary"), predicted(0, 1, 2))
    found = mask_rows(headline, heats, scores, free, rivals, predictions, folds, ROWS)
    names = ("method", "variant", "layer", "brain_mask", "threshold_source")
    dice = {
        tuple(row[name] for name in names): row["value"]
        for row in found
        if (row["metric"], row["unit"], row["subset"]) == ("dice", "pixel", "positive")
    }
    of = {columns: 2 * columns / (5 + columns) for columns in range(6)}
    tuned = (None, True, "masks-validation")
    expected = {(name, "printed", *tuned): of[columns] for name, columns in methods.items()}
    expected |= {("unet", "printed", None, False, "none"): 1.0}
    expected |= {(name, "authors", *tuned): 1.0 for name in methods}
    expected |= {
        ("swin_hgi_sam", "printed", layer, brain, "masks-validation"): of[columns]
        for layer, columns, brain in settings
    }
    expected |= {("swin_sam_binary", "printed", "0-2", True, "masks-validation"): of[1]}
    expected |= {(name, "printed", None, True, "labels"): 0.0 for name in methods}
    expected |= {("random_map", "printed", *tuned): of[2]}
    # half of the positive slices pass the classifier
    expected |= {
        (f"{name}_gated", "printed", *tuned): 2 * columns / (10 + columns)
        for name, columns in methods.items()
    }
    assert dice == pytest.approx(expected)
    differences = [row for row in found if row["method"] == "swin_hgi_sam - swin_hgi_sam"]
    assert [row["layer"] for row in differences] == ["0-2", None]
    assert [row["value"] for row in differences] == pytest.approx([of[4] - of[3], of[4] - of[5]])


def test_ablations_subtract_the_second_setting_from_the_first():
    every = [
        of_dice(60),
        of_dice(30, layer="0-3"),
        of_dice(60, layer="0-2"),
        of_dice(75, brain=False),
    ]
    found = ablation_differences(every, INDEX, ROWS)
    assert [(row["layer"], row["brain_mask"]) for row in found] == [("0-2", True), (None, True)]
    assert [row["value"] for row in found] == pytest.approx([0.30, -0.15])
    assert {row["metric"] for row in found} == {"dice_difference"}


def test_boxes_are_scored_at_the_threshold_without_masks():
    boxes = [np.array([[2.0, 2.0, 5.0, 4.0]]) if mask.any() else np.zeros((0, 4)) for mask in MASKS]
    truth = replace(TRUTH, kind="boxes", codes=None, annotated=boxes)
    heat = SimpleNamespace(
        variant="printed",
        masks=lambda index, thresholds: (
            MASKS[index] & (np.arange(12) < 6) & (thresholds[index][:, None, None] <= 0.3)
        ),
    )
    choices = {"swin_hgi_sam": Choice("labels", {}, np.full(8, 0.3), None)}
    found = box_rows({"swin_hgi_sam": heat}, choices, truth, ROWS)
    # the mask's box holds four of the five columns of the truth's
    assert {(row["metric"], row["unit"]): row["value"] for row in found} == pytest.approx(
        {
            ("box_dice", "slice"): 8 / 9,
            ("box_iou", "slice"): 4 / 5,
            ("box_dice", "pixel"): 8 / 9,
            ("box_iou", "pixel"): 4 / 5,
            ("box_precision", "slice"): 1,
            ("box_precision", "pixel"): 1,
        }
    )
    assert {(row["threshold_source"], row["brain_mask"]) for row in found} == {("labels", True)}
    with pytest.raises(DataError, match="has a box"):
        box_rows({}, {}, replace(truth, annotated=[np.zeros((0, 4))] * 8), ROWS)


def test_pointing_and_mass_are_means_over_slices_with_truth():
    nan = np.nan
    scores = replace(
        SCORES["swin_hgi_sam"],
        pointing=np.array([1, 1, 0, nan, 0, 1, 1, nan]),
        mass=np.array([0.2, 0.4, 0.3, nan, 0.3, 0.3, 0.3, nan]),
    )
    found = pointing_rows([scores], ROWS, "authors")
    assert [(row["metric"], row["subset"], row["threshold_source"]) for row in found] == [
        ("pointing_game", "positive", "none"),
        ("mass_inside", "positive", "none"),
    ]
    assert [row["value"] for row in found] == pytest.approx([4 / 6, 0.3])
    assert {row["variant"] for row in found} == {"authors"}
