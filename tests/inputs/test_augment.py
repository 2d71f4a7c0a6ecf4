import pytest
import torch
from hypothesis import given, settings, strategies as st
from torchvision.transforms.functional import InterpolationMode, affine, hflip

from ich_study.errors import ParameterError
from ich_study.inputs.augment import (
    NAMED,
    Affine,
    Augmentation,
    GreyAugmentation,
    affine_matrix,
    coarser,
    named_augmentation,
    random_crops,
    warp,
)
from ich_study.inputs.seeds import seeded_generator


def images(count=3, side=32, seed=0):
    return torch.rand(count, 2, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMED)
def test_identity_parameters_change_nothing(name):
    options = {"flip_probability": 0.0, "noise_probability": 0.0}
    if isinstance(NAMED[name], GreyAugmentation):
        options |= {"gain": 1.0, "offset": 0.0, "blur": 0.0, "sharpen": 0.0}
    for number in range(len(NAMED[name].affines)):
        options |= {
            f"{number}.rotate": 0.0,
            f"{number}.translate": 0.0,
            f"{number}.scale": [1.0, 1.0],
            f"{number}.shear": 0.0,
        }
    augmented = named_augmentation(name, options)(images(), seeded_generator(1))
    assert torch.allclose(augmented, images(), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    st.floats(-90, 90),
    st.integers(-6, 6),
    st.integers(-6, 6),
    st.floats(0.7, 1.4),
    st.floats(-20, 20),
)
def test_the_affine_map_equals_torchvision(angle, x, y, scale, shear):
    side = 33
    picture = images(1, side)
    forward = affine_matrix(
        torch.tensor([angle]),
        torch.tensor([[x / side, y / side]]),
        torch.tensor([scale]),
        torch.tensor([shear]),
    )
    ours = warp(picture, torch.linalg.inv(forward).float(), "zeros")
    theirs = affine(picture, angle, [x, y], scale, [shear, 0.0], InterpolationMode.BILINEAR)
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_a_certain_flip_is_a_flip_and_comes_first():
    flipped = Augmentation(flip_probability=1.0)(images(), seeded_generator(1))
    assert torch.allclose(flipped, hflip(images()), atol=1e-5)
    turn = Affine(1.0, rotate=0.0, translate=0.0, scale=(1.25, 1.25))
    both = Augmentation(1.0, (turn,))(images(), seeded_generator(1))
    assert torch.allclose(
        both,
        affine(hflip(images()), 0.0, [0, 0], 1.25, [0.0, 0.0], InterpolationMode.BILINEAR),
        atol=2e-3,
    )


