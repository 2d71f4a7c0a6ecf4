"""The grey steps of the MIL detector's augmentation, against SciPy and against their printed
limits."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from ich_study.errors import ParameterError
from ich_study.inputs.augment import GreyAugmentation, _filtered, named_augmentation
from ich_study.inputs.seeds import seeded_generator

STILL = {"flip_probability": 0.0, "0.probability": 0.0}


def slices(count=64, side=12, seed=0):
    return 60 * torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


def test_blur_and_sharpening_are_scipys():
    images = slices(3)
    ours = _filtered(images, torch.tensor([0.4, 0.0, 0.0]), torch.tensor([0.0, 0.3, 0.0]))
    first, second, third = (image[0].numpy() for image in images)
    blurred = ndimage.gaussian_filter(first, 0.4, mode="nearest", radius=2)
    sharpened = second - 0.3 * ndimage.laplace(second, mode="nearest")
    for mine, theirs in zip(ours, (blurred, sharpened, third)):
        np.testing.assert_allclose(mine[0].numpy(), theirs, atol=1e-4)


def test_gain_and_offset_stay_inside_their_limits_and_reach_them():
    flat = torch.full((4000, 1, 4, 4), 50.0)
    shifts = (
        named_augmentation("mil_authors", {**STILL, "gain": 1.0})(flat, seeded_generator(1)).mean(
            (1, 2, 3)
        )
        - 50
    )
    assert (
        float(shifts.abs().max()) <= 20.001
        and float(shifts.max()) > 19
        and float(shifts.min()) < -19
    )
    assert abs(float((shifts.abs() < 1e-4).float().mean()) - (1 - 0.95 * 0.9)) < 0.03
    gains = (
        named_augmentation("mil_authors", {**STILL, "offset": 0.0})(flat, seeded_generator(2)).mean(
            (1, 2, 3)
        )
        / 50
    )
    assert 1 / 1.0201 <= float(gains.min()) < 1 / 1.015 and 1.015 < float(gains.max()) <= 1.0201


def test_a_slice_that_is_not_chosen_is_untouched():
    images = slices()
    untouched = named_augmentation("mil_authors", {"probability": 0.0})(images, seeded_generator(3))
    assert torch.equal(untouched, images)
    changed = named_augmentation("mil_authors")(images, seeded_generator(3))
    same = (changed == images).flatten(1).all(1).float().mean()
    assert 0 < float(same) < 0.2


def test_the_same_stream_gives_the_same_slices():
    first, second = (
        named_augmentation("mil_printed")(slices(), seeded_generator(4, 1)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(
        first, named_augmentation("mil_printed")(slices(), seeded_generator(4, 2))
    )


def test_printed_works_on_windowed_channels_and_authors_on_hu():
    assert named_augmentation("mil_authors").on_hu and not named_augmentation("mil_printed").on_hu


def test_masks_are_refused():
    with pytest.raises(ParameterError, match="masks"):
        GreyAugmentation().paired(slices(2), torch.zeros(2, 12, 12), seeded_generator(1))
