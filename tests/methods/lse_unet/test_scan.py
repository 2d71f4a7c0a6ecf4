import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from ich_study.evaluate.classifier_report import ClassifierReport
from ich_study.evaluate.thresholds import Threshold
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
        classified[arm] = ClassifierReport(pd.DataFrame(), found, *[pd.DataFrame()] * 3)
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
