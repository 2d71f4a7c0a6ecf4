"""Skull removal on heads of known geometry, each step against SciPy or scikit-image."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import convex_hull_image

from ich_study.methods.resnet_lstm import skull_removal
from ich_study.methods.resnet_lstm.skull_removal import (
    equalised,
    find_skull,
    stripped_slice,
)
from tests.ct.heads import head


@pytest.fixture(scope="module")
def middle():
    hu, brain = head(6)
    return hu[14], brain[14]


def test_brain_stays_and_skull_and_outside_go(middle):
    hu, brain = middle
    steps = find_skull(hu)
    assert (steps.inside & brain).sum() > 0.98 * brain.sum()
    assert hu[steps.skull].min() > 300
    assert not (steps.inside & (hu < -500)).any() and not (steps.inside & steps.skull).any()
    np.testing.assert_array_equal(steps.inside, steps.hull & ~steps.skull)


def test_threshold_component_and_hull_are_scipys_and_scikit_images(middle, monkeypatch):
    hu, _ = middle
    monkeypatch.setattr(skull_removal, "PART", 1)
    steps = find_skull(hu)
    labels, _ = ndimage.label(
        steps.smoothed >= np.percentile(steps.smoothed, 95) - 0.01, np.ones((3, 3))
    )
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    np.testing.assert_array_equal(steps.skull, largest)
    oracle = convex_hull_image(largest, offset_coordinates=False)
    assert (steps.hull != oracle).sum() <= 0.02 * oracle.sum() and not (largest & ~steps.hull).any()


def test_bilateral_filter_is_its_formula(monkeypatch):
    for name, value in (("DIAMETER", 5), ("SIGMA_INTENSITY", 40), ("SIGMA_SPACE", 3)):
        monkeypatch.setattr(skull_removal, name, value)
    image = np.random.default_rng(0).normal(40, 30, (15, 15)).astype(np.float32)
    smoothed = find_skull(image).smoothed
    offsets = [(r, c) for r in range(-2, 3) for c in range(-2, 3) if r * r + c * c <= 4]
    patch = np.array([image[7 + r, 7 + c] for r, c in offsets], np.float64)
    space = np.exp([-(r * r + c * c) / (2 * 9) for r, c in offsets])
    weights = space * np.exp(-((patch - image[7, 7]) ** 2) / (2 * 1600))
    assert smoothed[7, 7] == pytest.approx((weights * patch).sum() / weights.sum(), rel=1e-3)


def test_broken_skull_base_needs_its_parts(middle, monkeypatch):
    hu, brain = middle
    broken = hu.copy()
    broken[:, 84:96] = np.where(hu[:, 84:96] > 200, 30, hu[:, 84:96])
    assert (find_skull(broken).inside & brain).sum() > 0.95 * brain.sum()
    monkeypatch.setattr(skull_removal, "PART", 1)
    assert (find_skull(broken).inside & brain).sum() < 0.6 * brain.sum()


def test_separate_blood_stays(middle):
    hu, _ = middle
    bleeding = hu.copy()
    bleeding[90:100, 60:72] = 75
    steps = find_skull(bleeding)
    assert steps.inside[91:99, 61:71].all()
    enhanced = equalised(stripped_slice(bleeding))
    assert np.median(enhanced[91:99, 61:71]) > np.percentile(enhanced[steps.inside], 90)


def test_saturated_grey_values_still_have_a_skull(middle):
    hu, brain = middle
    grey = (np.clip(hu, 0, 80) / 80 * 255).astype(np.uint8)
    assert (grey == 255).mean() > 0.05
    steps = find_skull(grey)
    assert steps.skull.any() and (steps.inside & brain).sum() > 0.95 * brain.sum()


def test_equalisation_is_the_textbooks():
    grey = np.random.default_rng(0).integers(20, 90, (40, 50)).astype(np.uint8)
    cumulative = np.cumsum(np.bincount(grey.ravel(), minlength=256)).astype(np.float64)
    first = cumulative[cumulative > 0][0]
    expected = (cumulative[grey] - first) / (grey.size - first) * 255
    np.testing.assert_allclose(equalised(grey), expected, atol=0.51)
    assert equalised(grey).min() == 0 and equalised(grey).max() == 255
    constant = np.full((5, 5), 7, np.uint8)
    np.testing.assert_array_equal(equalised(constant), constant)


@pytest.mark.parametrize("value", [-1000, 0, 40])
def test_constant_slice_keeps_nothing(value):
    image = np.full((32, 32), value, np.int16)
    steps = find_skull(image)
    assert not steps.skull.any() and not steps.hull.any() and not steps.inside.any()
    assert (equalised(stripped_slice(image)) == 0).all()
