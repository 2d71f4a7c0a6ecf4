"""Convolution and activation in one call are the two calls."""

import pytest
import torch
from torch import nn

from ich_study.methods.cams.tail_layers import Convolution, Pointwise, is_pointwise, one_call

ACTIVATIONS = (nn.SiLU(), nn.ReLU(), nn.Identity(), nn.GELU())


def maps(side=7, channels=6):
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "activation", ACTIVATIONS, ids=lambda activation: type(activation).__name__
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_pointwise_convolution_is_the_convolution(activation, bias):
    convolution = nn.Conv2d(6, 4, 1, bias=bias).requires_grad_(False)
    ours = Pointwise(convolution, activation)
    torch.testing.assert_close(ours.linear(maps()), convolution(maps()), rtol=1e-4, atol=1e-5)
    expected = activation(convolution(maps()))
    torch.testing.assert_close(ours(maps()), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(
        ours.double()(maps().double()) > 0, activation(ours.linear(maps().double())) > 0
    )


@pytest.mark.parametrize(
    "activation", ACTIVATIONS, ids=lambda activation: type(activation).__name__
)
@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect"},
        {"groups": 6, "padding": 1},
    ],
)
def test_any_other_convolution_is_itself(activation, options):
    convolution = nn.Conv2d(6, 6, 3, **options).requires_grad_(False)
    torch.testing.assert_close(
        Convolution(convolution, activation)(maps()),
        activation(convolution(maps())),
        rtol=1e-4,
        atol=1e-5,
    )


def test_only_a_dense_convolution_of_one_pixel_is_pointwise():
    assert is_pointwise(nn.Conv2d(4, 8, 1)) and is_pointwise(nn.Conv2d(4, 8, 1, padding="same"))
    others = (
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(4, 8, 1, stride=2),
        nn.Conv2d(4, 8, 1, groups=2),
        nn.Conv2d(4, 8, 1, padding=1),
        nn.Linear(4, 8),
    )
    assert not any(is_pointwise(layer) for layer in others)


def test_one_call_is_for_float32_and_known_activations_alone():
    known = torch.backends.mkldnn.is_available()
    assert one_call(maps(), nn.SiLU()) == known
    assert not one_call(maps().double(), nn.SiLU()) and not one_call(maps(), nn.GELU())
