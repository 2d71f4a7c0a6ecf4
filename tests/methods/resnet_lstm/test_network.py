import json

import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.methods.resnet_lstm.network import LastLayer, LSTMSettings, with_lstm, without_lstm
from ich_study.models.backbones import create_backbone
from ich_study.models.registry import load
from ich_study.models.weights import save_weights, state_digest


@pytest.fixture(scope="module")
def backbone():
    return create_backbone("resnet10t", 1, options={"channels": [8, 8, 16, 16]}, seed=1)


@pytest.mark.parametrize(
    "settings",
    [
        LSTMSettings(hidden=8),
        LSTMSettings(hidden=8, layers=2),
        LSTMSettings(hidden=8, bidirectional=True),
    ],
)
def test_padding_is_masked_a_volume_alone_and_beside_a_longer_one_is_the_same(backbone, settings):
    network = with_lstm(backbone, settings, seed=2).model.eval()
    slices = torch.randn(9, 3, 32, 32)
    with torch.inference_mode():
        together = network(slices, [2, 6, 1])
        alone = torch.cat(
            [network(slices[:2], [2]), network(slices[2:8], [6]), network(slices[8:], [1])]
        )
    assert together.shape == (9, 1) and torch.allclose(together, alone, atol=1e-5)


def test_one_direction_sees_what_came_before_and_two_see_what_follows(backbone):
    slices = torch.randn(5, 3, 32, 32)
    other = slices.clone()
    other[4] += 3
    for both in (False, True):
        network = with_lstm(
            backbone, LSTMSettings(hidden=8, bidirectional=both), seed=2
        ).model.eval()
        with torch.inference_mode():
            same = torch.isclose(network(slices, [5]), network(other, [5]), atol=1e-6)[
                :, 0
            ].tolist()
        assert same[:4] == [not both] * 4 and not same[4]


def test_gradients_reach_the_backbone_through_the_sequence(backbone):
    network = with_lstm(backbone, LSTMSettings(hidden=8), seed=2).model
    network(torch.randn(4, 3, 32, 32), [4])[3].backward()
    assert float(network.features.conv1[0].weight.grad.abs().sum()) > 0


def test_what_is_new_depends_on_the_seed_and_the_backbone_given_stays(backbone):
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    first, again, other = (
        with_lstm(backbone, LSTMSettings(hidden=8), seed).model for seed in (1, 1, 2)
    )
    weights = [network.lstm.weight_ih_l0 for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    with torch.no_grad():
        first.features.conv1[0].weight.zero_()
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in backbone.model.state_dict().items()
    )
    left = without_lstm(first, backbone, seed=3)
    assert not left.model.conv1[0].weight.any() and left.model.get_classifier().weight.shape == (
        1,
        first.features.num_features,
    )
    assert left.describe() == backbone.describe()


def test_empty_settings_are_refused():
    with pytest.raises(ParameterError):
        LSTMSettings(hidden=0)


def test_a_checkpoint_brings_the_sequence_network_and_its_last_layer_back(backbone, tmp_path):
    network = with_lstm(backbone, LSTMSettings(hidden=8, bidirectional=True), seed=2)
    layer = LastLayer(torch.nn.Linear(16, 1), "digest")
    for name, each in (("lstm", network), ("head", layer)):
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, each.model, {"architecture": each.describe()})
        found = load(path, torch.device("cpu"), type(each))
        assert state_digest(found.model) == state_digest(each.model)
        assert found.network.describe() == json.loads(json.dumps(each.describe()))
    assert network.start == state_digest(backbone.model)
