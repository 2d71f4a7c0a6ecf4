from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.score import score
from ich_study.evaluate.thresholds import Threshold, choose, fixed_threshold
from ich_study.methods.hgi_sam import segmentations
from ich_study.methods.hgi_sam.segmentations import (
    Segmentation,
    ablation_differences,
    box_rows,
    gated_by_classifiers,
    mask_rows,
    pointing_rows,
    pointing_table,
    segmentation_rows,
    segmented,
    supervised,
)
from ich_study.methods.hgi_sam.thresholds import GRID, of_other_folds, rival_heats
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
    logits = np.full(8, -0.5)
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
    called = pd.DataFrame({"class": "any", "logit": [0.5, -0.5, -0.5]})
    calls = dict.fromkeys(("two_outputs", "multi_label", "binary"), called)
    *_, kept = gated_by_classifiers(dict.fromkeys(SCORES, original), calls)
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


class Staged(ArrayHeat):
    """Heat of 0.5 over `columns` of the truth's five, and of 0.2 over `faint` more."""

    def __init__(self, method, columns, variant="printed", layer=None, brain=True, faint=0):
        maps = np.zeros(MASKS.shape, np.float32)
        maps[:, 2:6, 2 : 2 + columns + faint] = 0.2
        maps[:, 2:6, 2 : 2 + columns] = 0.5
        super().__init__(method, variant, layer, ("any",), maps[:, None])
        object.__setattr__(self, "brain", brain or None)

    def masks(self, index, thresholds):
        return self.read(index)[:, 0] >= thresholds[index][:, None, None]


METHODS = dict(zip(SCORES, (1, 2, 3, 4)))
"""Columns that each method covers."""
SETTINGS = [
    ("swin_hgi_sam", "0-2", 4, True),
    ("swin_hgi_sam", "0-3", 3, True),
    ("swin_hgi_sam", None, 2, False),
    ("swin_sam_binary", "0-2", 1, True),
]
"""Columns that each ablation covers: method, layer, columns, brain."""


@pytest.fixture
def ablated(monkeypatch):
    """`ablations` of heat with some faint columns are those of SETTINGS."""

    def vary(faint=0):
        made = [
            Staged(name, columns, layer=layer, brain=brain, faint=faint)
            for name, layer, columns, brain in SETTINGS
        ]
        monkeypatch.setattr(segmentations, "ablations", lambda methods: made)

    return vary


def test_every_mask_of_the_study_has_its_rows(ablated):
    ablated()
    folds, methods, staged = replace(TRUTH, rows=INDEX.assign(fold=FOLDS)), METHODS, Staged
    heats = {
        "printed": {name: staged(name, columns) for name, columns in methods.items()},
        "authors": {name: staged(name, 5, "authors") for name in methods},
    }
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
        (name, "printed", layer, brain, "masks-validation"): of[columns]
        for name, layer, columns, brain in SETTINGS
    }
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
    assert [row["value"] for row in differences] == pytest.approx([of[4] - of[3], of[4] - of[2]])


def test_ablations_subtract_the_second_setting_from_the_first():
    every = [
        of_dice(60),
        of_dice(30, layer="0-3"),
        of_dice(60, layer="0-2"),
        of_dice(75, brain=False),
        replace(of_dice(40, source="labels"), variant="norm_of_head"),
    ]
    found = ablation_differences(every, INDEX, ROWS)
    settings = [("0-2", True), (None, True), (None, True)]
    assert [(row["layer"], row["brain_mask"]) for row in found] == settings
    assert [row["value"] for row in found] == pytest.approx([0.30, -0.15, 0.20])
    assert found[-1]["method"] == "swin_hgi_sam - swin_hgi_sam norm_of_head"
    named = {(row["metric"], row["unit"], row["subset"], row["class"]) for row in found}
    assert named == {("dice_difference", "slice", "positive", "any")}
    assert {row["threshold_source"] for row in found} == {"masks-validation"}


def boxed(boxes):
    """The truth as boxes, a patient a slice."""
    index = INDEX.assign(fold=FOLDS, patient_id=[f"p{number}" for number in range(8)])
    return replace(TRUTH, rows=index, kind="boxes", codes=None, annotated=boxes)


