import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.ct.brain_mask import brain_mask
from ich_study.errors import DataError
from ich_study.evaluate.scored_slices import batches, read_scored_slices, scan_spacing
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


def test_slices_come_in_the_order_of_the_rows_with_their_truth(tmp_path):
    store = built(tmp_path)
    rows = store.index[store.index["slice_index"].isin([3, 5]) & store.index["has_mask"]].iloc[::-1]
    found = read_scored_slices(store, rows, preprocessing(), progress=False)
    for place, row in found.rows.iterrows():
        np.testing.assert_array_equal(found.hu[place], store.slice(row.scan_id, row.slice_index))
        np.testing.assert_array_equal(found.codes[place], store.mask(row.scan_id)[row.slice_index])
        expected = brain_mask(
            np.array(store.volume(row.scan_id)),
            scan_spacing(store.index[store.index["scan_id"] == row.scan_id]),
        )
        np.testing.assert_array_equal(found.brain[place], expected[row.slice_index])
        assert len(found.boxes[place]) == (row.slice_index == 3)
    assert found.truth().any((1, 2)).tolist() == (found.rows["slice_index"] == 3).tolist()
    np.testing.assert_allclose(found.pixel_ml, 5.0 * 0.5 * 0.5 / 1000)


def test_masks_boxes_and_volume_follow_the_grid(tmp_path):
    store = built(tmp_path)
    rows = store.index[(store.index["slice_index"] == 3) & (store.index["scan_id"] == "scan 1")]
    small, own = (
        read_scored_slices(store, rows, preprocessing(size=size), progress=False)
        for size in (64, 32)
    )
    assert small.truth().sum() == 4 * own.truth().sum()
    np.testing.assert_allclose(small.pixel_ml * 4, own.pixel_ml)
    np.testing.assert_allclose(small.boxes[0], own.boxes[0] * 2)
    np.testing.assert_array_equal(small.box_masks(), small.truth())


def test_a_crop_moves_boxes_and_masks_alike(tmp_path):
    store = built(tmp_path)
    rows = store.index[(store.index["slice_index"] == 3) & (store.index["scan_id"] == "scan 1")]
    cropped = read_scored_slices(
        store, rows, preprocessing(crop="center_of_110_percent", size=40), progress=False
    )
    box, mask = cropped.box_masks()[0], cropped.truth()[0]
    assert (box & mask).sum() / (box | mask).sum() > 0.7


def test_codes_keep_their_values_and_dtype():
    codes = torch.randint(0, 7, (2, 50, 50), dtype=torch.uint8)
    resized = preprocessing().resized_codes(codes)
    assert resized.dtype == torch.uint8 and set(resized.unique().tolist()) <= set(
        codes.unique().tolist()
    )
    assert preprocessing().resized_codes(codes > 3).dtype == torch.bool


def test_no_slices_and_scans_without_masks_are_refused(tmp_path):
    store = built(tmp_path)
    with pytest.raises(DataError, match="part is empty"):
        read_scored_slices(store, store.index.iloc[:0], preprocessing(), progress=False)
    with pytest.raises(DataError, match="has no mask"):
        read_scored_slices(
            store, store.index[~store.index["has_mask"]], preprocessing(), progress=False
        )
    unread = read_scored_slices(
        store, store.index.iloc[:2], preprocessing(), masks=False, brain=False, progress=False
    )
    assert unread.brain is None
    with pytest.raises(DataError, match="masks of these slices were not read"):
        unread.truth()


def test_unknown_positions_fall_back_on_thickness():
    scan = pd.DataFrame(
        {"z_mm": [np.nan] * 3, "thickness_mm": 4.0, "spacing_y_mm": 0.4, "spacing_x_mm": 0.5}
    )
    assert scan_spacing(scan) == (4.0, 0.4, 0.5)
    assert scan_spacing(scan.assign(z_mm=[10.0, 0.0, 5.0])) == (5.0, 0.4, 0.5)


def test_batches_cover_everything_once():
    places = np.concatenate([np.arange(10)[part] for part in batches(10, 4)])
    np.testing.assert_array_equal(places, np.arange(10))
