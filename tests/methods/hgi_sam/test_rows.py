from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.evaluate.thresholds import Threshold, fixed_threshold
from ich_study.methods.hgi_sam.report import Segmentation
from ich_study.methods.hgi_sam.rows import (
    ablation_differences,
    box_rows,
    gated,
    mask_free_segmentations,
    mask_rows,
    pointing_rows,
    supervised_segmentations,
)
from ich_study.methods.hgi_sam.scores import MapScores, score_maps
from ich_study.methods.hgi_sam.study import WeakMethod, chosen
from ich_study.metrics.overlap import Counts

ROWS = pd.DataFrame(
    {
        "patient_id": np.repeat(["p0", "p1", "p2", "p3"], 2),
        "scan_id": np.repeat(["s0", "s1", "s2", "s3"], 2),
        "slice_index": [0, 1] * 4,
        "fold": np.repeat([0, 1], 4),
        "any": pd.array([True, True, True, False] * 2, dtype="boolean"),
    }
)
COMMON = {"study": "04_swin_hgi_sam", "dataset": "fake", "class": "any"}
TRUTH = np.zeros((8, 12, 12), bool)
TRUTH[ROWS["any"].to_numpy(bool), 2:6, 2:7] = True
"""20 pixels in every positive slice."""
BRAIN = np.ones(TRUTH.shape, bool)
BRAIN[:, :, 6:] = False


class Maps(SimpleNamespace):
    """Heat of the given columns, at one level in the first fold and another in the second."""

    def read(self, places, brain=None):
        heat = np.zeros(TRUTH.shape, np.float32)
        heat[:4, 2:6, self.columns], heat[4:, 2:6, self.columns] = self.levels
        return heat[places] if brain is None else heat[places] * brain


def weak(method, last, variant="printed", brain_mask=True, layer=None):
    """A method whose heat covers columns 2 to `last` of the truth's rows."""
    maps = Maps(variant=variant, columns=slice(2, last), levels=(0.8, 0.4))
    scores = score_maps(maps.read, TRUTH, BRAIN if brain_mask else None)
    return WeakMethod(method, maps, scores, brain_mask, layer)


METHODS = [
    weak("swin_grad_cam", 3),
    weak("swin_sam_multi_label", 4),
    weak("swin_sam_binary", 5),
    weak("swin_hgi_sam", 7),
    weak("swin_hgi_sam", 4, "authors"),
    weak("swin_hgi_sam", 7, layer="0-2"),
    weak("swin_hgi_sam", 5, layer="0-3"),
    weak("swin_hgi_sam", 7, brain_mask=False),
]
FREE = {
    "swin_grad_cam": Threshold(0.5, "labels", "Otsu"),
    "swin_sam_multi_label": Threshold(0.4, "labels", "Otsu"),
    "swin_sam_binary": Threshold(0.41, "labels", "Otsu"),
    "swin_hgi_sam": fixed_threshold(0.9),
}


def named_values(rows, metric, **wanted):
    """Values of rows by method, variant, layer, brain mask and source of the threshold."""
    names = ("method", "variant", "layer", "brain_mask", "threshold_source")
    return {
        tuple(row[name] for name in names): row["value"]
        for row in rows
        if row["metric"] == metric and all(row[name] == value for name, value in wanted.items())
    }


def test_every_mask_is_named_by_the_threshold_it_was_drawn_at():
    folds, headline = ROWS["fold"].to_numpy(), chosen(METHODS, "printed")
    segmentations = {
        name: each.segmentation(each.tuned(folds).counts, "masks-validation")
        for name, each in headline.items()
    }
    rivals = {"random_map": headline["swin_grad_cam"].scores}
    # the classifier is wrong in three positive slices of eight, of two folds
    decided = {name: np.array([1, 1, 0, 0, 0, 0, 1, 1], bool) for name in headline}
    found = mask_rows(METHODS, segmentations, FREE, rivals, decided, ROWS, COMMON, 20, 0)
    values = named_values(found, "dice", unit="pixel", subset="positive")
    # Thresholds of the other fold: fold 0 is cut at fold 1's lowest best, 0.01, and so is fold 1.
    # columns found of the truth's five, all of them hits
    dice = {columns: 2 * columns / (5 + columns) for columns in range(6)}
    gated_dice = {columns: 2 * 3 * columns / (30 + 3 * columns) for columns in range(6)}
    expected = {
        ("swin_grad_cam", "printed", None, True, "masks-validation"): dice[1],
        ("swin_sam_multi_label", "printed", None, True, "masks-validation"): dice[2],
        ("swin_sam_binary", "printed", None, True, "masks-validation"): dice[3],
        ("swin_hgi_sam", "printed", None, True, "masks-validation"): dice[4],
        ("swin_hgi_sam", "authors", None, True, "masks-validation"): dice[2],
        ("swin_hgi_sam", "printed", "0-2", True, "masks-validation"): dice[4],
        ("swin_hgi_sam", "printed", "0-3", True, "masks-validation"): dice[3],
        ("swin_hgi_sam", "printed", None, False, "masks-validation"): dice[5],
        ("random_map", "printed", None, True, "masks-validation"): dice[1],
        # heat is 0.8 in three positive slices, 0.4 in the other three; 0.4 itself is in
        ("swin_grad_cam", "printed", None, True, "labels"): 2 * 3 / (30 + 3),
        ("swin_sam_multi_label", "printed", None, True, "labels"): dice[2],
        ("swin_sam_binary", "printed", None, True, "labels"): 2 * 9 / (30 + 9),
        ("swin_hgi_sam", "printed", None, True, "none"): 0.0,
        ("swin_grad_cam_gated", "printed", None, True, "masks-validation"): gated_dice[1],
        ("swin_sam_multi_label_gated", "printed", None, True, "masks-validation"): gated_dice[2],
        ("swin_sam_binary_gated", "printed", None, True, "masks-validation"): gated_dice[3],
        ("swin_hgi_sam_gated", "printed", None, True, "masks-validation"): gated_dice[4],
    }
    assert values == pytest.approx(expected)


