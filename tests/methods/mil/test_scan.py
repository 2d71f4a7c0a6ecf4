from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import WeightsError
from ich_study.evaluate.scan_methods import OneScan
from ich_study.methods.mil.network import ReadyNetwork, create_mil, published_preprocessing
from ich_study.methods.mil.peaks import PUBLISHED, Detector
from ich_study.methods.mil.pipeline import locate
from ich_study.methods.mil.scan import open_method, published_recipe, recipes_of_run
from ich_study.models.weights import save_weights


@pytest.fixture
def run(tmp_path):
    """A run of one head at 32 pixels."""
    network = create_mil("printed", "attention", seed=3, blocks=1)
    grid = published_preprocessing(32)
    described = {"architecture": network.describe(), "preprocessing": grid.describe()}
    save_weights(tmp_path / "attention" / "weights.safetensors", network.model, described)
    detector = Detector(0.0, 0.0005, 3, "printed", False)
    row = {"head": "attention", **asdict(detector)}
    pd.DataFrame([row]).to_csv(tmp_path / "detectors.csv", index=False)
    return tmp_path, ReadyNetwork(network, grid), detector


def test_what_a_run_says_of_a_scan_is_what_its_detector_finds(run):
    folder, ready, detector = run
    ready.model.eval()
    hu = np.random.default_rng(0).integers(-100, 200, (3, 48, 40)).astype(np.int16)
    ((path, recipe),) = recipes_of_run(folder, {"variant": "printed"})
    assert (recipe.name, recipe.thresholds) == ("mil_attention", (0.0005,))
    method = open_method(path, recipe, torch.device("cpu"))
    said = method.say(OneScan("scan", hu, (0.5, 0.5)))
    logits, peaks = locate(ready, detector, hu)
    assert said.probability[:, 0] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-4)
    assert [each.tolist() for each in said.points] == [each.points.tolist() for each in peaks]
    assert said.heat.read(slice(None)).shape == (3, 1, 32, 32)


def test_a_run_without_its_tables_says_what_is_missing(tmp_path):
    with pytest.raises(WeightsError, match=r"detectors\.csv does not exist"):
        recipes_of_run(tmp_path, {"variant": "printed"})


def test_the_published_networks_have_their_published_detectors(tmp_path):
    tensors = create_mil("authors", "max_pooling", seed=1).model.state_dict()
    path = tmp_path / "MaxPool.npz"
    np.savez(path, **{name: each.numpy() for name, each in tensors.items()})
    recipe = published_recipe("max_pooling")
    assert recipe.thresholds == (PUBLISHED["max_pooling"].threshold,)
    assert recipe.name == "mil_max_pooling_published", "it stands beside our own"
    method = open_method(path, recipe, torch.device("cpu"))
    assert method.preprocessing.size == 256 and len(method.preprocessing.windows) == 3
