import pytest
import torch
from torch import nn

from ich_study.errors import ParameterError
from ich_study.models.frozen import frozen


def network():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).eval()
    model[0].weight.requires_grad_(False)
    return model


def test_no_weight_asks_for_a_gradient_inside_and_the_flags_come_back_after_an_error():
    model = network()
    before = [weight.requires_grad for weight in model.parameters()]
    with pytest.raises(RuntimeError, match="stop"), frozen(model):
        assert not any(weight.requires_grad for weight in model.parameters())
        assert not model(torch.ones(1, 2)).requires_grad
        raise RuntimeError("stop")
    assert [weight.requires_grad for weight in model.parameters()] == before
    assert before == [False, True, True, True]


def test_a_network_in_training_mode_is_refused():
    model = network()
    model[1].train()
    with pytest.raises(ParameterError, match="training mode"), frozen(model):
        pass
