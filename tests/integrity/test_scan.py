"""Checks of one scan, each on the smallest scan that it must and must not complain about."""

import numpy as np
import pytest

from ich_study.integrity.scan import check_volume, slice_extremes
from tests.store.fake_reader import make_scan


def checks(volume, intensity="hu"):
    return {
        (item.severity, item.check, item.slice_index) for item in check_volume(volume, intensity)
    }


def complaints(volume, intensity="hu"):
    return checks(volume, intensity) - checks(make_scan(0))


def test_extremes_are_of_every_slice():
    hu = np.array([[[1, 5]], [[-3, 2]]], np.int16)
    assert slice_extremes(hu).tolist() == [[1, -3], [5, 2]]


@pytest.mark.parametrize(
    ("z_mm", "expected"),
    [
        (np.arange(12) * 5.0, set()),
        (np.arange(12) * -5.0, {("error", "slices-out-of-order", 0)}),
        (
            np.where(np.arange(12) > 5, 10.0, 0) + np.arange(12) * 5,
            {("warning", "missing-slices", 5)},
        ),
        (np.full(12, np.nan), {("note", "unknown-position", None)}),
    ],
)
def test_positions(z_mm, expected):
    assert complaints(make_scan(0, z_mm=z_mm)) == expected


@pytest.mark.parametrize(
    ("name", "index", "value", "check"),
    [
        ("any", 3, False, ("error", "any-is-not-or", 3)),
        ("any", 5, True, ("error", "any-is-not-or", 5)),
        ("IPH", 3, False, ("error", "label-denies-mask", 3)),
        ("SDH", 3, True, ("warning", "mask-denies-label", 3)),
    ],
)
def test_labels_against_each_other_and_the_mask(name, index, value, check):
    volume = make_scan(0)
    volume.labels.loc[index, name] = value
    assert check in complaints(volume)


def test_a_mask_outside_the_head_is_an_error_and_a_small_part_of_it_nothing():
    volume = make_scan(0)
    volume.mask[3] = 0
    volume.mask[3, 0, :6] = 1
    assert ("error", "mask-outside-head", None) in complaints(volume)
    assert complaints(make_scan(0)) == set()


def test_a_box_outside_the_image_is_an_error_and_one_across_the_border_a_warning():
    for x, severity in ((40.0, "error"), (28.0, "warning")):
        volume = make_scan(0)
        volume.boxes.loc[0, "x"] = x
        assert (severity, "box-outside-image", 3) in complaints(volume)


def test_hounsfield_ranges_are_asked_of_hounsfield_units_only():
    bright = make_scan(0, hu=np.full((12, 32, 32), 900, np.int16) + np.arange(32, dtype=np.int16))
    assert ("warning", "hu-range", None) in complaints(bright)
    assert ("warning", "hu-range", None) not in complaints(bright, "8-bit grey")
