import cv2
import numpy as np
import pytest
import torch

from ich_study.errors import MapError
from ich_study.evaluate.scaling import checked_maps, minmax, resized_maps


def maps(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_minmax_is_per_map_and_alike_for_arrays_and_tensors():
    raw = maps(3, 2, 7, 5)
    scaled = minmax(raw)
    for index in np.ndindex(3, 2):
        one = raw[index].astype(np.float64)
        np.testing.assert_allclose(
            scaled[index], (one - one.min()) / (one.max() - one.min()), atol=1e-6
        )
    np.testing.assert_allclose(minmax(torch.from_numpy(raw)).numpy(), scaled, atol=1e-7)


def test_a_flat_map_gives_zeros():
    assert not minmax(np.full((2, 4, 4), 3.0)).any()
    assert not minmax(torch.full((2, 4, 4), -1.0)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(value):
    broken = maps(2, 4, 4)
    broken[1, 2, 3] = value
    with pytest.raises(MapError, match="1 of 32 values"):
        checked_maps(broken, "GradCAM of slice 7")
    with pytest.raises(MapError, match="1 of 32"):
        minmax(torch.from_numpy(broken))


@pytest.mark.parametrize("shape", [(0, 4, 4), (4,), (2, 0, 3)])
def test_an_empty_map_is_refused(shape):
    with pytest.raises(MapError, match="shape"):
        checked_maps(np.zeros(shape), "GradCAM")


def test_resizing_upwards_equals_cv2():
    raw = maps(2, 6, 9)
    resized = resized_maps(torch.from_numpy(raw), (24, 36)).numpy()
    for ours, one in zip(resized, raw):
        np.testing.assert_allclose(
            ours, cv2.resize(one, (36, 24), interpolation=cv2.INTER_LINEAR), atol=1e-5
        )


def test_resizing_to_the_own_size_changes_nothing():
    raw = torch.from_numpy(maps(2, 3, 8, 8))
    assert torch.equal(resized_maps(raw, 8), raw)
