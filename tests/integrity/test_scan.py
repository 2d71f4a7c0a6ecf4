"""Checks of one scan, each on the smallest scan that it must and must not complain about."""

import numpy as np
import pytest

from ich_study.integrity.scan import check_volume
from tests.store.fake_reader import make_scan


def checks(volume, intensity="hu"):
    return {
        (item.severity, item.check, item.slice_index) for item in check_volume(volume, intensity)
    }


def complaints(volume, intensity="hu"):
    return checks(volume, intensity) - checks(make_scan(0))


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


@pytest.mark.parametrize("intensity", ["hu", "8-bit grey"])
@pytest.mark.parametrize(
    ("added", "wrong"), [(-200, True), (-120, False), (150, False), (200, True)]
)
def test_a_brain_that_is_none_is_an_error_of_every_reader(added, wrong, intensity):
    scan = make_scan(0)
    moved = make_scan(0, hu=np.clip(scan.hu + np.int16(added), -1024, None).astype(np.int16))
    assert (("error", "hu-range", None) in complaints(moved, intensity)) is wrong


def test_one_odd_slice_in_the_middle_does_not_make_the_brain():
    hu = make_scan(0).hu.copy()
    hu[len(hu) // 2] = -1000
    assert ("error", "hu-range", None) not in complaints(make_scan(0, hu=hu))


def test_a_scan_of_zeros_is_an_error_and_one_empty_slice_a_warning():
    hu = make_scan(0).hu
    assert ("error", "constant-image", None) in complaints(make_scan(0, hu=np.zeros_like(hu)))
    hu = hu.copy()
    hu[0] = -1000
    found = {item for item in complaints(make_scan(0, hu=hu)) if item[1] == "constant-image"}
    assert found == {("warning", "constant-image", 0)}


@pytest.mark.parametrize(
    "change",
    [{"spacing_mm": (0.0, 0.5)}, {"spacing_mm": (0.5, -0.5)}, {"thickness_mm": 0.0}],
)
def test_sizes_that_are_not_positive_are_an_error_and_strange_ones_a_warning(change):
    assert ("error", "implausible-spacing", None) in complaints(make_scan(0, **change))
    strange = complaints(make_scan(0, spacing_mm=(1.8, 1.8)))
    assert strange == {("warning", "implausible-spacing", None)}
