import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ich_study.hashing import pixel_hash


def test_it_is_the_published_function():
    """Vectors of XXH3-128 with seed 0, as xxHash's own sanity check lists them (empty input) and
    gives for "abc"."""
    assert pixel_hash(np.empty(0, np.uint8)) == "99aa06d3014798d86001c324468d497f"
    assert pixel_hash(np.frombuffer(b"abc", np.uint8)) == "06b05ab6733a618578af5f94892f3950"


@settings(deadline=None, max_examples=50)
@given(row=st.integers(0, 511), column=st.integers(0, 511), bit=st.integers(0, 15))
def test_every_bit_of_every_pixel_counts(row, column, bit):
    image = np.random.default_rng(0).integers(-1024, 3071, (512, 512)).astype(np.int16)
    before = pixel_hash(image)
    image.view(np.uint16)[row, column] ^= np.uint16(1 << bit)
    assert pixel_hash(image) != before


def test_equal_images_agree_and_a_permuted_one_differs():
    image = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    assert (
        pixel_hash(image) == pixel_hash(image.copy()) != pixel_hash(np.ascontiguousarray(image.T))
    )


def test_an_array_with_gaps_is_refused_rather_than_hashed_in_part():
    with pytest.raises((BufferError, ValueError)):
        pixel_hash(np.zeros((8, 8), np.int16)[:, ::2])
