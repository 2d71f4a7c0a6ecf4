"""Boxes that points should hit: as annotated, or of the parts of a mask."""

import numpy as np
import pytest

from ich_study.errors import ParameterError, StudyError
from ich_study.methods.mil.boxes import grid_boxes
from tests.methods.mil.fakes import blob_store

STORE = blob_store(4)


def test_boxes_of_masks_are_the_boxes_of_their_parts():
    from_boxes, labels = grid_boxes(STORE, STORE.index, 48)
    from_masks, names = grid_boxes(STORE, STORE.index, 48, "mask_components")
    for one, two, label, name in zip(from_boxes, from_masks, labels, names):
        np.testing.assert_array_equal(one, two)
        assert label.tolist() == name.tolist()


def test_unknown_boxes_are_not_taken_for_none():
    unknown = STORE.index.assign(has_boxes=False, has_mask=False)
    for truth in ("boxes", "mask_components"):
        with pytest.raises(StudyError, match="unknown in 32 slices"):
            grid_boxes(STORE, unknown, 48, truth)
    with pytest.raises(ParameterError, match="truth"):
        grid_boxes(STORE, STORE.index, 48, "points")


def test_small_parts_of_a_mask_get_no_box():
    store = blob_store(1)
    store.masks["scan-p00"][:] = 0
    store.masks["scan-p00"][0, 5, 5:8] = 1
    store.masks["scan-p00"][1, 5, 5:9] = 2
    boxes, labels = grid_boxes(store, store.index, 48, "mask_components")
    assert [len(each) for each in boxes[:3]] == [0, 1, 0]
    assert boxes[1].tolist() == [[5, 5, 4, 1]] and len(labels[1]) == 1


def test_boxes_are_scaled_by_their_own_side_and_rounded():
    store = blob_store(1)
    store.boxes = store.boxes.iloc[:1].assign(x=20, y=10, width=8, height=6)
    first = store.boxes.iloc[0]
    rows = store.index.assign(columns=96)
    boxes, labels = grid_boxes(store, rows, 24)
    assert boxes[first["slice_index"]].tolist() == [[5, 5, 2, 3]]
    assert labels[first["slice_index"]].tolist() == [first["label"]]
    assert sum(map(len, boxes)) == 1


def test_without_truth_no_slice_has_a_box_and_nothing_is_read():
    unknown = STORE.index.assign(has_boxes=False, has_mask=False)
    boxes, labels = grid_boxes(None, unknown, 48, "none")
    assert [len(each) for each in boxes] == [len(each) for each in labels] == [0] * len(unknown)
