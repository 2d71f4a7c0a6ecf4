"""Ventricular blood stays in the ventricles; it sinks to posterior, or grows from its source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ich_study.phantom.hemorrhage.growth import voxel_ml
from ich_study.phantom.hemorrhage.intraventricular import paint_ventricular_blood


@pytest.fixture
def filled(head):
    """Blood of `volume_ml` from a source or none; the mean y of blood, and of the ventricles."""
    anatomy = head[0]

    def fill(volume_ml, source, seed):
        own = replace(anatomy, hu=anatomy.hu.copy())
        rng = np.random.default_rng(seed)
        blood = paint_ventricular_blood(own, volume_ml, 60.0, source, rng)
        y = np.broadcast_to(anatomy.lattice.mesh[1], blood.shape)
        places = [np.average(y, weights=part) for part in (blood, anatomy.ventricle)]
        return own, blood, *places

    return fill


def test_blood_lies_in_the_ventricles_with_the_volume_that_was_drawn(head, filled):
    anatomy, person, _ = head
    own, blood, *_ = filled(3.0, None, 1)
    assert blood.sum() * voxel_ml(own.lattice, person.scale) == pytest.approx(3.0, rel=0.2)
    assert (blood <= anatomy.ventricle + 1e-6).all()
    core = blood > 0.95
    assert own.hu[core].mean() == pytest.approx(60, abs=3)
    assert anatomy.hu[core].mean() < 30, "CSF before"


def test_blood_without_a_source_sinks_to_posterior(filled):
    # four of five heads at least: one in five is a cast
    behind = [blood - all_of for *_, blood, all_of in (filled(1.0, None, n) for n in range(10))]
    assert np.sum(np.array(behind) > 10) >= 6


def test_a_cast_grows_from_the_hematoma_that_broke_through(filled):
    # from 10 mL on a hematoma always leaves a cast
    *_, front, _ = filled(9.0, (8.0, -15.0, 14.0), 2)
    *_, back, _ = filled(9.0, (8.0, 60.0, 14.0), 2)
    assert front < back - 10
