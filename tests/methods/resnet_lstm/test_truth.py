"""What masks and maps are scored against, and the rivals beside them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.methods.resnet_lstm.class_activation import CamRecipe
from ich_study.methods.resnet_lstm.study import make_fold
from ich_study.methods.resnet_lstm.truth import (
    map_rows,
    rival_masks,
    score_test_part,
    truth_kind,
    truths,
)
from ich_study.training.config import TrainingConfig
from tests.methods.resnet_lstm.fakes import SIDE, fake_heads, fake_split

PREPROCESSING = TrainingConfig(classes=("any",), size=SIDE).preprocessing()


def fold_of(store, folder):
    return make_fold(store, fake_split(store), 0, 0.1, 1, folder)


class Pointer:
    """Stands for a trained classifier: its map is 1 in one pixel of every slice."""

    preprocessing = PREPROCESSING

    def __init__(self, pixels):
        self.pixels = pixels

    def heatmaps(self, scan, slices):
        maps = np.zeros((len(slices), SIDE, SIDE), np.float32)
        for index, number in enumerate(slices):
            maps[index][self.pixels[scan, int(number)]] = 1
        return maps, np.zeros(len(slices))


def test_masks_come_before_boxes_and_neither_is_an_error(tmp_path):
    masked, boxed, blind = fake_heads(5), fake_heads(5, masks=False), fake_heads(5, masks=False)
    masked.index["has_boxes"] = boxed.index["has_boxes"] = True
    assert truth_kind(fold_of(masked, tmp_path)) == "masks"
    assert truth_kind(fold_of(boxed, tmp_path)) == "boxes"
    with pytest.raises(DataError, match="neither masks nor boxes"):
        truth_kind(fold_of(blind, tmp_path))


def test_the_truth_of_a_scan_is_its_mask_or_its_boxes_filled(tmp_path):
    masked = fake_heads(5)
    fold = fold_of(masked, tmp_path)
    assert set(truths(fold, "test")) == set(fold.scans("test"))
    for scan, mask in truths(fold, "test").items():
        assert np.array_equal(mask, masked.masks[scan] > 0)
    boxed = fake_heads(5, masks=False)
    boxed.index["has_boxes"] = True
    scan, empty = fold_of(boxed, tmp_path).scans("train")[:2]
    place = {"scan_id": scan, "slice_index": 2, "label": "any"}
    boxed.boxes = pd.DataFrame([{**place, "x": 3.0, "y": 5.0, "width": 4.0, "height": 2.0}])
    found = truths(fold_of(boxed, tmp_path), "train")
    assert found[scan].sum() == 8 and found[scan][2, 5:7, 3:7].all()
    assert not found[empty].any()


def test_blob_and_random_map_need_the_classifiers_call_and_the_hu_threshold_does_not(tmp_path):
    store = fake_heads(5)
    fold = fold_of(store, tmp_path)
    scored = score_test_part(fold, SimpleNamespace(preprocessing=PREPROCESSING))
    scan = fold.scans("test")[0]
    gate = np.zeros(len(store.volumes[scan]), bool)
    gate[1] = True
    found = rival_masks(fold, scored, {scan: gate}, CamRecipe(), 2.0, 1)
    for name in ("centred_blob", "random_map"):
        assert np.array_equal(found[name][scan].any((1, 2)), gate)
    lesion = (store.masks[scan] > 0).any((1, 2))
    assert found["hu_threshold"][scan].any((1, 2))[lesion].all()


def test_maps_are_scored_on_slices_with_truth_by_the_pixel_of_their_maximum(tmp_path):
    store = fake_heads(5)
    fold = fold_of(store, tmp_path)
    scan = fold.scans("test")[0]
    mask = store.masks[scan] > 0
    hits, misses = {}, {}
    for number in range(len(mask)):
        inside = np.argwhere(mask[number]) if mask[number].any() else np.array([[0, 0]])
        hits[scan, number], misses[scan, number] = tuple(inside[0]), (0, 0)
    labellers = {"resnet": Pointer(misses), "resnet_lstm": Pointer(hits)}
    scored = score_test_part(fold, labellers["resnet"])
    found = {}
    for row in map_rows(fold, labellers, scored, 2.0, 1):
        found[row["method"], row["metric"]] = row["values"]
        assert row["rows"]["slice_index"].tolist() == np.flatnonzero(mask.any((1, 2))).tolist()
    assert found["resnet_lstm_cam", "pointing_game"].tolist() == [1.0] * mask.any((1, 2)).sum()
    assert found["resnet_cam", "pointing_game"].max() == 0
    assert found["resnet_lstm_cam", "mass_inside"].min() == 1
    assert found["resnet_cam", "mass_inside"].max() == 0
    assert {name for name, _ in found} == {
        "resnet_cam",
        "resnet_lstm_cam",
        "hu_threshold",
        "centred_blob",
        "random_map",
    }
