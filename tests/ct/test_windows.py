"""Windows against float64 formulas of the papers and their code; NumPy and torch alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from ich_study.ct.windows import (
    WINDOWS,
    Window,
    apply_window,
    mil_channels,
    minmax_window,
    named_window,
    window_uint8,
    wrapped_grey,
)
from ich_study.errors import ParameterError

volumes = hnp.arrays(
    np.int16,
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    elements=st.integers(-3000, 4000),
)
windows = st.sampled_from(sorted(WINDOWS))
ALL_HU = np.arange(-2048, 4096, dtype=np.int16).reshape(64, 96)


@settings(max_examples=60, deadline=None)
@given(volumes, windows)
def test_window_is_the_formula_in_float64(hu, name):
    window = WINDOWS[name]
    low, high = window.center - window.width / 2, window.center + window.width / 2
    expected = (np.clip(hu.astype(np.float64), low, high) - low) / (high - low)
    ours = apply_window(hu, window)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert ours.dtype == np.float32 and ours.min() >= 0 and ours.max() <= 1
    np.testing.assert_allclose(apply_window(torch.from_numpy(hu), window).numpy(), ours, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(volumes, windows)
def test_minmax_window_is_per_slice(hu, name):
    window = WINDOWS[name]
    ours = minmax_window(torch.from_numpy(hu), window).numpy()
    for image, grey in zip(hu.astype(np.float64), ours):
        clipped = np.clip(image, window.low, window.high)
        spread = clipped.max() - clipped.min()
        np.testing.assert_allclose(
            grey,
            (clipped - clipped.min()) / spread if spread else np.zeros_like(clipped),
            atol=1e-5,
        )
    assert ours.dtype == np.float32 and np.isfinite(ours).all()


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("brain", 0, 80),
        ("ich", -40, 90),
        ("subdural", -20, 180),
        ("bone", -800, 2000),
        ("brain_120", -20, 100),
        ("subdural_340", -90, 250),
        ("bone_3200", -900, 2300),
        ("mil_80", 0, 80),
        ("mil_130", -15, 115),
    ],
)
def test_windows_of_the_papers(name, low, high):
    assert (named_window(name).low, named_window(name).high) == (low, high)


def test_unknown_window_names_the_known_ones():
    with pytest.raises(ParameterError, match=r"'liver'.*brain"):
        named_window("liver")


def test_ich_window_exports_the_authors_grey_values():
    """Clip to -40..90 HU, times 255 / 130, truncated: in whole numbers, for every HU there is."""
    expected = (np.clip(ALL_HU.astype(int), -40, 90) + 40) * 255 // 130
    np.testing.assert_array_equal(window_uint8(ALL_HU, WINDOWS["ich"]), expected)


@pytest.mark.parametrize("name", sorted(WINDOWS))
def test_grey_values_are_truncated_never_rounded_up_or_wrapped(name):
    window = WINDOWS[name]
    low, width = round(window.low), round(window.width)
    expected = np.clip(ALL_HU.astype(int) - low, 0, width) * 255 // width
    np.testing.assert_array_equal(window_uint8(ALL_HU, window), expected)


def test_wrapping_of_the_notebook():
    grey = wrapped_grey(torch.tensor([-1000, 900, 0, -1, 255, 256, -1024])) * 255
    assert grey.round().tolist() == [24, 132, 0, 255, 255, 0, 0]
    np.testing.assert_array_equal(
        (wrapped_grey(torch.from_numpy(ALL_HU)) * 255).round(), ALL_HU.astype(np.uint8)
    )


def test_mil_constants():
    channels = mil_channels(np.array([[-1024, -2000, 0, 40, 80, 3000]], np.int16))
    assert channels.shape == (3, 1, 6) and channels.dtype == np.float32
    np.testing.assert_allclose(channels[0, 0], [-0.4, -0.4, 0.624, 0.664, 0.704, 3.624], atol=1e-6)
    np.testing.assert_allclose(channels[1, 0], [-0.4, -0.4, -0.4, 1.648, 3.696, 3.696], atol=1e-5)
    np.testing.assert_allclose(
        channels[2, 0],
        [-0.4, -0.4, *(hu / 130 * 4.096 - 0.4 for hu in (15, 55, 95)), 3.696],
        atol=1e-5,
    )


@settings(max_examples=40, deadline=None)
@given(volumes)
def test_mil_channels_are_the_facts_formula(hu):
    raw = hu.astype(np.float64) + 1024
    raw[raw < -500] = 0
    expected = np.stack(
        [
            raw,
            np.clip((raw - 1024) / 80 * 4096, 0, 4096),
            np.clip((raw - 1009) / 130 * 4096, 0, 4096),
        ],
        -3,
    )
    ours = mil_channels(hu)
    np.testing.assert_allclose(ours, (expected - 400) / 1000, atol=1e-5)


def test_any_window_and_device_dtype_are_kept():
    tensor = torch.tensor([[-50.0, 50.0, 150.0]], dtype=torch.float64)
    assert apply_window(tensor, Window(50, 100)).tolist() == [[0, 0.5, 1]]
    assert apply_window(tensor, Window(50, 100)).dtype == torch.float32


def test_input_is_left_as_it_was():
    hu = ALL_HU.copy()
    for function in (
        mil_channels,
        lambda x: wrapped_grey(torch.from_numpy(x)),
        lambda x: minmax_window(torch.from_numpy(x), WINDOWS["brain"]),
        lambda x: window_uint8(x, WINDOWS["ich"]),
    ):
        function(hu)
    np.testing.assert_array_equal(hu, ALL_HU)
