from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ich_study.ct.hounsfield import AIR_HU, to_hounsfield, unwrap_rsna
from ich_study.errors import DataError


def oracle(stored, slope, intercept):
    return np.clip(np.rint(stored.astype(np.float64) * slope + intercept), -1024, 32767)


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from([np.int16, np.uint16, np.int32, np.uint8]),
    slope=st.sampled_from([1.0, 0.5, 2.0, -1.0, 1.25]),
    intercept=st.one_of(st.integers(-40000, 40000).map(float), st.floats(-2000, 2000)),
    seed=st.integers(0, 99),
)
def test_matches_float64_formula(dtype, slope, intercept, seed):
    limits = np.iinfo(dtype)
    stored = np.random.default_rng(seed).integers(
        max(limits.min, -60000), min(limits.max, 60000), 50, dtype, endpoint=True
    )
    stored[:2] = max(limits.min, -60000), min(limits.max, 60000)
    before = stored.copy()
    hu = to_hounsfield(stored, slope, intercept)
    assert hu.dtype == np.int16
    np.testing.assert_array_equal(hu, oracle(stored, slope, intercept))
    np.testing.assert_array_equal(stored, before)


def test_twelve_bit_unsigned_equals_sixteen_bit_signed():
    hu = np.arange(-1024, 3072, dtype=np.int16)
    unsigned = (hu + 1024).astype(np.uint16)
    np.testing.assert_array_equal(to_hounsfield(unsigned, 1, -1024), hu)
    np.testing.assert_array_equal(to_hounsfield(hu, 1, 0), hu)


@pytest.mark.parametrize("padding", [-2000, 63536])
def test_padding_is_air_in_either_sign(padding):
    stored = np.array([-2000, 24, 1064], np.int16)
    np.testing.assert_array_equal(to_hounsfield(stored, 1, -1024, padding), [AIR_HU, -1000, 40])


def test_padding_inside_the_hu_range_is_air_too():
    stored = np.array([0, 1000, 2000], np.uint16)
    np.testing.assert_array_equal(to_hounsfield(stored, 1, 0, 2000), [0, 1000, AIR_HU])
    np.testing.assert_array_equal(to_hounsfield(stored, 1, 0, 900, 1100), [0, AIR_HU, 2000])


@pytest.mark.parametrize(("slope", "intercept"), [(0, 0), (float("nan"), 0), (1, float("inf"))])
def test_unusable_rescale_is_refused(slope, intercept):
    with pytest.raises(DataError, match="Hounsfield"):
        to_hounsfield(np.zeros(3, np.int16), slope, intercept)


def test_rsna_wrap_is_undone():
    hu = np.arange(-1000, 3096)
    stored, intercept = unwrap_rsna((hu % 4096).astype(np.uint16), 0)
    np.testing.assert_array_equal(to_hounsfield(stored, 1, intercept), hu)


@pytest.mark.parametrize(
    ("dtype", "intercept"), [(np.int16, 0), (np.uint16, -1024), (np.uint16, -100)]
)
def test_sound_files_are_not_unwrapped(dtype, intercept):
    stored = np.array([0, 3200], dtype)
    same, offset = unwrap_rsna(stored, intercept)
    assert same is stored and offset == intercept
