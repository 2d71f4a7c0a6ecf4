"""The networks of notebook 05: what is handed to training, and the published ones by head."""

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study import params, paths
from ich_study.errors import DataError, ParameterError, WeightsError
from ich_study.methods.mil import train
from ich_study.methods.mil.network import WINDOWS, create_mil
from ich_study.methods.mil.train import (
    published_networks,
    train_head,
    training_config,
)

ROWS = pd.DataFrame({"any": [True, False]})


def test_a_positive_slice_weighs_as_all_negatives_where_the_loss_is_weighted():
    rows = pd.DataFrame({"any": [True, False, False, False]})
    given = {"classes": ["any"], "positive_weight": 2.0}
    assert training_config(given, rows, weighted_loss=True).positive_weight == 3
    assert training_config(given, rows, weighted_loss=False).positive_weight == 2
    with pytest.raises(DataError, match="positive"):
        training_config(given, pd.DataFrame({"any": [True, True]}), weighted_loss=True)
    with pytest.raises(ParameterError, match=r"training\.epochs is 0; expected"):
        training_config({"epochs": 0}, rows, weighted_loss=False)


def test_the_networks_at_the_defaults_see_three_channels_and_learn_one_class():
    given = params.declared(paths.project_root() / "notebooks" / "05_mil_detector.ipynb")
    config = training_config(given["training"].default, ROWS, False)
    backbone = create_mil("printed", "attention")
    assert (config.outputs, config.in_channels) == (backbone.outputs, backbone.in_channels)
    assert config.windows == WINDOWS and config.normalisation == "mil"
    assert config.primary_class == "any" and config.optimizer == "adam"


@pytest.mark.parametrize(("network", "expected"), [("printed", 1), ("authors", 2)])
def test_blocks_and_seed_are_of_the_network_that_is_trained(monkeypatch, network, expected):
    """blocks of the parameters are the printed network's; the authors' has its own number."""

    class Stopped(Exception):
        pass

    def stop(backbone, config, store, train_rows, validation_rows, folder):
        assert (backbone.variant, backbone.head, backbone.blocks) == (
            network,
            "attention",
            expected,
        )
        assert (store, train_rows, validation_rows) == ("store", "train", "validation")
        first = create_mil(network, "attention", 7, blocks=expected).model.state_dict()
        assert all(
            (first[name] == each).all() for name, each in backbone.model.state_dict().items()
        )
        raise Stopped

    monkeypatch.setattr(train, "train_classifier", stop)
    config = training_config({"seed": 7}, ROWS, False)
    with pytest.raises(Stopped):
        train_head("attention", network, 1, config, "store", "train", "validation", "folder")


def test_one_window_is_given_three_times_and_sees_nothing_outside_it():
    given = {"windows": ["mil_80"], "size": 4, "normalisation": "mil"}
    config = training_config(given, ROWS, False)
    assert config.in_channels == 3
    hu = torch.tensor([[-1000.0, -20.0, 0.0, 40.0, 80.0, 300.0, 1000.0, 3000.0]]).to(torch.int16)
    inputs = config.preprocessing().inputs(hu[None, None])[0]
    assert inputs.shape == (3, 1, 8) and torch.equal(inputs[0], inputs[2])
    assert inputs[0, 0].unique(sorted=True).tolist() == pytest.approx([-0.4, 1.648, 3.696])


def test_published_networks_need_a_path(tmp_path):
    assert published_networks(None) == {}
    for entry in ({}, {"path": None}, {"path": "net.npz", "hash": "1"}):
        with pytest.raises(WeightsError, match="expected path"):
            published_networks({"attention": entry})
    with pytest.raises(WeightsError, match="does not exist"):
        published_networks({"attention": {"path": str(tmp_path / "net.npz")}})


def test_published_networks_are_read_by_head(tmp_path):
    entries = {}
    for seed, head in enumerate(("attention", "max_pooling")):
        state = create_mil("authors", head, seed).model.state_dict()
        np.savez(tmp_path / f"{head}.npz", **{name: each.numpy() for name, each in state.items()})
        entries[head] = {"path": str(tmp_path / f"{head}.npz")}
    found = published_networks(entries)
    assert list(found) == ["attention", "max_pooling"]
    for head, ready in found.items():
        backbone = ready.network
        assert (backbone.head, backbone.variant) == (head, "authors")
        assert backbone.weights_source == f"{head}.npz"
        assert ready.preprocessing.size == 256 and ready.history is None
    entries["attention"]["path"] = str(tmp_path / "max_pooling.npz")
    with pytest.raises(WeightsError, match="attention"):
        published_networks(entries)
