"""Neighbouring slices against NumPy's edge padding."""

import numpy as np
from hypothesis import given, strategies as st

from ich_study.ct.stacks import neighbours


@given(st.integers(1, 12), st.sampled_from([1, 3, 5, 9]), st.data())
def test_ends_are_repeated_as_by_edge_padding(slices, depth, data):
    index = data.draw(st.integers(0, slices - 1))
    padded = np.pad(np.arange(slices), depth // 2, mode="edge")
    assert neighbours(index, slices, depth) == padded[index : index + depth].tolist()


def test_lse_unets_three_slices():
    assert [neighbours(i, 4, 3) for i in range(4)] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
