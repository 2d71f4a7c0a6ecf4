"""What is captured of a layer, on a network whose gradients are known by hand."""

import pytest
import torch
from torch import nn

from ich_study.errors import MapError, ParameterError
from ich_study.methods.cams.capture import (
    Captured,
    capture,
    exact_float32,
)


class Sums(nn.Module):
    """Doubles the image, then triples it; the logits are 5 and 7 times the sum of that."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        self.first.weight.data.fill_(2.0)
        self.second.weight.data.fill_(3.0)

    def forward(self, images):
        total = self.second(self.first(images)).sum((1, 2, 3))
        return torch.stack([5 * total, 7 * total], 1)


IMAGES = torch.arange(1.0, 9.0).reshape(2, 1, 2, 2)


def test_each_layer_has_its_own_activations_and_the_targets_gradients():
    model = Sums().eval()
    layers = {"first": model.first, "second": model.second}
    scores, found = capture(model, IMAGES, layers, 1)
    assert scores.tolist() == [7 * 6 * 10.0, 7 * 6 * 26.0]
    assert torch.equal(found["first"].activations, 2 * IMAGES)
    assert torch.equal(found["second"].activations, 6 * IMAGES)
    assert found["first"].gradients[:, 0, 0, 0].tolist() == [3 * 7.0, 3 * 7.0]
    assert found["second"].gradients[:, 0, 0, 0].tolist() == [7.0, 7.0]
    assert torch.equal(found["second"].product[1], 7 * 6 * IMAGES[1].double())


def test_without_gradients_there_are_none():
    model = Sums().eval()
    _, found = capture(model, IMAGES, {"first": model.first}, gradients=False)
    assert found["first"].gradients is None


def test_the_layout_turns_outputs_and_gradients_alike():
    model = Sums().eval()
    model.output_fmt = "NHWC"
    _, found = capture(model, IMAGES, {"first": model.first})
    # read as (images, rows, columns, channels) the one channel of a 2 x 2 image is one row
    assert found["first"].activations.shape == found["first"].gradients.shape == (2, 2, 1, 2)


def test_a_network_keeps_its_flags_and_hooks_also_after_an_error():
    model = Sums().eval()
    model.second.weight.requires_grad_(False)
    with pytest.raises(RuntimeError):
        capture(model, IMAGES[:, :, 0], {"first": model.first})
    assert [weights.requires_grad for weights in model.parameters()] == [True, False]
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ParameterError, match="training mode"):
        capture(model.train(), IMAGES, {"first": model.first})


def test_tensorfloat_is_off_inside_and_as_it_was_outside():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        with exact_float32():
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_a_product_is_gradient_times_activation():
    found = Captured(torch.full((1, 1, 1, 2), 2.0), torch.tensor([[[[3.0, -4.0]]]]))
    assert found.product.tolist() == [[[[6.0, -8.0]]]]


class Twice(nn.Module):
    """One convolution, passed through twice."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(2, 2, 1)

    def forward(self, images):
        return self.shared(self.shared(images)).mean((2, 3))


def test_a_layer_that_runs_twice_has_no_one_map():
    model = Twice().eval()
    with pytest.raises(MapError, match="ran twice"):
        capture(model, torch.ones(1, 2, 4, 4), {"[-1]": model.shared})
