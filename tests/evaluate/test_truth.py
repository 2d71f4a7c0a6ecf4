import numpy as np
import pytest
import torch

from ich_study.ct.brain_mask import brain_mask
from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.truth import (
    PackedMasks,
    largest_lesions,
    read_truth,
    truth_kind,
)
from ich_study.inputs.preprocessing import Preprocessing
from tests.store.fake_reader import built


def preprocessing(**changes):
    settings = {
        "windows": ("brain",),
        "window_scaling": "fixed",
        "stack_depth": 1,
        "size": 32,
        "crop": "none",
    }
    return Preprocessing(**{**settings, "mean": (0.0,), "std": (1.0,), **changes})


def masked_rows(store, *slices):
    return store.index[store.index["slice_index"].isin(slices) & store.index["has_mask"]]


def test_slices_come_in_the_order_of_the_rows_with_their_truth(tmp_path):
    store = built(tmp_path)
    rows = masked_rows(store, 3, 5).iloc[::-1]
    found = read_truth(store, rows, preprocessing(), progress=False)
    for number, row in found.rows.iterrows():
        hu = store.slice(row.scan_id, row.slice_index)
        codes = store.mask(row.scan_id)[row.slice_index]
        np.testing.assert_array_equal(found.hu[number], hu)
        np.testing.assert_array_equal(found.codes[number], codes)
        brain = brain_mask(np.array(store.volume(row.scan_id)), (0.5, 0.5))[row.slice_index]
        np.testing.assert_array_equal(found.brain[number], brain)
        assert len(found.annotated[number]) == (row.slice_index == 3)
    assert found.positive().tolist() == (found.rows["slice_index"] == 3).tolist()
    np.testing.assert_allclose(found.pixel_ml, 5.0 * 0.5 * 0.5 / 1000)
    np.testing.assert_allclose(found.pixel_cm2, 0.5 * 0.5 / 100)


def test_masks_boxes_and_volume_follow_the_grid(tmp_path):
    store = built(tmp_path)
    rows = masked_rows(store, 3).iloc[:1]
    small, own = (
        read_truth(store, rows, preprocessing(size=size), progress=False) for size in (64, 32)
    )
    assert small.mask().sum() == 4 * own.mask().sum()
    np.testing.assert_allclose(small.pixel_ml * 4, own.pixel_ml)
    np.testing.assert_allclose(small.pixel_cm2 * 4, own.pixel_cm2)
    np.testing.assert_allclose(small.annotated[0], own.annotated[0] * 2)


def test_a_crop_moves_boxes_and_masks_alike(tmp_path):
    store = built(tmp_path)
    rows = masked_rows(store, 3).iloc[:1]
    grid = preprocessing(crop="center_of_110_percent", size=40)
    mask, box = (
        read_truth(store, rows, grid, kind, progress=False).mask()[0] for kind in ("masks", "boxes")
    )
    assert (box & mask).sum() / (box | mask).sum() > 0.7


def test_codes_keep_their_values_and_dtype():
    codes = torch.randint(0, 7, (2, 50, 50), dtype=torch.uint8)
    resized = preprocessing().resized_codes(codes)
    assert resized.dtype == torch.uint8
    assert set(resized.unique().tolist()) <= set(codes.unique().tolist())
    assert preprocessing().resized_codes(codes > 3).dtype == torch.bool


def test_filled_boxes_stand_for_masks_only_where_asked_for(tmp_path):
    store = built(tmp_path)
    rows = masked_rows(store, 3, 5)
    masks = read_truth(store, rows, preprocessing(), "masks", progress=False)
    boxes = read_truth(store, rows, preprocessing(), "boxes", progress=False)
    assert boxes.codes is None and (boxes.kind, masks.kind) == ("boxes", "masks")
    np.testing.assert_array_equal(boxes.mask(), masks.mask())
    # one slice, as a picture asks for it
    np.testing.assert_array_equal(boxes.mask("any", 0), masks.mask("any", 0))
    for drawn, around in zip(boxes.boxes(), masks.boxes()):
        np.testing.assert_allclose(drawn, around)
    none = read_truth(store, rows, preprocessing(), "none", brain=False, progress=False)
    assert none.brain is None
    with pytest.raises(DataError, match="no truth of these slices was read"):
        none.mask()


def test_a_subtype_has_only_its_own_code(tmp_path):
    store = built(tmp_path)
    truth = read_truth(store, masked_rows(store, 3), preprocessing(), progress=False)
    held = sorted(set(np.unique(truth.codes)) - {0})
    per_class = {name: truth.mask(name).sum() for name in ("IPH", "IVH", "SAH", "SDH", "EDH")}
    assert len(held) == sum(count > 0 for count in per_class.values()) > 0
    assert sum(per_class.values()) == truth.mask("any").sum()


def test_rows_without_the_truth_asked_for_are_refused_by_name(tmp_path):
    store = built(tmp_path)
    rows = masked_rows(store, 3).assign(has_mask=False)
    with pytest.raises(DataError, match=f"no masks, first {rows['scan_id'].iloc[0]}"):
        read_truth(store, rows, preprocessing(), progress=False)
    with pytest.raises(DataError, match="no slices to score"):
        read_truth(store, rows.iloc[:0], preprocessing(), progress=False)
    with pytest.raises(ParameterError, match="expected one of masks, boxes, none"):
        read_truth(store, rows, preprocessing(), "mask", progress=False)


def test_healthy_slices_are_known_negatives_without_truth(tmp_path):
    store = built(tmp_path)
    rows = masked_rows(store, 3, 5).copy()
    rows["any"] = (rows["slice_index"] == 3).astype("boolean")
    truth = read_truth(store, rows, preprocessing(), progress=False)
    assert truth.healthy.tolist() == (truth.rows["slice_index"] == 5).tolist()
    unknown = rows.assign(any=rows["any"].mask(rows["slice_index"] == 5))
    assert not read_truth(store, unknown, preprocessing(), progress=False).healthy.any()
    # a mask outweighs a label that says nothing is there
    wrong = rows.assign(any=False).astype({"any": "boolean"})
    assert (
        not read_truth(store, wrong, preprocessing(), progress=False)
        .healthy[truth.positive()]
        .any()
    )


def test_packed_masks_are_the_masks_again():
    masks = np.random.default_rng(0).random((5, 9, 9)) < 0.4
    packed = PackedMasks.of(masks)
    for index in (slice(1, 4), np.array([3, 0]), 2, np.array([], int), np.arange(5) % 2 == 0):
        np.testing.assert_array_equal(packed[index], masks[index])


def test_kind_of_truth(tmp_path):
    store = built(tmp_path)
    rows = masked_rows(store, 3, 5)
    assert truth_kind(rows) == "masks"
    some = rows.assign(has_mask=False, any=True, has_boxes=True)
    assert truth_kind(some) == "boxes"
    with pytest.raises(DataError, match="neither masks nor boxes"):
        truth_kind(some.assign(has_boxes=False))


def test_the_largest_lesion_of_each_class_is_shown(tmp_path):
    store = built(tmp_path)
    truth = read_truth(store, masked_rows(store, 3, 5), preprocessing(), progress=False)
    shown = largest_lesions(truth, ("any",), count=9)
    assert truth.positive()[shown["index"]].all()
    assert truth.rows["patient_id"].iloc[shown["index"]].is_unique
    areas = truth.mask().sum((1, 2))
    assert areas[shown["index"].iloc[0]] == areas.max()
