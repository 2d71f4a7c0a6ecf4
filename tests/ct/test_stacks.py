"""Neighbouring slices against NumPy's edge padding."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from ich_study.ct.stacks import neighbours
from ich_study.errors import ParameterError


@given(st.integers(1, 12), st.sampled_from([1, 3, 5, 9]), st.data())
def test_ends_are_repeated_as_by_edge_padding(slices, depth, data):
    index = data.draw(st.integers(0, slices - 1))
    padded = np.pad(np.arange(slices), depth // 2, mode="edge")
    assert neighbours(index, slices, depth) == padded[index : index + depth].tolist()


def test_lse_unets_three_slices():
    assert [neighbours(i, 4, 3) for i in range(4)] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


@pytest.mark.parametrize(
    "index, slices, depth, message",
    [
        (0, 4, 2, "odd"),
        (0, 4, 0, "odd"),
        (0, 4, -1, "odd"),
        (4, 4, 3, "slice 4 of a scan with 4"),
        (-1, 4, 3, "slice -1"),
        (0, 0, 3, "0 slices"),
    ],
)
def test_bad_arguments_are_named(index, slices, depth, message):
    with pytest.raises(ParameterError, match=message):
        neighbours(index, slices, depth)
