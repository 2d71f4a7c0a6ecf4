from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import WeightsError
from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, recipe_from
from ich_study.evaluate.thresholds import Threshold
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.models.weights import read_metadata, read_tensors, save_tensors
from ich_study.new_scan.apply import SHIPPED, shipped
from tools import mask_thresholds
from tools.mask_thresholds import best_threshold, take

SIDE = 8
GRID = Preprocessing(("brain",), "fixed", 1, SIDE, "none", (0.0,), (1.0,))
RECIPE = ScanRecipe("lse_unet", "toy", "printed", ("any",), (0.9,), (0.5,), "none")


@pytest.fixture
def store(monkeypatch):
    """One scan of two slices, hemorrhage in the left half of the first; brain but the last row."""
    truth = np.zeros((2, SIDE, SIDE), np.uint8)
    truth[0, :-1, : SIDE // 2] = 1
    brain = np.ones(truth.shape, bool)
    brain[:, -1] = False
    monkeypatch.setattr(OneScan, "brain", property(lambda scan: brain))
    index = pd.DataFrame({"scan_id": ["a", "a"], "spacing_y_mm": 1.0, "spacing_x_mm": 1.0})
    hu = np.zeros(truth.shape, np.int16)
    return SimpleNamespace(index=index, volume=lambda name: hu, mask=lambda name: truth)


def method(heat, probability, recipe=RECIPE):
    """A network that says this heat (slices, side, side) and these probabilities."""
    heat = ArrayHeat("toy", "printed", None, ("any",), np.asarray(heat, np.float32)[:, None])
    logits = np.log(probability / (1 - np.asarray(probability)))[:, None]
    return ScanMethod(recipe, "0" * 64, GRID, lambda scan: Said(heat, logits))


def told(left, right):
    heat = np.full((2, SIDE, SIDE), right)
    heat[0, :, : SIDE // 2] = left
    return heat


def test_the_threshold_lies_between_the_lesion_and_what_is_beside_it(store):
    found = best_threshold(method(told(0.4, 0.2), np.array([0.9, 0.1])), store)
    assert 0.2 < found.value <= 0.4
    assert (found.source, found.objective) == ("masks-validation", 1.0)


def test_a_slice_that_the_gate_leaves_out_and_heat_outside_the_brain_do_not_count(store):
    heat = told(0.4, 0.2)
    heat[1] = 0.8
    heat[:, -1] = 1.0
    behind = best_threshold(method(heat, np.array([0.9, 0.1])), store)
    before = best_threshold(method(heat, np.array([0.9, 0.6])), store)
    assert behind.objective == 1.0
    assert before.objective == pytest.approx(0.5), "a whole slice of false heat"


def test_heat_beyond_one_and_of_two_classes_is_refused(store):
    with pytest.raises(WeightsError, match="expected 0 to 1"):
        best_threshold(method(told(1.4, 0.2), np.array([0.9, 0.1])), store)
    two = ScanRecipe("lse_unet", "toy", "printed", ("SDH", "EDH"), (0.9,) * 2, (0.5,) * 2, "none")
    with pytest.raises(WeightsError, match="expected one class"):
        best_threshold(method(told(0.4, 0.2), np.array([0.9, 0.1]), two), store)


CARD = """- **Thresholds**: heat any 0.9, slices any 0.5; from `none`.
- **Weights**: `toy.safetensors`, 1 kB, SHA-256 `{sha256}`.

## Held-out patients
"""


def test_the_file_and_its_card_get_the_threshold_and_keep_all_else(tmp_path):
    path = tmp_path / "toy.safetensors"
    tensors = {"weight": torch.arange(3.0).half()}
    sha256 = save_tensors(path, tensors, {"patients": ["x"], "scan": RECIPE.describe()})
    path.with_suffix(".md").write_text(CARD.format(sha256=sha256))
    take(path, Threshold(0.25, "masks-validation", "best Dice"), "masks of\n  4 heads")
    recipe = recipe_from(read_metadata(path), "toy")
    assert (recipe.thresholds, recipe.gates) == ((0.25,), (0.5,))
    assert recipe.source == "masks-validation"
    assert read_metadata(path)["patients"] == ["x"]
    assert torch.equal(read_tensors(path)["weight"], tensors["weight"])
    card = path.with_suffix(".md").read_text()
    assert "heat any 0.25; from `masks-validation`: masks of\n  4 heads;" in card
    assert "slices any 0.5; from `labels`." in card
    assert sha256 not in card
    take(path, Threshold(0.3, "masks-validation", "best Dice"), "masks of 5 heads")
    assert (
        "heat any 0.3; from `masks-validation`: masks of 5 heads;"
        in path.with_suffix(".md").read_text()
    ), "a second time too"


def test_a_card_without_the_two_lines_is_refused(tmp_path):
    path = tmp_path / "toy.safetensors"
    save_tensors(path, {"weight": torch.ones(1)}, {"scan": RECIPE.describe()})
    path.with_suffix(".md").write_text("# toy\n")
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="no line"):
        take(path, Threshold(0.25, "masks-validation", "best Dice"), "masks")
    assert path.read_bytes() == before


def test_masks_of_patients_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(mask_thresholds, "check_run", lambda folder, notebook: None)
    monkeypatch.setattr(mask_thresholds, "synthetic_datasets", lambda folder: frozenset({"bhsd"}))
    with pytest.raises(WeightsError, match="is no phantom"):
        mask_thresholds.rethreshold(tmp_path, "phe_sich", "lse_unet")


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_card_states_the_thresholds_of_its_file(name):
    recipe = recipe_from(read_metadata(SHIPPED / f"{name}.safetensors"), name)
    card = (SHIPPED / f"{name}.md").read_text()
    assert f"heat any {recipe.thresholds[0]:.4g}" in card
    assert f"slices any {recipe.gates[0]:.4g}" in card
    assert f"`{recipe.source}`" in card
