"""Brain masks on heads of known geometry, on what is no head, and on real scans where they are at
hand."""

import time

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from ich_study.ct.brain_mask import UNKNOWN_PIXEL_MM, brain_mask
from ich_study.errors import ParameterError
from ich_study.metrics.overlap import dice, overlap_counts
from ich_study.paths import real_data_root
from tests.ct.heads import PIXEL, SHAPE, head


@pytest.mark.parametrize("noise", [0, 8, 15])
def test_known_brain_is_found(noise):
    hu, truth = head(noise)
    found = brain_mask(hu, PIXEL)
    assert found.dtype == bool and found.shape == hu.shape
    assert dice(overlap_counts(found, truth, 3)) > 0.96
    outside = hu[found & ~ndimage.binary_dilation(truth, iterations=3)]
    assert len(outside) < 0.01 * truth.sum()


def test_orbits_and_scalp_are_left_out():
    hu, truth = head(5)
    found = brain_mask(hu, PIXEL)
    assert not found[4:9, :20].any()
    one = ndimage.label(found)[1]
    assert one == 1 and truth.sum() == pytest.approx(found.sum(), rel=0.05)


def test_blood_calcification_and_dark_ventricles_stay_inside():
    hu, truth = head(5)
    hu[16, 95:105, 60:70] = 75
    hu[16, 120:124, 100:104] = 400
    hu[16, 80:95, 100:115] = -60
    found = brain_mask(hu, PIXEL)
    assert found[16, 80:124, 60:115].all()
    crescent = truth & ~ndimage.binary_erosion(truth, np.ones((1, 3, 3)), iterations=5)
    hu[crescent & (np.indices(SHAPE)[2] > 110)] = 70
    assert (brain_mask(hu, PIXEL)[8:24] & crescent[8:24]).sum() > 0.9 * crescent[8:24].sum()


def test_head_rest_does_not_enclose_the_scalp():
    """A bright shell around the head with an air gap, as head rests look in a saturated window; a
    way out of the skull 16 mm wide joins scalp and brain."""
    hu, truth = head(5)
    hu[2:4, 150:190, 82:98][hu[2:4, 150:190, 82:98] > 200] = 30
    rows, columns = np.indices(SHAPE[1:]) - np.array([100, 90])[:, None, None]
    shell = (np.abs(np.hypot(rows / 97, columns / 84) - 1) < 0.02) & (rows > -60)
    hu[:, shell] = 300
    found = brain_mask(hu, PIXEL)
    scalp = (
        (hu > 0) & (hu < 60) & ~ndimage.binary_dilation(truth, np.ones((1, 3, 3)), iterations=12)
    )
    assert (found & scalp).sum() < 0.005 * scalp.sum()


def test_brain_behind_a_craniectomy_stays():
    hu, truth = head(5)
    defect = hu[8:20, 50:140, :60]
    defect[defect > 200] = 35
    found = brain_mask(hu, PIXEL)
    assert dice(overlap_counts(found, truth, 3)) > 0.95
    assert found[14, 60:130, 40].all()
    outside = found & ~ndimage.binary_dilation(truth, np.ones((1, 3, 3)), iterations=9)
    assert outside.sum() < 0.002 * truth.sum()


def test_finer_pixels_give_the_same_brain():
    hu, truth = head(4)
    fine = np.repeat(np.repeat(hu, 2, 1), 2, 2)
    found = brain_mask(fine, (0.5, 0.5))
    assert dice(overlap_counts(found, np.repeat(np.repeat(truth, 2, 1), 2, 2), 3)) > 0.96
    odd = brain_mask(fine[:, :-3, :-5], (0.5, 0.5))
    assert (odd != found[:, :-3, :-5]).mean() < 0.01


def test_unknown_spacing_has_a_usual_value():
    hu, _ = head()
    usual = (UNKNOWN_PIXEL_MM,) * 2
    np.testing.assert_array_equal(brain_mask(hu, (np.nan,) * 2), brain_mask(hu, usual))


def test_slices_without_head_are_empty():
    hu, _ = head()
    air = np.full((3, *hu.shape[1:]), -1000, np.int16)
    found = brain_mask(np.concatenate([air, hu, air]), PIXEL)
    assert not found[:3].any() and not found[-3:].any() and found[3:-3].any()


@pytest.mark.parametrize(
    "hu",
    [
        np.full((4, 64, 64), -1000),
        np.full((4, 64, 64), 40),
        np.full((4, 64, 64), 3071),
        np.full((1, 1, 1), 40),
        np.zeros((0, 8, 8)),
        np.random.default_rng(0).integers(-1000, 1000, (4, 64, 64)),
    ],
    ids=["air", "water", "metal", "pixel", "no slices", "noise"],
)
def test_no_head_is_all_false(hu):
    found = brain_mask(hu.astype(np.int16), (1.0, 1.0))
    assert (
        found.shape == hu.shape and found.dtype == bool and found.mean() < 0.01
        if hu.size
        else found.size == 0
    )


def test_bad_arguments_are_named():
    with pytest.raises(ParameterError, match="slices, rows, columns"):
        brain_mask(np.zeros((4, 4), np.int16), PIXEL)
    with pytest.raises(ParameterError, match="positive sides"):
        brain_mask(np.zeros((1, 4, 4), np.int16), (0, 1))


def test_a_scan_takes_less_than_a_second():
    hu = np.stack(
        [np.pad(image, ((156, 156), (166, 166)), constant_values=-1000) for image in head(5)[0]]
    )
    start = time.process_time()
    brain_mask(hu, (0.45, 0.45))
    assert hu.shape == (30, 512, 512) and time.process_time() - start < 1


@pytest.mark.skipif(
    real_data_root() is None, reason="the real scans are not at hand (ICH_REAL_DATA)"
)
def test_real_scan_has_a_brain_of_human_size():
    files = sorted((real_data_root() / "ge_head_dicom").glob("*.dcm"))
    if not files:
        pytest.skip("ge_head_dicom is not among the real scans")
    slices = sorted(
        (pydicom.dcmread(file) for file in files), key=lambda d: float(d.ImagePositionPatient[2])
    )
    hu = np.stack(
        [
            d.pixel_array.astype(np.float32) * float(d.RescaleSlope) + float(d.RescaleIntercept)
            for d in slices
        ]
    )
    gap = float(np.median(np.diff([float(d.ImagePositionPatient[2]) for d in slices])))
    side = float(slices[0].PixelSpacing[0])
    found = brain_mask(np.clip(hu, -1024, 3071).astype(np.int16), (side, side))
    assert 900 < found.sum() * gap * side**2 / 1000 < 1700
    assert not found[:2].any() and not found[-1].any() and found[8:26].any((1, 2)).all()
    assert np.median(hu[found]) == pytest.approx(30, abs=10) and (hu[found] > 200).mean() < 0.01
