"""The scanner: spectrum of the noise, beam hardening, places of slices, range of the stored numbers."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.acquisition import AIR_HU, HIGHEST_HU, LOWEST_HU, acquire, draw_scanner, fbp_noise
from ich_study.phantom.beam import ANGLES, FIELD_MM, GRID, beam_hardening, projector
from ich_study.phantom.geometry import Lattice
from ich_study.phantom.placement import place, sample, slice_positions
from ich_study.phantom.resample import linear_at

MATRIX = 128


def scanner(**overrides):
    from dataclasses import replace

    plain = draw_scanner(np.random.default_rng(0), MATRIX, 5.0, None, 0.0, 240.0)
    return replace(plain, **{"angles": (0.0, 0.0, 0.0), "shift_mm": (0.0, 0.0), "padded": False, "streak_hu": 0.0, **overrides})


def cylinder(hu_inside=30.0, bone=False):
    axis = (np.arange(MATRIX) - (MATRIX - 1) / 2) * 240 / MATRIX
    radius = np.hypot(axis[:, None], axis[None, :])
    image = np.where(radius < 80, hu_inside, AIR_HU).astype(np.float32)
    if bone:
        for side in (-1, 1):
            image[np.hypot(axis[:, None], axis[None, :] - side * 45) < 14] = 1500
    return np.repeat(image[None], 3, 0)


def test_noise_has_unit_sd_and_a_band_passed_spectrum():
    noise = fbp_noise(np.random.default_rng(0), (6, 128, 128), 0.5, 0.4)
    assert noise.std() == pytest.approx(1.0, abs=1e-4)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(128, 0.5)[:, None], np.fft.fftfreq(128, 0.5)[None, :])
    low, middle, high = (power[(frequency > a) & (frequency < b)].mean() for a, b in ((0.005, 0.05), (0.2, 0.35), (0.85, 1.0)))
    assert middle > 5 * low
    assert middle > 20 * high


def test_noise_is_the_filtered_white_noise_of_each_slice_in_turn():
    rng = np.random.default_rng(4)
    frequency = np.hypot(np.fft.fftfreq(48, 0.7)[:, None], np.fft.fftfreq(31, 0.7)[None, :])
    gain = (frequency + 0.012) * np.exp(-((frequency / 0.4) ** 2)) * (frequency > 0)
    white = [rng.standard_normal((48, 31), dtype=np.float32).astype(float) for _ in range(3)]
    wanted = np.stack([np.fft.ifft2(np.fft.fft2(each) * gain).real for each in white])
    found = fbp_noise(np.random.default_rng(4), (3, 48, 31), 0.7, 0.4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted / wanted.std(), atol=1e-5)


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


def test_noise_level_is_what_was_asked_for():
    image = np.repeat(cylinder(), 3, 0)
    stored = acquire(image, scanner(noise_hu=4.0, hardening=0.0), np.random.default_rng(1))
    middle = slice(MATRIX // 2 - 20, MATRIX // 2 + 20)
    assert stored[:, middle, middle].std() == pytest.approx(4.0, rel=0.3)
    assert stored[:, middle, middle].mean() == pytest.approx(30, abs=1.0)


def test_stored_numbers_are_12_bit_integers():
    image = cylinder() * 100
    stored = acquire(image, scanner(padded=True), np.random.default_rng(1))
    assert stored.dtype == np.int16
    assert stored.min() >= LOWEST_HU and stored.max() <= HIGHEST_HU
    assert (stored[:, 0, 0] == LOWEST_HU).all()


def test_slices_cover_the_head_or_are_as_many_as_asked():
    positions = slice_positions(scanner(), 0.95)
    assert np.diff(positions) == pytest.approx(5.0)
    assert positions[-1] - positions[0] > 120
    assert len(slice_positions(scanner(slices=12), 0.95)) == 12


def test_partial_volume_averages_over_the_slice():
    lattice = Lattice.spanning((-90, -108, -86), (94, 124, 86), (1, 4, 4))
    ramp = np.broadcast_to(lattice.mesh[0], lattice.shape).astype(np.float32)
    where = place(scanner(), lattice, (1.0, 1.0, 1.0), np.random.default_rng(0))
    straight = place(scanner(), lattice, (1.0, 1.0, 1.0), _NoBend())
    assert where.indices.shape == straight.indices.shape
    slices = sample(ramp, straight, MATRIX, -999)
    np.testing.assert_allclose(slices[:, 64, 64], straight.z_mm, atol=0.01)


def test_rows_descend_towards_posterior_with_a_positive_gantry_tilt():
    lattice = Lattice.spanning((-90, -108, -86), (94, 124, 86), (1, 4, 4))
    height = np.broadcast_to(lattice.mesh[0], lattice.shape).astype(np.float32)
    where = place(scanner(gantry_tilt=15.0), lattice, (1.0, 1.0, 1.0), _NoBend())
    image = sample(height, where, MATRIX, -999)[len(where.z_mm) // 2]
    slope = (image[80, 64] - image[50, 64]) / (30 * 240 / MATRIX)
    assert slope == pytest.approx(-np.sin(np.deg2rad(15)), abs=0.01)


@pytest.mark.parametrize("lesion", [(slice(20, 23), slice(30, 34), slice(10, 12)), (slice(5, 60), slice(2, 56), slice(3, 42))])
def test_passing_over_what_is_empty_changes_no_sample(lesion):
    lattice = Lattice.spanning((-90, -108, -86), (94, 124, 86), (3, 4, 4))
    field = np.zeros(lattice.shape, np.float32)
    field[lesion] = np.random.default_rng(2).random(field[lesion].shape)
    where = place(scanner(), lattice, (0.95, 0.9, 1.0), np.random.default_rng(3))
    found = sample(field, where, MATRIX, 0.0)[:, where.rows, where.columns]
    fine = linear_at(field, where.indices, 0.0).reshape(len(where.z_mm), where.sub_slices, *found.shape[1:])
    assert found.any()
    np.testing.assert_array_equal(found, fine.mean(1))


class _NoBend:
    """A generator of zeros, so that the placement is exact."""

    def normal(self, mean, sd, shape):
        return np.zeros(shape)
