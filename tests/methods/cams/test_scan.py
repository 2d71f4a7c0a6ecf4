import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit
from torch.nn.functional import interpolate

from ich_study.evaluate.classifier_report import ClassifierReport
from ich_study.evaluate.scan_methods import OneScan
from ich_study.evaluate.thresholds import Threshold
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.cams.scan import open_method, recipes_of_run
from ich_study.models.backbones import create_backbone
from ich_study.models.weights import save_weights

PARAMETERS = {"target_class": "any", "layer_reading": "blocks", "eigen_sign": "defined"}


@pytest.fixture
def run(tmp_path):
    """A run of 06 over a classifier of random weights at 64 pixels."""
    network = create_backbone("resnet18", 1, 3, seed=5, options={"layers": [1, 1, 1, 1]})
    grid = Preprocessing(("brain",), "fixed", 1, 64, "none", (0.5,), (0.5,))
    described = {"architecture": network.describe(), "preprocessing": grid.describe()}
    described |= {"classes": ["any"], "two_outputs": False}
    save_weights(tmp_path / "classifier" / "weights.safetensors", network.model, described)
    gate = {"any": Threshold(float(logit(0.45)), "labels", "youden")}
    cuts = ClassifierReport(pd.DataFrame(), gate, *[pd.DataFrame()] * 4).cuts()
    cuts.to_csv(tmp_path / "classifier" / "thresholds.csv", index=False)
    rows = [
        ("hires_cam", "-1", "raw", "masks-validation", 0.1, 0.3),
        ("grad_cam", "-2", "raw", "masks-validation", 0.2, 0.5),
        ("hires_cam", "-2", "raw", "masks-test", 0.3, 0.9),  # saw the test masks
        ("hires_cam", "-3", "printed", "masks-validation", 0.4, 0.8),  # of each image its own
        ("hu_threshold", "", "raw", "masks-validation", 0.5, 0.7),  # a rival
    ]
    names = ["method", "layer", "variant", "threshold_source", "threshold", "objective"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "thresholds.csv", index=False)
    return tmp_path, network.model.eval(), grid


def test_the_best_map_of_the_validation_patients_is_taken(run):
    folder, _, _ = run
    parameters = {**PARAMETERS, "classifier_run": str(folder / "classifier")}
    ((path, recipe),) = recipes_of_run(folder, parameters)
    assert path == folder / "classifier" / "weights.safetensors"
    assert recipe.name == "best_cam"
    assert (recipe.options["method"], recipe.options["layer"]) == ("grad_cam", "-2")
    assert recipe.thresholds == (0.2,) and recipe.gates == pytest.approx((0.45,))
    assert json.loads(json.dumps(recipe.describe()))["source"] == "masks-validation"


def test_each_cam_at_its_best_depth_where_every_one_is_asked_for(run):
    folder, _, _ = run
    parameters = {**PARAMETERS, "classifier_run": str(folder / "classifier")}
    found = {recipe.name: recipe for _, recipe in recipes_of_run(folder, parameters, every=True)}
    assert list(found) == ["grad_cam", "hires_cam"]  # in the paper's order, without the rival
    assert found["grad_cam"].options["layer"] == "-2"
    assert (found["hires_cam"].options["layer"], found["hires_cam"].thresholds) == ("-1", (0.1,))


def test_its_heat_is_grad_cam_by_its_definition(run):
    folder, model, grid = run
    parameters = {**PARAMETERS, "classifier_run": str(folder / "classifier")}
    ((path, recipe),) = recipes_of_run(folder, parameters)
    hu = np.random.default_rng(0).integers(-50, 120, (10, 64, 64)).astype(np.int16)
    said = open_method(path, recipe, torch.device("cpu")).say(OneScan("scan", hu, (0.5, 0.5)))
    # Eq. 1 of the benchmark by hand, slice by slice: the last block but one, by its gradients
    inputs = grid.inputs(torch.from_numpy(hu)[:, None])
    kept = []
    model.layer3.register_forward_hook(lambda *hooked: kept.append(hooked[2]))
    for number in (0, 9):
        logit = model(inputs[number : number + 1])[0, 0]
        (gradient,) = torch.autograd.grad(logit, kept[-1])
        raw = (gradient.mean((2, 3), keepdim=True) * kept[-1]).sum(1, keepdim=True)
        expected = interpolate(raw, size=(64, 64), mode="bilinear")[0].detach().numpy()
        assert said.heat.read(np.array([number]))[0] == pytest.approx(expected, abs=1e-5)
        assert said.probability[number, 0] == pytest.approx(
            logit.detach().sigmoid().item(), abs=1e-5
        )
