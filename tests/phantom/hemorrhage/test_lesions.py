"""Each subtype lies where it occurs, with the volume and the HU of the priors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ich_study.phantom.patient import PatientSpec, simulate
from ich_study.phantom.priors import PRIORS
from ich_study.schema import MASK_CODES, SUBTYPES
from tests.phantom.fake_scans import volumes_ml

SCANS = 5


@pytest.fixture(scope="module")
def scans():
    specs = {
        name: [PatientSpec(900 + k, (name,), matrix=96, thickness_mm=6.0) for k in range(SCANS)]
        for name in SUBTYPES
    }
    return {name: [simulate(spec) for spec in group] for name, group in specs.items()}


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_scans_show_the_volume_and_density_of_the_prior(scans, subtype):
    volumes = [volumes_ml(scan)[subtype] for scan in scans[subtype]]
    low, high = PRIORS[subtype].volume_ml[0], PRIORS[subtype].volume_ml[-1]
    assert low / 2 < np.median(volumes) < high
    code = MASK_CODES[subtype]
    core = [
        np.median(scan.hu[scan.mask == code])
        for scan in scans[subtype]
        if (scan.mask == code).sum() > 5
    ]
    prior = PRIORS[subtype]
    assert abs(np.mean(core) - prior.hu_mean) < prior.hu_sd


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_the_mask_holds_only_what_was_asked_for(scans, subtype):
    for scan in scans[subtype]:
        assert set(np.unique(scan.mask)) <= {0, MASK_CODES[subtype]}


def test_hematoma_is_denser_than_the_tissue_around_it(scans):
    for scan in scans["IPH"]:
        lesion = scan.mask == MASK_CODES["IPH"]
        if lesion.sum() < 40:
            continue
        rim = ndimage.binary_dilation(lesion, iterations=4) & ~ndimage.binary_dilation(
            lesion, iterations=1
        )
        tissue = rim & (scan.hu > 0) & (scan.hu < 80)
        assert np.median(scan.hu[lesion]) > np.median(scan.hu[tissue]) + 5


def test_subdural_and_epidural_lie_near_bone(scans):
    for name in ("SDH", "EDH"):
        near = []
        for scan in scans[name]:
            lesion = scan.mask == MASK_CODES[name]
            if lesion.any():
                to_bone = ndimage.distance_transform_edt(
                    scan.hu < 250, sampling=(scan.thickness_mm, scan.spacing_mm, scan.spacing_mm)
                )
                near.append(np.median(to_bone[lesion]))
        assert np.median(near) < 14
