"""Subarachnoid blood replaces CSF near its source, and leaves tissue and ventricles free."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from ich_study.phantom.hemorrhage.growth import voxel_ml
from ich_study.phantom.hemorrhage.subarachnoid import (
    BASAL,
    SHOWN,
    draw_centre,
    paint_subarachnoid_blood,
)


def test_a_bleeding_starts_in_a_cistern_or_on_the_convexity():
    rng = np.random.default_rng(0)
    centres = [draw_centre(rng) for _ in range(400)]
    basal = [centre in BASAL for centre in centres]
    assert np.mean(basal) == pytest.approx(0.45, abs=0.08)
    for x, y, z in (centre for centre, low in zip(centres, basal) if not low):
        # on the ellipsoid of the brain's surface, above its base
        assert 0 <= z <= 62 and (x / 62) ** 2 + ((y - 16) / 80) ** 2 <= 1 + 1e-6
        assert (x / 62) ** 2 + ((y - 16) / 80) ** 2 + (z / 80) ** 2 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("centre", [(0, 0, -18), (40, 20, 40)])
def test_blood_fills_csf_around_its_centre(head, centre):
    anatomy, person, _ = head
    own = replace(anatomy, hu=anatomy.hu.copy())
    blood = paint_subarachnoid_blood(own, 3.0, 55.0, centre, np.random.default_rng(4))
    volume = blood.sum() * voxel_ml(own.lattice, person.scale)
    assert volume == pytest.approx(SHOWN * 3.0, rel=0.4)
    # only where CSF is at most a voxel away, and in no ventricle
    beside = ndimage.maximum_filter(anatomy.csf, size=(1, 3, 3))
    assert (beside[blood > 0.01] > 0).all() and (anatomy.ventricle[blood > 0.01] < 0.3).all()
    z, y, x = np.broadcast_arrays(*anatomy.lattice.mesh)
    far = sum((axis - at) ** 2 for axis, at in zip((x, y, z), centre)) ** 0.5
    assert np.average(far, weights=blood) < 0.5 * np.average(far, weights=anatomy.csf)
    assert np.array_equal(own.hu[blood == 0], anatomy.hu[blood == 0])
    full = blood > 0.95
    assert own.hu[full].mean() == pytest.approx(55, abs=3)
    assert anatomy.hu[full].mean() < 40, "CSF and cortex before"
