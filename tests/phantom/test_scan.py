"""A phantom scan says which slices show what, and how much of it there is."""

from __future__ import annotations

import pytest

from tests.phantom.fake_scans import LESIONS, fake_scan, volumes_ml


def test_labels_are_of_the_slices_that_the_mask_shows():
    labels = fake_scan(1).slice_labels()
    for subtype, lesion in LESIONS.items():
        assert labels[subtype].nonzero()[0].tolist() == [lesion[0]]
    assert labels["any"].nonzero()[0].tolist() == [1, 2] and not labels["EDH"].any()


def test_a_lesion_smaller_than_asked_for_is_no_label():
    labels = fake_scan(1).slice_labels(at_least_mm2=15.0)  # SDH 20, IPH 20, IVH 6 mm2
    assert labels["SDH"].any() and labels["IPH"].any() and not labels["IVH"].any()


def test_a_volume_is_pixels_by_spacing_and_distance():
    volumes = volumes_ml(fake_scan(1))
    assert volumes["SDH"] == pytest.approx(4 * 20 * 0.25 * 5 / 1000)
    assert volumes["EDH"] == 0
