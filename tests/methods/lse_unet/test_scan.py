from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from ich_study.evaluate.classifier_report import ClassifierReport
from ich_study.evaluate.scan_methods import ScanRecipe
from ich_study.evaluate.thresholds import Threshold
from ich_study.methods.lse_unet import scan
from ich_study.methods.lse_unet.algorithm1 import heat_levels, label_maps
from ich_study.methods.lse_unet.report import class_thresholds
from ich_study.methods.lse_unet.scan import recipes_of_run
from ich_study.new_scan.apply import marked
from ich_study.schema import MASK_CODES

CLASSES = ["IPH", "SAH"]
PARAMETERS = {"base_variant": "authors", "map_classes": CLASSES}


@pytest.fixture
def run(tmp_path):
    """Tables of a run: class thresholds of two arms; the variant's weights."""
    probabilities = {"authors": {"IPH": 0.4, "SAH": 0.6}, "printed": {"IPH": 0.9}}
    classified = {}
    for arm, of_class in probabilities.items():
        found = {name: Threshold(logit(cut), "labels", "youden") for name, cut in of_class.items()}
        classified[arm] = ClassifierReport(pd.DataFrame(), found, *[pd.DataFrame()] * 4)
    # written as notebook 02 writes it: thresholds are on the logit, a scan's gates on probability
    class_thresholds(classified).to_csv(tmp_path / "class_thresholds.csv", index=False)
    (tmp_path / "authors").mkdir()
    (tmp_path / "authors" / "weights.safetensors").touch()
    return tmp_path


def test_thresholds_saw_no_test_mask(run):
    rows = [
        ("lse_unet (authors)", "masks-test", "positive", 25, 25),
        ("lse_unet (authors)", "labels", "positive", 75, 150),
        ("resnet", "labels", "positive", 10, 10),
    ]
    table = pd.DataFrame(rows, columns=["method", "protocol", "subset", *CLASSES])
    table.to_csv(run / "mask_thresholds.csv", index=False)
    ((path, recipe),) = recipes_of_run(run, PARAMETERS)
    assert path.parent.name == "authors" and recipe.gates == pytest.approx((0.4, 0.6))
    assert recipe.source == "labels"
    assert np.multiply(recipe.thresholds, 255).tolist() == pytest.approx([76, 151])


def test_without_masks_half_of_each_map_marks_as_algorithm_1_does(run):
    ((_, recipe),) = recipes_of_run(run, PARAMETERS)
    assert recipe.source == "none"
    heat = np.random.default_rng(1).random((2, 5, 8, 8)).astype(np.float32)
    heat[0, 0, 0, :4] = np.array([125, 126, 125.99, 126.5]) / 255
    # one class is marked where the authors' algorithm marks it
    probability = np.array([[0.9, 0.1], [0.3, 0.7], [0.9, 0.9], [0.1, 0.1], [0.5, 0.6]])
    only = marked(heat * np.array([1, 0]).reshape(2, 1, 1, 1), probability, recipe)
    levels = heat_levels(heat[0])[:, None]
    expected = label_maps(levels, probability[:, :1] >= 0.4, [125])
    assert np.array_equal(only == MASK_CODES["IPH"], expected == 1)


def test_a_class_without_a_threshold_is_never_marked(run):
    parameters = {**PARAMETERS, "map_classes": ["IPH", "EDH"]}
    ((_, recipe),) = recipes_of_run(run, parameters)
    assert recipe.gates[1] > 1


def test_every_gives_grad_cam_of_the_classifiers_at_their_own_thresholds(run, monkeypatch):
    """Gates are those that the classifier's run found, pixels those of the table of 02."""
    classifier = run / "resnet152"
    classifier.mkdir()
    gates = pd.DataFrame({"class": ["SAH", "IPH"], "logit": [0.0, 1.0], "probability": [0.5, 0.7]})
    gates.to_csv(classifier / "thresholds.csv", index=False)
    monkeypatch.setattr(scan, "weights_of_run", lambda folder: folder / "weights.safetensors")
    rows = [
        ("lse_unet (authors)", "labels", "positive", 75, 150),
        ("resnet152", "labels", "positive", 10, 20),
    ]
    table = pd.DataFrame(rows, columns=["method", "protocol", "subset", *CLASSES])
    table.to_csv(run / "mask_thresholds.csv", index=False)
    parameters = {**PARAMETERS, "baseline_runs": [str(classifier)]}
    (_, own), (path, recipe) = recipes_of_run(run, parameters, every=True)
    assert own.name == "lse_unet" and path == classifier / "weights.safetensors"
    assert (recipe.name, recipe.gates) == ("grad_cam_of_resnet152", (0.7, 0.5))
    assert np.multiply(recipe.thresholds, 255).tolist() == pytest.approx([11, 21])
    assert len(recipes_of_run(run, parameters)) == 1


@pytest.mark.parametrize("grad_cam", [True, False])
def test_a_recipe_says_which_maps_its_network_gives(grad_cam, monkeypatch):
    asked = []
    found = {"model": None, "preprocessing": SimpleNamespace(size=8), "sha256": "0"}
    found["metadata"] = {"classes": ["IPH"]}
    monkeypatch.setattr(scan, "load", lambda *_: SimpleNamespace(**found))

    def raw_maps(method, *_):
        asked.append(method.__name__)
        return np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 1))

    monkeypatch.setattr(scan, "raw_maps", raw_maps)
    options = {"grad_cam": True} if grad_cam else {}
    recipe = ScanRecipe("lse_unet", "m", "printed", ("IPH",), (0.5,), (0.5,), "none", options)
    scan.open_method("weights", recipe, "cpu").say(SimpleNamespace(rows=None))
    assert asked == ["head_gradcam" if grad_cam else "lse_heatmaps"]
