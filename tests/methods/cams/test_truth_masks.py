import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.scored_slices import read_scored_slices
from ich_study.methods.cams.truth_masks import (
    PackedMasks,
    choose_slices,
    largest_lesions,
    read_truth,
)
from ich_study.metrics.boxes import component_boxes
from tests.methods.cams.fakes import masked_store, truth_part
from tests.training.fakes import config

STORE = masked_store()
GRID = config(size=32).preprocessing()


def test_packed_masks_come_back_as_they_were():
    masks = np.random.default_rng(0).random((7, 13, 13)) < 0.3
    packed = PackedMasks.of(masks)
    assert np.array_equal(packed[slice(2, 5)], masks[2:5]) and len(packed) == 7
    assert packed.bits.nbytes < masks.nbytes / 7


def test_truth_is_that_of_the_scored_slices():
    rows = STORE.index.sample(20, random_state=1)
    found = read_truth(STORE, rows, GRID)
    assert found.rows[["scan_id", "slice_index"]].equals(
        rows.sort_values(["scan_id", "slice_index"])[["scan_id", "slice_index"]].reset_index(
            drop=True
        )
    )
    read = read_scored_slices(STORE, found.rows, GRID)
    assert np.array_equal(found.truth[slice(None)], read.truth()) and np.array_equal(
        found.brain[slice(None)], read.brain
    )
    assert all(
        np.array_equal(boxes, component_boxes(mask))
        for boxes, mask in zip(found.boxes, read.truth())
    )
    # a slice of 48 x 48 pixels of 0.5 mm, whatever the grid
    assert found.pixel_cm2 * 32**2 == pytest.approx(np.full(20, 5.76))
    assert (found.positive & found.healthy).sum() == 0


def test_boxes_stand_for_masks_where_asked():
    found = read_truth(STORE, STORE.index, GRID, truth="boxes")
    read = read_scored_slices(STORE, found.rows, GRID, masks=False)
    assert np.array_equal(found.truth[slice(None)], read.box_masks())
    assert found.positive.sum() == STORE.index["any"].sum()


def test_rivals_do_not_depend_on_the_batch():
    found = read_truth(STORE, STORE.index.iloc[:12], GRID)
    for name in ("hu_threshold", "centred_blob", "random_map"):
        reader = found.rival(name, 2.0, 3)
        whole = reader(slice(0, 12))
        assert np.array_equal(whole[5:9], reader(slice(5, 9))) and whole.dtype == np.float32
    with pytest.raises(ParameterError, match="no trivial rival"):
        found.rival("atlas", 2.0, 3)
    with pytest.raises(DataError, match="brain"):
        read_truth(STORE, STORE.index.iloc[:3], GRID, brain=False).rival("random_map", 2.0, 3)


def test_the_random_rival_is_another_map_on_every_slice():
    found = truth_part(2, 6)  # every brain is the whole slice
    maps = found.rival("random_map", 2.0, 3)(slice(0, 12))
    likeness = np.corrcoef(maps.reshape(12, -1)) - np.eye(12)
    assert np.abs(likeness).max() < 0.9
    assert not np.array_equal(maps, found.rival("random_map", 2.0, 4)(slice(0, 12)))


def test_only_slices_known_to_be_without_hemorrhage_are_healthy():
    found = read_truth(STORE, STORE.index.iloc[:8], GRID)
    labels = found.rows["any"].to_numpy(bool)
    assert 0 < labels.sum() < 8
    assert found.positive.tolist() == labels.tolist()
    assert found.healthy.tolist() == (~labels).tolist()
    unknown = type(found)(**{**vars(found), "rows": found.rows.assign(any=pd.NA)})
    assert not unknown.healthy.any() and unknown.positive.tolist() == labels.tolist()
    # a mask beats a label that denies it
    denied = type(found)(**{**vars(found), "rows": found.rows.assign(any=False)})
    assert denied.healthy.tolist() == (~labels).tolist()
    # a lesion of another class: no truth of this one, and no healthy slice either
    found.truth.bits[:] = 0
    assert not found.positive.any() and found.healthy.tolist() == (~labels).tolist()


def test_slices_are_chosen_evenly_and_by_rule():
    every = choose_slices(STORE.index, "any", None, None)
    assert len(every) == len(STORE.index)
    few = choose_slices(STORE.index, "any", 6, 4)
    assert few["any"].sum() == 6 and len(few) == 10 and few["patient_id"].nunique() > 4
    assert few.equals(choose_slices(STORE.index, "any", 6, 4))
    assert choose_slices(STORE.index, "any", 6, 0)["any"].all()
    unknown = STORE.index.assign(
        any=pd.array([pd.NA] * 3 + [True] * (len(STORE.index) - 3), dtype="boolean")
    )
    assert len(choose_slices(unknown, "any", None, None)) == len(unknown) - 3


def test_pictures_show_the_largest_lesion_of_each_subtype():
    found = read_truth(STORE, STORE.index, GRID, brain=False)
    shown = largest_lesions(found, 1)
    assert [name for name, _ in shown] == ["IPH", "SDH"]
    areas = found.truth[slice(None)].sum((1, 2))
    for name, place in shown:
        assert areas[place] == areas[found.rows[name].to_numpy(bool)].max()
    unknown = type(found)(**{**vars(found), "rows": found.rows.assign(IPH=pd.NA, SDH=pd.NA)})
    assert [name for name, _ in largest_lesions(unknown, 1)] == ["any"] * 5


def test_bad_input_is_an_error():
    with pytest.raises(DataError, match=r"no slice of .* is positive for 'EDH'"):
        choose_slices(STORE.index, "EDH", None, None)
    with pytest.raises(DataError, match="empty"):
        read_truth(STORE, STORE.index.iloc[:0], GRID)
    with pytest.raises(ParameterError, match="truth='points'"):
        read_truth(STORE, STORE.index, GRID, truth="points")
    with pytest.raises(DataError, match="48 slices of 6 scans have no masks"):
        read_truth(STORE, STORE.index.assign(has_mask=False), GRID)