def test_two_maps_are_applied_in_their_order():
    first, second = (
        Affine(1.0, scale=(1.5, 1.5)),
        Affine(1.0, rotate=0.0, shear=0.0, scale=(0.5, 0.5)),
    )
    ours = Augmentation(0.0, (first, second))(images(), seeded_generator(2))
    theirs = affine(images(), 0.0, [0, 0], 0.75, [0.0, 0.0], InterpolationMode.BILINEAR)
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_the_same_seed_draws_the_same_and_images_differ_from_each_other():
    same = images(1).expand(4, -1, -1, -1)
    one, two = (named_augmentation("lse_unet")(same, seeded_generator(5, 1)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.allclose(one[0], one[1])
    assert not torch.equal(one, named_augmentation("lse_unet")(same, seeded_generator(5, 2)))


def test_drawn_limits_and_probabilities_are_kept():
    augmentation = Augmentation(0.3, (Affine(0.6, scale=(0.8, 1.2)),))
    matrices = augmentation._drawn_matrices(4000, seeded_generator(1))
    flipped = matrices[:, 0, 0] < 0
    scales = 1 / matrices[:, 1, 1]
    assert abs(flipped.double().mean() - 0.3) < 0.03
    assert abs((scales != 1).double().mean() - 0.6) < 0.03
    assert scales.min() >= 0.8 - 1e-9 and scales.max() <= 1.2 + 1e-9 and scales.std() > 0.05


def test_noise_has_the_drawn_strength():
    noise = Augmentation(noise_probability=0.5, noise_std=0.1)(
        torch.zeros(400, 1, 16, 16), seeded_generator(1)
    ).std((1, 2, 3))
    assert abs((noise == 0).double().mean() - 0.5) < 0.1
    assert 0.09 < noise.max() < 0.115


def test_wrong_fill_is_named():
    with pytest.raises(ParameterError, match="mirror"):
        named_augmentation("lse_unet", {"fill": "mirror"})


def test_contrast_and_brightness_move_the_window_within_their_limits():
    grey = torch.linspace(0, 1, 64 * 16).reshape(64, 1, 4, 4)
    generator = torch.Generator().manual_seed(0)
    shifted = Augmentation(brightness=0.1)(grey, generator)
    assert (shifted - grey).abs().max() <= 0.1 + 1e-6 and shifted.min() >= 0 and shifted.max() <= 1
    assert (shifted - grey).flatten(1).mean(1).std() > 0.01
    stretched = Augmentation(contrast=0.2)(torch.full((64, 1, 4, 4), 0.75), generator)
    assert stretched.min() >= 0.7 - 1e-6 and stretched.max() <= 0.8 + 1e-6


def test_masks_move_with_their_images():
    shapes = torch.zeros(6, 1, 48, 48)
    shapes[:, :, 12:30, 8:22] = 1
    augmentation = named_augmentation("hgi_sam", {"noise_probability": 0.0})
    images, masks = augmentation.paired(shapes, shapes[:, 0].to(torch.uint8), seeded_generator(5))
    assert (
        torch.equal(images, augmentation(shapes, seeded_generator(5)))
        and masks.dtype == torch.uint8
    )
    assert (
        float(((images[:, 0] > 0.5) != masks.bool()).float().mean()) < 0.01
        and (masks != shapes[:, 0]).any()
    )
    assert torch.equal(
        named_augmentation("none").paired(shapes, masks, seeded_generator(5))[1], masks
    )


def test_crops_are_squares_of_the_slices_at_places_of_their_own():
    columns = torch.arange(12.0).expand(64, 1, 12, 12)
    numbered = columns + 12 * torch.arange(12.0)[:, None]
    cut = random_crops(numbered, 5, torch.Generator().manual_seed(0))
    assert cut.shape == (64, 1, 5, 5)
    # neighbours in a square are neighbours in the slice
    assert (cut[..., 1:] - cut[..., :-1] == 1).all() and (
        cut[..., 1:, :] - cut[..., :-1, :] == 12
    ).all()
    corners = {(int(each) // 12, int(each) % 12) for each in cut[:, 0, 0, 0]}
    assert {row for row, _ in corners} == {column for _, column in corners} == set(range(8))
    with pytest.raises(ParameterError, match="crop is 13 px of images of 12 x 12"):
        random_crops(numbered, 13, torch.Generator())


def test_the_mil_detectors_augmentation_crops_where_it_is_told_to():
    images = torch.rand(3, 2, 16, 16)
    plain = named_augmentation("mil_printed")(images, torch.Generator().manual_seed(0))
    cropped = named_augmentation("mil_printed", {"crop": 7})
    assert plain.shape == images.shape
    assert cropped(images, torch.Generator().manual_seed(0)).shape == (3, 2, 7, 7)


def test_a_coarser_image_keeps_its_mean_and_loses_its_detail():
    # stripes a pixel wide, and one step of brightness
    stripes = (torch.arange(64) % 2).float().repeat(64, 1)
    step = (torch.arange(64) >= 32).float().repeat(64, 1)
    pictures = torch.stack([stripes, step])[None].repeat(8, 1, 1, 1)
    less = coarser(pictures, 0.25, seeded_generator(1))
    assert less.shape == pictures.shape
    assert torch.allclose(less.mean((2, 3)), pictures.mean((2, 3)), atol=0.02)
    assert (less[:, 0, 8:-8, 8:-8].std((1, 2)) < 0.5 * stripes.std()).sum() >= 6
    assert torch.allclose(less[:, 1, :, :24], pictures[:, 1, :, :24], atol=1e-4)
    # a share of its own for each image
    assert len({round(float(each.std()), 6) for each in less[:, 1]}) > 4
    assert torch.allclose(coarser(pictures, 1.0, seeded_generator(1)), pictures, atol=1e-6)


def test_resolution_is_an_option_and_a_share():
    whole = Augmentation()(images(), seeded_generator(1))
    assert not torch.equal(
        named_augmentation("none", {"resolution": 0.3})(images(), seeded_generator(1)), whole
    )
    for wrong in (0, 1.5):
        with pytest.raises(ParameterError, match="resolution is"):
            named_augmentation("none", {"resolution": wrong})


def test_a_share_of_the_slices_comes_as_pictures():
    hu = torch.tensor([-1000, 0, 60, 1000], dtype=torch.int16).repeat(400, 1, 1)
    augmentation = Augmentation(as_pictures=0.25)
    seen = augmentation.pictures(hu, seeded_generator(1))
    whole = (seen == hu).all((1, 2))
    assert 0.68 < whole.float().mean() < 0.82
    black, white = seen[~whole][:, 0, 0], seen[~whole][:, 0, 3]
    assert black.min() == -20 and 3 <= black.max() <= 5
    assert 75 <= white.min() < 80 and 125 < white.max() <= 130
    assert (seen[:, 0, 2] == 60).all() and seen.dtype == torch.int16


def test_no_pictures_draw_nothing():
    hu, generator = torch.zeros(2, 1, 3, 3, dtype=torch.int16), seeded_generator(1)
    assert Augmentation().pictures(hu, generator) is hu
    assert torch.equal(
        torch.rand(3, generator=generator), torch.rand(3, generator=seeded_generator(1))
    )
