"""Beam hardening: a projection is a chord, bone darkens what lies between, water does nothing."""

from __future__ import annotations

import numpy as np

from ich_study.phantom.beam import ANGLES, FIELD_MM, GRID, beam_hardening, projector
from tests.phantom.test_acquisition import MATRIX, cylinder


def test_projection_of_a_disc_is_its_chord():
    axis = (np.arange(GRID) - (GRID - 1) / 2) * FIELD_MM / GRID
    disc = (np.hypot(axis[:, None], axis[None, :]) < 60).astype(np.float32)
    sinogram = (projector() @ disc.ravel()).reshape(ANGLES, -1)
    np.testing.assert_allclose(sinogram.max(1), 120, rtol=0.12)


def test_beam_hardening_darkens_the_band_between_two_bones():
    image = cylinder(bone=True)
    field, glow, _ = beam_hardening(image, 240 / MATRIX, np.random.default_rng(0))
    middle = MATRIX // 2
    between = field[1, middle - 4 : middle + 4, middle - 8 : middle + 8].mean()
    above = field[1, middle - 30 : middle - 22, middle - 8 : middle + 8].mean()
    assert between < above - 2
    assert glow[1, middle, middle + 20] > glow[1, middle, middle]
    assert np.abs(field[1][image[1] < -900]).mean() < 2


def test_water_alone_is_not_hardened():
    field, glow, _ = beam_hardening(cylinder(), 240 / MATRIX, np.random.default_rng(0))
    assert np.abs(field).max() < 0.5
    assert np.abs(glow).max() < 1e-3
