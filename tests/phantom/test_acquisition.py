"""The scanner: spectrum of the noise, beam hardening, range of the stored numbers."""

from __future__ import annotations

import numpy as np
import pytest

from ich_study.phantom.acquisition import (
    AIR_HU,
    HIGHEST_HU,
    LOWEST_HU,
    acquire,
    draw_scanner,
    fbp_noise,
)

MATRIX = 128


def scanner(**overrides):
    from dataclasses import replace

    plain = draw_scanner(np.random.default_rng(0), MATRIX, 5.0, None, 0.0, 240.0)
    return replace(
        plain,
        **{
            "angles": (0.0, 0.0, 0.0),
            "shift_mm": (0.0, 0.0),
            "padded": False,
            "streak_hu": 0.0,
            **overrides,
        },
    )


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
    low, middle, high = (
        power[(frequency > a) & (frequency < b)].mean()
        for a, b in ((0.005, 0.05), (0.2, 0.35), (0.85, 1.0))
    )
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
