import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import ROADCombined
from scipy.ndimage import gaussian_filter
from torch import nn

from ich_study.errors import MapError, ParameterError
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.cams import faithfulness

PLAIN = Preprocessing(("brain",), "fixed", 1, 24, "none", (0.0,), (1.0,))


class BrightSpot(nn.Module):
    """A logit that is the mean of one corner: the truth about relevance is known."""

    def forward(self, images):
        return (20 * images[:, :, :6, :6].mean((1, 2, 3)) - 10)[:, None]


def spot_slices(count=3):
    channels = torch.rand(count, 1, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.1
    channels[:, :, :6, :6] += 0.9
    return channels


def right_map(count=3):
    maps = torch.zeros(count, 24, 24)
    maps[:, :6, :6] = 1
    return maps


def score():
    return faithfulness.Probability(BrightSpot().eval(), PLAIN, batch_size=7)


def test_probability_is_the_sigmoid_of_the_logit_in_any_batch_size():
    channels = spot_slices(5)
    expected = torch.sigmoid(BrightSpot()(channels.expand(-1, 3, -1, -1)))[:, 0]
    for size in (2, 64):
        assert torch.allclose(
            faithfulness.Probability(BrightSpot().eval(), PLAIN, batch_size=size)(channels),
            expected,
        )


def test_ranks_follow_the_map_and_ties_are_shuffled_by_the_seed():
    maps = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(3))
    ranks = faithfulness.removal_ranks(maps, 0)
    for one, ranked in zip(maps, ranks):
        assert torch.equal(
            one.flatten()[ranked.flatten().argsort()], one.flatten().sort(descending=True).values
        )
    flat = torch.zeros(1, 8, 8)
    first, again, other = (faithfulness.removal_ranks(flat, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert sorted(first.flatten().tolist()) == list(range(64))
    # a flat map must not remove the slice from the top down
    assert first.flatten()[:32].double().mean() == pytest.approx(31.5, abs=8)


def test_the_right_map_deletes_fast_and_inserts_fast():
    channels = spot_slices()
    areas = {
        name: faithfulness.deletion_and_insertion(
            score(), channels, faithfulness.removal_ranks(maps, 0), 16, "mean", "zero"
        )
        for name, maps in (("right", right_map()), ("wrong", -right_map()))
    }
    assert (areas["right"][0] < areas["wrong"][0] - 0.3).all()
    assert (areas["right"][1] > areas["wrong"][1] + 0.3).all()


def test_curves_end_where_they_must_and_their_area_is_the_trapezoid():
    channels, ranks = spot_slices(), faithfulness.removal_ranks(torch.rand(3, 24, 24), 0)
    fill = faithfulness.baseline(channels, "mean")
    shares = np.linspace(0, 1, 5)
    deleted = faithfulness.probability_curve(score(), channels, ranks, shares, fill, insert=False)
    inserted = faithfulness.probability_curve(score(), channels, ranks, shares, fill, insert=True)
    assert torch.allclose(deleted[:, 0], score()(channels)) and torch.allclose(
        deleted[:, -1], score()(fill)
    )
    assert torch.allclose(inserted[:, 0], deleted[:, -1]) and torch.allclose(
        inserted[:, -1], deleted[:, 0]
    )
    area, _ = faithfulness.deletion_and_insertion(score(), channels, ranks, 4, "mean", "blur")
    assert np.allclose(area.numpy(), np.trapezoid(deleted.numpy(), shares, axis=1), atol=1e-6)


def test_road_equals_the_library():
    channels = spot_slices(2)
    maps = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(5))
    shares = (0.2, 0.5, 0.8)
    ranks = faithfulness.removal_ranks(maps, 0)
    ours = faithfulness.road_combined(score(), channels, ranks, shares, 0.0, 0)

    class Sigmoid(BrightSpot):
        def forward(self, images):
            return super().forward(images).sigmoid()

    # the library's percentile p removes the top (100 - p) percent; its noise cannot be set, so it
    # is averaged away
    metric = ROADCombined(percentiles=[20, 50, 80])
    theirs = np.mean(
        [
            metric(channels, maps.numpy(), [lambda output: output[0]] * 2, Sigmoid())
            for _ in range(3)
        ],
        axis=0,
    )
    assert np.abs(ours.numpy() - theirs).max() < 0.02


def test_road_prefers_the_right_map():
    channels = spot_slices()
    right, wrong = (
        faithfulness.road_combined(
            score(), channels, faithfulness.removal_ranks(maps, 0), (0.1, 0.3), 0.01, 0
        )
        for maps in (right_map(), -right_map())
    )
    assert (right > 0.2).all() and (wrong < -0.2).all()


def test_baselines_are_what_they_say():
    channels = spot_slices()
    assert faithfulness.baseline(channels, "zero").abs().max() == 0
    assert torch.allclose(
        faithfulness.baseline(channels, "mean")[:, :, 0, 0], channels.mean((-2, -1))
    )
    blurred = faithfulness.baseline(channels, "blur")
    expected = gaussian_filter(
        channels.numpy(), (0, 0, 1.5, 1.5), mode="mirror", radius=(0, 0, 5, 5)
    )
    assert np.abs(blurred.numpy() - expected).max() < 1e-5
    flat = torch.full((1, 2, 24, 24), 0.3)
    assert torch.allclose(faithfulness.baseline(flat, "blur"), flat, atol=1e-6)


def test_bad_input_is_an_error():
    channels, ranks = spot_slices(), faithfulness.removal_ranks(right_map(), 0)
    with pytest.raises(ParameterError, match="baseline"):
        faithfulness.baseline(channels, "black")
    with pytest.raises(ParameterError, match="shares"):
        faithfulness.road_combined(score(), channels, ranks, (1.5,), 0.01, 0)
    with pytest.raises(ParameterError, match="steps"):
        faithfulness.deletion_and_insertion(score(), channels, ranks, 0, "mean", "blur")

    class Broken(nn.Module):
        def forward(self, images):
            return torch.full((len(images), 1), torch.nan)

    with pytest.raises(MapError, match="not finite"):
        faithfulness.Probability(Broken(), PLAIN)(channels)
