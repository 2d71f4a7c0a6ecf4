"""The networks of notebook 05: what is handed to training, and the published ones by head."""

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, WeightsError
from ich_study.methods.mil import train
from ich_study.methods.mil.network import create_mil
from ich_study.methods.mil.train import (
    published_networks,
    train_head,
    training_config,
)


def test_a_positive_slice_weighs_as_all_negatives_where_the_loss_is_weighted():
    rows = pd.DataFrame({"any": [True, False, False, False]})
    assert training_config(rows, weighted_loss=True).positive_weight == 3
    assert training_config(rows, weighted_loss=False).positive_weight == 1
    with pytest.raises(DataError, match="positive"):
        training_config(pd.DataFrame({"any": [True, True]}), weighted_loss=True)


def test_the_network_sees_three_channels_and_learns_one_class():
    config = training_config(pd.DataFrame({"any": [True, False]}), False, size=96, epochs=3)
    assert config.windows == ("mil_raw", "mil_80", "mil_130") and config.normalisation == "mil"
    assert (config.classes, config.optimizer, config.size, config.epochs) == (
        ("any",),
        "adam",
        96,
        3,
    )


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
    config = training_config(pd.DataFrame({"any": [True, False]}), False, seed=7)
    with pytest.raises(Stopped):
        train_head("attention", network, 1, config, "store", "train", "validation", "folder")


def test_one_window_is_given_three_times_and_sees_nothing_outside_it():
    rows = pd.DataFrame({"any": [True, False]})
    config = training_config(rows, False, windows=("mil_80",), size=4)
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
