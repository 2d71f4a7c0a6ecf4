"""What is drawn follows the priors: volumes, densities, and which subtypes occur together."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.priors import (
    COMBINATIONS,
    PICKED,
    PRIORS,
    draw_density,
    draw_subtypes,
    draw_volume,
)
from ich_study.schema import SUBTYPES


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_drawn_volumes_have_the_prior_median(subtype):
    rng = np.random.default_rng(0)
    volumes = [draw_volume(rng, subtype) for _ in range(4000)]
    prior = PRIORS[subtype].volume_ml
    assert np.median(volumes) == pytest.approx(prior[3], rel=0.08)
    assert prior[0] <= min(volumes) and max(volumes) <= prior[-1]


def test_a_demo_lesion_is_larger_and_denser_than_most_of_the_priors():
    rng = np.random.default_rng(1)
    for subtype, prior in PRIORS.items():
        volumes = [draw_volume(rng, subtype, "demo") for _ in range(50)]
        assert prior.volume_ml[4] < min(volumes) and max(volumes) <= prior.volume_ml[-1]
        densities = [draw_density(rng, subtype, "demo") for _ in range(50)]
        assert np.mean(densities) > prior.hu_mean + 0.5 * prior.hu_sd
    assert all("IPH" in draw_subtypes(rng, "demo") for _ in range(20))


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_drawn_density_follows_the_prior(subtype):
    rng = np.random.default_rng(4)
    drawn = np.mean([draw_density(rng, subtype) for _ in range(500)])
    assert drawn == pytest.approx(PRIORS[subtype].hu_mean, abs=1.6 * PRIORS[subtype].hu_sd)


def test_subtypes_are_drawn_in_the_clinical_order():
    rng = np.random.default_rng(2)
    counts = dict.fromkeys(SUBTYPES, 0)
    for _ in range(3000):
        for name in draw_subtypes(rng):
            counts[name] += 1
    assert counts["IPH"] > counts["SDH"] > counts["SAH"] > counts["IVH"] > counts["EDH"] > 0
    assert sum(COMBINATIONS.values()) == pytest.approx(1.0)


def test_a_picked_cohort_has_epidural_hematomas_enough():
    rng = np.random.default_rng(3)
    clinical, picked = (
        sum("EDH" in draw_subtypes(rng, picked=each) for _ in range(3000)) for each in (False, True)
    )
    assert clinical == pytest.approx(0.06 * 3000, rel=0.25)
    assert picked == pytest.approx(0.15 * 3000, rel=0.15)
    assert sum(PICKED.values()) == pytest.approx(1.0)
