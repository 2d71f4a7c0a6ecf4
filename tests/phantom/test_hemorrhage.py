"""Each subtype lies where it occurs, with the volume and the HU of the priors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ich_study.phantom.geometry import Lattice
from ich_study.phantom.hemorrhage.extra_axial import draw_epidural, draw_subdural
from ich_study.phantom.hemorrhage.growth import threshold
from ich_study.phantom.patient import PatientSpec, simulate
from ich_study.phantom.priors import COMBINATIONS, PRIORS, draw_density, draw_subtypes, draw_volume
from ich_study.phantom.skull import suture_distance
from ich_study.schema import MASK_CODES, SUBTYPES

SCANS = 5


@pytest.fixture(scope="module")
def scans():
    specs = {
        name: [PatientSpec(900 + k, (name,), matrix=96, thickness_mm=6.0) for k in range(SCANS)]
        for name in SUBTYPES
    }
    return {name: [simulate(spec) for spec in group] for name, group in specs.items()}


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_drawn_volumes_have_the_prior_median(subtype):
    rng = np.random.default_rng(0)
    volumes = [draw_volume(rng, subtype) for _ in range(4000)]
    prior = PRIORS[subtype].volume_ml
    assert np.median(volumes) == pytest.approx(prior[3], rel=0.08)
    assert prior[0] <= min(volumes) and max(volumes) <= prior[-1]


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_scans_show_the_volume_and_density_of_the_prior(scans, subtype):
    volumes = [scan.volume_ml()[subtype] for scan in scans[subtype]]
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


def test_threshold_encloses_the_wanted_volume():
    level = np.abs(np.random.default_rng(1).normal(size=(20, 30, 30))).astype(np.float32)
    edge = threshold(level, 1.0, 5.0, 0.001)
    assert (level < edge).sum() * 0.001 == pytest.approx(5.0, rel=0.02)


def test_threshold_of_no_room_is_nothing():
    assert threshold(np.ones((4, 4, 4), np.float32), np.zeros((4, 4, 4)), 1.0, 0.001) == -np.inf


def test_subtypes_are_drawn_in_the_clinical_order():
    rng = np.random.default_rng(2)
    counts = dict.fromkeys(SUBTYPES, 0)
    for _ in range(3000):
        for name in draw_subtypes(rng):
            counts[name] += 1
    assert counts["IPH"] > counts["SDH"] > counts["SAH"] > counts["IVH"] > counts["EDH"] > 0
    assert sum(COMBINATIONS.values()) == pytest.approx(1.0)


def test_epidural_profile_ends_at_the_sutures_and_subdural_stays_on_its_side():
    from ich_study.phantom.hemorrhage import extra_axial

    lattice = Lattice.spanning((-40, -90, -70), (80, 110, 70), (4, 4, 4))
    rng = np.random.default_rng(3)
    lens = extra_axial._profile(lattice, draw_epidural(rng, 15.0, 60.0), np.random.default_rng(0))
    assert (lens[suture_distance(lattice) < 1.0] < 1e-6).all()
    crescent = draw_subdural(rng, 40.0, 60.0)
    profile = extra_axial._profile(lattice, crescent, np.random.default_rng(0))
    other = np.broadcast_to(crescent.side * lattice.mesh[2] < 0, profile.shape)
    assert (profile[other] < 1e-6).all()
    on_suture = (suture_distance(lattice) < 1.0) & (np.abs(lattice.mesh[2]) > 30)
    assert profile[on_suture].max() > 0.2


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_drawn_density_follows_the_prior(subtype):
    rng = np.random.default_rng(4)
    drawn = np.mean([draw_density(rng, subtype) for _ in range(500)])
    assert drawn == pytest.approx(PRIORS[subtype].hu_mean, abs=1.6 * PRIORS[subtype].hu_sd)