def test_a_mask_holds_the_pixels_at_its_threshold():
    at, above = (
        mask_free_segmentations(
            {"swin_hgi_sam": METHODS[3]}, {"swin_hgi_sam": Threshold(value, "labels", "Otsu")}
        )["swin_hgi_sam"]
        for value in (0.5, 0.8)
    )
    # float32 0.8 lies above 0.8 by 1e-8: 16 pixels in each of the three positive slices of fold 0
    assert (at.counts.tp.tolist(), at.threshold_source) == ([16, 16, 16, 0, 0, 0, 0, 0], "labels")
    assert above.counts.tp.tolist() == at.counts.tp.tolist()


def test_ablations_subtract_the_second_setting_from_the_first():
    def setting(tp, brain_mask=True, layer=None):
        counts = Counts(*(np.full(8, part) for part in (tp, 100 - tp, 100 - tp)))
        return Segmentation("swin_hgi_sam", counts, "masks-validation", brain_mask, layer=layer)

    every = [setting(60), setting(30, layer="0-3"), setting(60, layer="0-2"), setting(75, False)]
    found = ablation_differences(every, ROWS, COMMON, 20)
    assert [(row["layer"], row["brain_mask"]) for row in found] == [("0-2", True), (None, True)]
    assert [row["value"] for row in found] == pytest.approx([0.30, -0.15])
    assert {row["metric"] for row in found} == {"dice_difference"}


def test_gating_empties_slices_called_negative_and_what_they_hold_is_missed():
    original = Segmentation(
        "swin_hgi_sam",
        Counts(np.array([4, 5, 0]), np.array([1, 2, 3]), np.array([6, 7, 0])),
        "labels",
        True,
        "authors",
        "0-2",
    )
    kept = gated(original, np.array([True, False, False]))
    assert [part.tolist() for part in vars(kept.counts).values()] == [
        [4, 0, 0],
        [1, 0, 0],
        [6, 12, 0],
    ]
    assert kept.columns == {**original.columns, "method": "swin_hgi_sam_gated"}


def test_supervised_masks_carry_no_threshold_and_no_brain():
    truth = np.zeros((2, 4, 4), bool)
    truth[0, :2] = True
    masks = truth.copy()
    masks[0, 0], masks[0, 3] = False, True
    found = supervised_segmentations({"unet": masks}, truth, "printed")["unet"]
    assert (found.threshold_source, found.brain_mask) == ("none", False)
    assert [part.tolist() for part in vars(found.counts).values()] == [[4, 0], [4, 0], [4, 0]]


def test_boxes_are_scored_in_the_brain_at_the_threshold_without_masks():
    rows = box_rows({"swin_hgi_sam": METHODS[3]}, FREE, TRUTH, BRAIN, ROWS, COMMON, 20)
    assert [row["value"] for row in rows] == [0.0] * 4
    found = box_rows(
        {"swin_hgi_sam": METHODS[3]},
        {"swin_hgi_sam": Threshold(0.3, "labels", "Otsu")},
        TRUTH,
        BRAIN,
        ROWS,
        COMMON,
        20,
    )
    # the box's five columns, of which the brain holds four
    values = named_values(
        [{"variant": "printed", "layer": None, **row} for row in found], "box_dice", unit="pixel"
    )
    assert values == {
        ("swin_hgi_sam", "printed", None, True, "labels"): pytest.approx(2 * 4 / (4 + 5))
    }
    assert {row["metric"] for row in found} == {"box_dice", "box_iou"}
    with pytest.raises(DataError, match="has a box"):
        box_rows({}, {}, np.zeros_like(TRUTH), BRAIN, ROWS, COMMON)


def test_pointing_and_mass_are_means_over_slices_with_truth():
    nan = np.nan
    scores = MapScores(
        METHODS[0].scores.counts,
        np.array([1, 1, 0, nan, 0, 1, 1, nan]),
        np.array([0.2, 0.4, 0.3, nan, 0.3, 0.3, 0.3, nan]),
    )
    found = pointing_rows({"swin_hgi_sam": scores}, ROWS, COMMON, 20)
    assert [(row["metric"], row["subset"], row["threshold_source"]) for row in found] == [
        ("pointing_game", "positive", "none"),
        ("mass_inside", "positive", "none"),
    ]
    assert [row["value"] for row in found] == pytest.approx([4 / 6, 0.3])
