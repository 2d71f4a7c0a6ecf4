import dataclasses

import numpy as np
import pytest

from ich_study.errors import DataError
from ich_study.evaluate.rivals import (
    RIVALS,
    centred_blob_maps,
    hu_threshold_maps,
    random_map,
    rivals,
)
from tests.evaluate.fakes import SIDE, truth_of


@pytest.fixture
def unsmoothed(monkeypatch):
    monkeypatch.setattr("ich_study.evaluate.rivals.cv2.GaussianBlur", lambda image, *_: image)


def brain_and_hu():
    brain = np.zeros((2, 40, 40), bool)
    brain[0, 5:35, 10:30] = True
    hu = np.full(brain.shape, 30.0)
    hu[0, 15:20, 15:20] = 65
    hu[:, 0:4] = 65
    return brain, hu


def test_the_threshold_finds_blood_inside_the_brain_only(unsmoothed):
    brain, hu = brain_and_hu()
    found = hu_threshold_maps(hu, brain) > 0
    assert found[0, 15:20, 15:20].all() and found.sum() == 25


def test_calcification_and_bone_lie_above_the_range(unsmoothed):
    brain, hu = brain_and_hu()
    assert not hu_threshold_maps(np.where(hu > 50, 300, hu), brain).any()


def test_both_ends_of_the_range_are_blood(unsmoothed):
    brain = np.ones((1, 1, 4), bool)
    hu = np.array([[[49.9, 50.0, 90.0, 90.1]]])
    assert hu_threshold_maps(hu, brain).ravel().tolist() == [0, 1, 1, 0]


def test_bone_and_air_beside_the_brain_do_not_look_like_blood():
    brain, hu = brain_and_hu()
    for beside in (1200.0, -1000.0):
        assert not hu_threshold_maps(np.where(brain, 30.0, beside), brain).any()
    assert hu_threshold_maps(np.where(brain, hu, 1200.0), brain)[0, 17, 17] == 1


def test_the_blob_has_its_maximum_at_the_centre_of_the_brain():
    brain, _ = brain_and_hu()
    blob = centred_blob_maps(brain)
    assert np.unravel_index(blob[0].argmax(), blob[0].shape) in {
        (19, 19),
        (19, 20),
        (20, 19),
        (20, 20),
    }
    assert not blob[0][~brain[0]].any() and not blob[1].any()


def test_a_random_map_depends_on_seed_and_slice_alone_and_is_smooth():
    first = random_map((32, 32), 4, 1, "scan/3")
    np.testing.assert_array_equal(first, random_map((32, 32), 4, 1, "scan/3"))
    assert not np.array_equal(first, random_map((32, 32), 4, 2, "scan/3"))
    assert not np.array_equal(first, random_map((32, 32), 4, 1, "scan/4"))
    rough = random_map((32, 32), 0, 1, "scan/3")
    assert np.abs(np.diff(first)).mean() < 0.3 * np.abs(np.diff(rough)).mean()
    assert (first.min(), first.max(), first.dtype) == (0, 1, np.float32)


def test_the_random_rival_differs_between_slices_and_follows_the_slice():
    masks = np.zeros((3, SIDE, SIDE), bool)
    truth = truth_of(masks, ["a", "a", "b"])
    noise = next(
        each for each in rivals(truth, ("IPH", "IVH"), 1, seed=4) if each.name == RIVALS[2]
    )
    whole = noise.read(slice(None))
    assert whole.shape == (3, 2, SIDE, SIDE) and not np.array_equal(whole[0], whole[1])
    np.testing.assert_array_equal(whole[:, 0], whole[:, 1])
    np.testing.assert_array_equal(noise.read(np.array([2, 0])), whole[[2, 0]])
    # slice 2 of scan b, scored alone in another part, has the map that it had
    np.testing.assert_array_equal(whole[2, 0], random_map((SIDE, SIDE), 1, 4, "scan b/2"))
    assert not np.array_equal(whole[2, 0], random_map((SIDE, SIDE), 1, 5, "scan b/2"))


def test_rivals_know_the_brain_and_nothing_else():
    brain, hu = brain_and_hu()
    truth = truth_of(np.zeros(brain.shape, bool), brain=brain)
    truth = dataclasses.replace(truth, hu=hu.astype(np.int16))
    found = {each.name: each.read(slice(None))[:, 0] for each in rivals(truth)}
    assert tuple(found) == RIVALS
    assert all(not maps[~brain].any() for maps in found.values())
    np.testing.assert_array_equal(found["hu_threshold"], hu_threshold_maps(hu, brain))
    np.testing.assert_array_equal(found["centred_blob"], centred_blob_maps(brain))
    with pytest.raises(DataError, match="brain=True"):
        rivals(dataclasses.replace(truth, brain=None))