def test_boxes_are_scored_at_both_thresholds_and_judge_what_section_6_varies(ablated):
    ablated(faint=1)
    empty = np.zeros((0, 4))
    truth = boxed([np.array([[2.0, 2.0, 5.0, 4.0]]) if mask.any() else empty for mask in MASKS])
    heats = {"printed": {name: Staged(name, count, faint=1) for name, count in METHODS.items()}}
    scores = {name: score(heat, truth, GRID) for name, heat in heats["printed"].items()}
    otsu = Threshold(0.3, "labels", "Otsu")
    free = {name: choose(each, "labels", given=otsu) for name, each in scores.items()}
    tuned = {name: of_other_folds(each, FOLDS) for name, each in scores.items()}
    rows = Rows("04_swin_hgi_sam", "fake", 20)
    rivals = [heat_of(Staged("", 0, faint=2).read(slice(None)), "random_map")]
    found = box_rows(heats, "printed", (free, tuned), rivals, truth, rows)
    names = ("method", "layer", "brain_mask", "threshold_source", "unit")
    dice, iou, precision = (
        {tuple(row[name] for name in names): row["value"] for row in found if row["metric"] == each}
        for each in ("box_dice", "box_iou", "box_precision")
    )
    # only thresholds that saw boxes reach the faint column
    covered = {(name, None, True, "labels"): columns for name, columns in METHODS.items()}
    by_fold = [(name, None, columns, True) for name, columns in METHODS.items()] + SETTINGS
    for name, layer, columns, brain in by_fold:
        covered[name, layer, brain, "masks-validation"] = columns + 1
    # a rival is tuned like the methods, and Otsu's cut is not asked of it
    covered["random_map", None, True, "masks-validation"] = 2
    units = [((*key, unit), n) for key, n in covered.items() for unit in ("slice", "pixel")]
    assert dice == pytest.approx({key: 2 * columns / (5 + columns) for key, columns in units})
    assert iou == pytest.approx({key: columns / 5 for key, columns in units})
    assert precision == pytest.approx(dict.fromkeys(dice, 1.0))
    twins = load_claims().query("claim_id in ['hgi-13', 'hgi-14', 'hgi-18', 'hgi-19']")
    results = with_claimed(found, rows)
    pairs = results[results["metric"] == "box_dice_difference"]
    settings = pairs[["layer", "brain_mask", "threshold_source"]].astype(str)
    named = settings.apply(lambda column: column.str.contains(" - ")).sum()
    assert named.tolist() == [2, 1, 3]  # stages of two methods; brain; Otsu of three methods
    judged = verdicts(results, twins)
    assert judged["verdict_boxes"].tolist() == ["supported"] * 4
    assert set(judged["verdict"]) == {"not measured"}
    with pytest.raises(DataError, match="has a box"):
        box_rows({}, "printed", (), (), boxed([empty] * 8), ROWS)


def test_against_boxes_a_rival_that_sees_blood_is_right_and_noise_is_wrong(monkeypatch):
    monkeypatch.setattr(segmentations, "ablations", lambda methods: [])
    empty, masks = np.zeros((0, 4)), np.zeros((8, 40, 40), bool)
    masks[:6, 4:14, 5:20] = True
    whole = truth_of(masks, [f"p{number}" for number in range(8)])
    boxes = [np.array([[5.0, 4.0, 15.0, 10.0]]) if mask.any() else empty for mask in masks]
    rows_of = whole.rows.assign(fold=FOLDS)
    truth = replace(whole, rows=rows_of, kind="boxes", codes=None, annotated=boxes)
    rivals = rival_heats(truth, seed=1)
    table = result_table(box_rows({"printed": {}}, "authors", (), rivals, truth, ROWS))
    assert set(table["variant"]) == {"authors"} and table["brain_mask"].all()
    assert set(table["threshold_source"]) == {"masks-validation"}
    dice = table.query("metric == 'box_dice' and unit == 'slice'").set_index("method")["value"]
    assert list(dice.index) == ["hu_threshold", "centred_blob", "random_map"]
    assert dice["hu_threshold"] > 0.9 > 0.5 > dice.drop("hu_threshold").max()
    other = rival_heats(truth, seed=2)
    again = result_table(box_rows({"printed": {}}, "authors", (), other, truth, ROWS))
    changed = again.set_index(["method", "metric", "unit"])["value"].ne(
        table.set_index(["method", "metric", "unit"])["value"]
    )
    assert set(changed[changed].index.get_level_values("method")) == {"random_map"}


def test_the_gain_over_a_random_map_is_hgi_sam_minus_the_map():
    by_hand = {
        name: replace(SCORES["swin_hgi_sam"], name=name, pointing=np.array(values, float))
        for name, values in (
            ("swin_hgi_sam", [1, 1, 1, np.nan, 1, 1, 0, np.nan]),
            ("random_map", [0, 1, 0, np.nan, 0, 0, 0, np.nan]),
        )
    }
    rivals = {"random_map": by_hand.pop("random_map")}
    rows = pointing_table(by_hand, rivals, {}, TRUTH, ROWS, "norm_of_head")
    (gain,) = (row for row in rows if row["metric"] == "pointing_game_difference")
    # turned round, it would be -4/6
    assert gain["method"] == "swin_hgi_sam - random_map" and gain["value"] == pytest.approx(4 / 6)


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
