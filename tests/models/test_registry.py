from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from ich_study.errors import WeightsError
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.models import registry
from ich_study.models.backbones import Backbone, create_backbone
from ich_study.models.registry import Network, load, rebuild, register
from ich_study.models.weights import save_weights, state_digest

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(("brain",), "fixed", 1, 32, "none", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def linear(monkeypatch):
    """A registered kind of network, forgotten after the test."""
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))

    @register("test_linear")
    @dataclass(frozen=True)
    class Linear(Network):
        model: nn.Linear = field(repr=False)

        def arguments(self):
            return {"width": self.model.in_features}

        @classmethod
        def rebuild(cls, arguments):
            return cls(nn.Linear(arguments["width"], 1))

    return Linear


def saved(path, network, **metadata):
    save_weights(path, network.model, {"architecture": network.describe(), **metadata})
    return path


def test_a_checkpoint_alone_brings_its_network_back_in_evaluation_mode(linear, tmp_path):
    network = linear(nn.Linear(3, 1))
    path = saved(tmp_path / "w.safetensors", network, preprocessing=PREPROCESSING.describe())
    found = load(path, CPU, linear)
    assert state_digest(found.model) == state_digest(network.model) and not found.model.training
    assert found.network.describe() == found.metadata["architecture"] == network.describe()
    assert found.preprocessing == PREPROCESSING and len(found.sha256) == 64
    with pytest.raises(WeightsError, match="SHA-256"):
        load(path, CPU, linear, "0" * 64)
    silent = saved(tmp_path / "silent.safetensors", network)
    with pytest.raises(WeightsError, match="does not say how its network's input is made"):
        load(silent, CPU, linear).preprocessing  # noqa: B018


def test_a_network_that_nobody_registered_says_what_to_import(linear):
    described = {**linear(nn.Linear(3, 1)).describe(), "kind": "unheard_of", "module": "a.method"}
    with pytest.raises(WeightsError, match=r"'unheard_of', .* import a\.method first, .*backbone"):
        rebuild(described, "w.safetensors")


def test_a_network_of_another_kind_or_without_a_description_is_refused(linear, tmp_path):
    path = saved(tmp_path / "w.safetensors", linear(nn.Linear(3, 1)))
    with pytest.raises(WeightsError, match="a network 'test_linear'; expected one of 'backbone'"):
        load(path, CPU, Backbone)
    save_weights(tmp_path / "bare.safetensors", nn.Linear(3, 1), {"classes": ["any"]})
    with pytest.raises(WeightsError, match="describes no network of this study"):
        load(tmp_path / "bare.safetensors", CPU, Backbone)
    with pytest.raises(WeightsError, match="'test_linear' is not complete"):
        rebuild({"kind": "test_linear", "module": "here", "depth": 3})


def test_weights_that_do_not_fit_the_description_are_refused(linear, tmp_path):
    described = linear(nn.Linear(4, 1)).describe()
    save_weights(tmp_path / "w.safetensors", nn.Linear(3, 1), {"architecture": described})
    with pytest.raises(WeightsError, match="of another shape"):
        load(tmp_path / "w.safetensors", CPU, linear)


def test_a_name_is_given_once(linear):
    with pytest.raises(ValueError, match="registered as 'test_linear' already"):
        register("test_linear")(Backbone)


def test_a_backbone_comes_back_with_its_options(tmp_path):
    options = {"channels": [8, 8, 16, 16]}
    backbone = create_backbone("resnet10t", 2, 1, options=options, seed=4)
    found = load(saved(tmp_path / "w.safetensors", backbone), CPU, Backbone)
    assert found.network.options == options and found.network.outputs == 2
    with torch.no_grad():
        picture = torch.randn(1, 1, 32, 32)
        assert torch.equal(found.model(picture), backbone.model.eval()(picture))
