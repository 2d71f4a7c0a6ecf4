"""Settings of notebook 03: what the paper prints, and combinations that make no network."""

import pytest

from ich_study.errors import ParameterError
from ich_study.methods.resnet_lstm.settings import (
    CamRegion,
    ClusterRecipe,
    LSTMSettings,
    UNetSettings,
)


def test_both_directions_give_twice_the_values():
    assert LSTMSettings(hidden=16).width == 16
    assert LSTMSettings(hidden=16, bidirectional=True).width == 32


def test_what_is_not_said_is_what_the_paper_prints():
    cam, recipe, unet = CamRegion(), ClusterRecipe(), UNetSettings()
    assert (cam.threshold, cam.relu, cam.brain) == (0.7, False, False)
    assert (recipe.clusters, recipe.pixels, recipe.choice) == (4, "region", "differential")
    assert recipe.dilations == 0 and unet.equalise
    assert (unet.size, unet.depth, unet.epsilon) == (512, 32, 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": (4, 8, 16), "strides": (2,)}, "expected one stride fewer"),
        ({"size": 100, "depth": 32}, "must be multiples of 16"),
        ({"size": 64, "depth": 8}, "must be multiples of 16"),
    ],
)
def test_a_unet_whose_levels_do_not_fit_is_refused(settings, message):
    with pytest.raises(ParameterError, match=message):
        UNetSettings(**settings)
    # two levels with a stride of 2 fit patches of even sides
    assert UNetSettings(size=10, depth=6, channels=(4, 8), strides=(2,)).overlap == 0.5


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (CamRegion, {"threshold": 1.0}),
        (ClusterRecipe, {"clusters": 1}),
        (ClusterRecipe, {"pixels": "brain"}),
        (ClusterRecipe, {"choice": "darkest"}),
        (UNetSettings, {"crop": "middle"}),
        (UNetSettings, {"overlap": 1.0}),
    ],
)
def test_values_outside_their_range_are_refused(kind, settings):
    (name,) = settings
    with pytest.raises(ParameterError, match=name):
        kind(**settings)
