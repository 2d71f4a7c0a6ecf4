"""What a method is given of a scan, what it says of it, and the recipe that joins the two."""

from functools import partial

import numpy as np
import pytest

from ich_study.errors import WeightsError
from ich_study.evaluate import scan_methods
from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.scan_methods import OneScan, Said, ScanRecipe, named_file, recipe_from

HU = np.full((3, 4, 5), 30, np.int16)


def test_a_recipe_is_whole_and_read_back():
    recipe = ScanRecipe("mil", "m", "v", ("any",), (0.5,), (0.0,), "labels", {"head": "attention"})
    assert recipe_from({"scan": recipe.describe()}, "file") == recipe
    with pytest.raises(WeightsError, match="name the folder of the run"):
        recipe_from({}, "file")
    with pytest.raises(WeightsError, match="one of each per class"):
        ScanRecipe("mil", "m", "v", ("any", "IPH"), (0.5,), (0.0,), "labels")


def test_lists_of_a_file_become_tuples_and_maps_the_heat_of_the_one_class():
    recipe = ScanRecipe("mil", "m", "authors", ["any"], [0.5], [0.0], "labels")
    assert (recipe.classes, recipe.thresholds, recipe.gates) == (("any",), (0.5,), (0.0,))
    heat = recipe.heat(np.arange(6.0).reshape(2, 1, 3), layer="-2")
    assert (heat.name, heat.variant, heat.layer) == ("m", "authors", "-2")
    assert heat.maps.shape == (2, 1, 1, 3) and heat.maps.dtype == np.float32


def test_an_entry_that_is_no_recipe_names_its_file():
    with pytest.raises(WeightsError, match=r"weights\.safetensors: its entry 'scan' is no recipe"):
        recipe_from({"scan": {"room": "mil"}}, "weights.safetensors")


def test_a_scan_is_read_as_a_store_is_without_labels():
    scan = OneScan("own", HU, (0.5, 0.4))
    assert scan.rows["slice_index"].tolist() == [0, 1, 2]
    assert set(scan.rows["patient_id"]) == set(scan.rows["scan_id"]) == {"own"}
    assert scan.rows["any"].isna().all() and scan.rows[["rows", "columns"]].iloc[0].tolist() == [
        4,
        5,
    ]
    assert scan.volume("whatever") is HU
    other = HU.copy()
    other[1, 2, 3] += 1
    assert OneScan("own", HU + 0, (1, 1)).content_hash == scan.content_hash
    assert OneScan("own", other, (0.5, 0.4)).content_hash != scan.content_hash


def test_a_shared_step_is_done_once_and_counts_for_everyone_who_asks(monkeypatch):
    """The first method takes 1 s and the step 5 s; the second takes 2 s and finds the step done."""
    now = [0.0]
    monkeypatch.setattr(scan_methods.time, "perf_counter", lambda: now[0])
    scan, done = OneScan("own", HU, (1.0, 1.0)), []

    def take(what, seconds):
        now[0] += seconds
        done.append(what)
        return what

    def method(seconds, *steps):
        def work():
            for step in steps:
                assert scan.shared(step, partial(take, step, 5.0)) == step
            return take("own", seconds)

        return scan.timed(work)

    assert method(1.0, "brain") == ("own", 6.0)
    assert method(2.0, "brain", "brain") == ("own", 7.0)
    # who does not ask pays nothing
    assert method(3.0) == ("own", 3.0)
    assert done == ["brain", "own", "own", "own"]


def test_probabilities_become_finite_logits_that_rank_alike():
    heat = ArrayHeat("m", "printed", None, ("any",), np.zeros((4, 1, 1, 1), np.float32))
    said = Said.of_probability(heat, np.array([[0.0], [0.25], [0.5], [1.0]]))
    assert np.isfinite(said.logits).all() and (np.diff(said.logits[:, 0]) > 0).all()
    assert said.logits[2, 0] == 0
    assert said.probability[:, 0] == pytest.approx([0, 0.25, 0.5, 1])


def test_a_file_that_a_run_did_not_write_is_named(tmp_path):
    (tmp_path / "arm").mkdir()
    (tmp_path / "arm" / "weights").touch()
    assert named_file(tmp_path, "arm", "weights") == tmp_path / "arm" / "weights"
    with pytest.raises(WeightsError, match=r"thresholds\.csv does not exist; run the notebook"):
        named_file(tmp_path, "arm", "thresholds.csv")
