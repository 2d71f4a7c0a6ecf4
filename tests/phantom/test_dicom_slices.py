"""HU as scanners store them: intercept, padding, and the RSNA defect that wraps."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ich_study.phantom.dicom_slices import Storage, add_image, digest, field_of_view
from tests.phantom.fake_scans import fake_scan

HU = np.array([[-1024, -1000, 0, 80]], np.int16)


@pytest.mark.parametrize(
    ("storage", "stored", "dtype"),
    [
        (Storage(), [0, 24, 1024, 1104], "<i2"),
        (Storage(signed=False, bits_stored=12), [0, 24, 1024, 1104], "<u2"),
        (Storage(signed=False, intercept=0, wrapped=True), [3096, 3096, 0, 80], "<u2"),
    ],
)
def test_hu_are_stored_as_the_header_says(storage, stored, dtype):
    found = storage.stored(HU)
    assert found.tolist() == [stored] and found.dtype == np.dtype(dtype)


def test_what_does_not_fit_into_12_bits_is_clipped():
    assert Storage(signed=False, bits_stored=12).stored(np.array([[4000]], np.int16)) == 4095


def test_padding_lies_outside_the_circle_and_nowhere_else():
    stored = Storage(padding=-2000).stored(np.zeros((9, 9), np.int16))
    np.testing.assert_array_equal(stored == -2000, ~field_of_view(9, 9))
    assert stored[0, 0] == -2000 and stored[4, 4] == 1024


def test_a_slices_centre_lies_on_the_table_axis_whatever_its_tilt():
    for tilt in (0.0, 20.0):
        scan = fake_scan(1, tilt=tilt)
        dataset = add_image(Dataset(), scan, 50.0, Storage().stored(scan.hu[0]), Storage())
        corner = np.array(dataset.ImagePositionPatient, float)
        right, down = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        centre = corner + (right * 63 + down * 63) / 2 * scan.spacing_mm
        np.testing.assert_allclose(centre, [0, 0, 50], atol=1e-4)


def test_a_digest_depends_on_its_parts_alone():
    assert digest("a", 1, digits=8) == digest("a", 1, digits=8) != digest("a", 2, digits=8)
    assert len(digest("a", digits=10)) == 10
