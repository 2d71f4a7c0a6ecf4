from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, MapError, ParameterError
from ich_study.evaluate.rows import Rows
from ich_study.inputs.slices import network_view
from ich_study.methods.cams import trust as cam_trust
from ich_study.methods.cams.recipe import CamRecipe, Subject, load_subject
from ich_study.methods.cams.sanity import compare_maps
from ich_study.schema import result_table
from tests.methods.cams.fakes import STUDY, masked_store, truth_part, write_run
from tests.methods.cams.test_faithfulness import right_map, score, spot_slices

STUDY_ROWS = Rows(*STUDY, replicates=50)
ROWS = pd.DataFrame({"patient_id": ["a", "b", "c"], "scan_id": ["a", "b", "c"]})


def table():
    maps = {
        ("right", "[-1]"): right_map()[:, ::4, ::4],
        ("wrong", "[-1]"): -right_map(),
        ("random_map", ""): torch.rand(3, 24, 24),
    }
    return cam_trust.faithfulness_table(
        score(), spot_slices(), maps, steps=8, road_shares=(0.1, 0.3), insertion_fill="zero"
    )


def test_faithfulness_ranks_the_right_map_first():
    found = table()
    assert tuple(found.columns) == cam_trust.FAITHFULNESS_COLUMNS and len(found) == 9
    means = found.groupby("method")[["deletion_auc", "insertion_auc", "road_combined"]].mean()
    assert means["deletion_auc"].idxmin() == "right" and means["insertion_auc"].idxmax() == "right"
    assert means["road_combined"].idxmax() == "right"


def test_rows_carry_means_and_names():
    found = table()
    rows = result_table(
        cam_trust.faithfulness_rows(found, ROWS, STUDY_ROWS, variant="raw")
    ).set_index(["method", "metric"])
    expected = found[found["method"] == "right"]["road_combined"].mean()
    assert rows.loc[("right", "road_combined"), "value"] == pytest.approx(expected)
    assert rows.loc[("right", "road_combined"), "layer"] == "-1" and pd.isna(
        rows.loc[("random_map", "deletion_auc"), "layer"]
    )


def test_likeness_after_the_last_stage_becomes_rows():
    maps = {("m", "[-2]"): torch.rand(3, 5, 5)}
    stages = pd.concat(
        [
            compare_maps(maps, maps).assign(depth=1, spearman=0.9),
            compare_maps(maps, maps).assign(depth=2, spearman=0.1),
        ]
    )
    repeats = compare_maps(maps, maps).assign(run="other")
    cost = pd.DataFrame({"method": [], "layer": [], "milliseconds": []})
    rows = cam_trust.trust_rows(stages, repeats, cost, STUDY_ROWS, 1)
    assert [(row["metric"], row["layer"], row["value"], row["n"]) for row in rows] == [
        ("randomisation_spearman", "-2", 0.1, 3),
        ("repeatability_spearman", "-2", pytest.approx(1), 3),
    ]
    none = pd.DataFrame(columns=repeats.columns)
    assert len(cam_trust.trust_rows(stages, none, cost, STUDY_ROWS, 1)) == 1


@dataclass(frozen=True)
class Called(CamRecipe):
    """A recipe that notes what it is asked for."""

    calls: list = field(default_factory=list)

    def maps(self, model, inputs, target, identifiers=None, depths=None):
        self.calls.append((tuple(identifiers), tuple(depths)))
        return {(method, depth): inputs for method in identifiers for depth in depths}


def test_cost_is_per_map_and_slice():
    recipe = Called(("GradCAM", "HiResCAM"), ("[-1]", "[-2]"))
    found = cam_trust.cost_table(recipe, None, torch.zeros(2, 1, 4, 4), 0, repeats=2)
    assert found[["method", "layer"]].to_numpy().tolist() == [
        ["grad_cam", "[-1]"],
        ["grad_cam", "[-2]"],
        ["hires_cam", "[-1]"],
        ["hires_cam", "[-2]"],
        ["all", ""],
    ]
    assert (found["milliseconds"] > 0).all()
    # each alone and all together, once to warm up and twice for the median
    assert len(recipe.calls) == 5 * 3
    assert recipe.calls[0] == (("grad_cam",), ("[-1]",))
    assert recipe.calls[-1] == (("grad_cam", "hires_cam"), ("[-1]", "[-2]"))
    none = pd.DataFrame(columns=["method", "layer", "depth", "spearman", "slices"])
    rows = result_table(cam_trust.trust_rows(none, none, found, STUDY_ROWS, 2))
    assert rows["value"].tolist() == found["milliseconds"].tolist()
    assert rows["n"].tolist() == [2] * 5 and rows["layer"].isna().tolist() == [False] * 4 + [True]
    assert set(rows["metric"]) == {"milliseconds"} and set(rows["unit"]) == {"slice"}


def test_rows_of_trust_are_of_positive_slices_but_for_the_cost():
    named = {"method": ["grad_cam"], "layer": ["[-1]"]}
    stages = pd.DataFrame({**named, "depth": 0, "spearman": 0.1, "slices": 3})
    repeats = pd.DataFrame({**named, "spearman": 0.9, "slices": 5})
    cost = pd.DataFrame({**named, "milliseconds": 7.0})
    found = cam_trust.trust_rows(stages, repeats, cost, STUDY_ROWS, 2, variant="raw")
    assert [(row["metric"], row["value"], row["n"], row["subset"]) for row in found] == [
        ("randomisation_spearman", 0.1, 3, "positive"),
        ("repeatability_spearman", 0.9, 5, "positive"),
        ("milliseconds", 7.0, 2, "all"),
    ]
    assert {row["variant"] for row in found} == {"raw"}


def test_the_surest_positives_are_explained(monkeypatch):
    channels = spot_slices(6)
    channels[:, :, :6, :6] *= torch.linspace(0.1, 1, 6)[:, None, None, None]
    part = truth_part(1, 6)
    assert part.positive().tolist() == [True, False] * 3

    class Shown:
        # all of the positive slices are so sure that their probability is 1.0
        model, target = staticmethod(lambda inputs: 1000 + inputs.mean((2, 3))), 0
        preprocessing = device = None

    def seen(store, rows, preprocessing, device):
        return None, channels[rows.index.to_numpy()]

    monkeypatch.setattr(cam_trust, "network_view", seen)
    found = cam_trust.surest_slices(Shown(), None, part, "any", 2)
    assert found.tolist() == [2, 4]


STORE = masked_store()
RECIPE = CamRecipe(methods=("HiResCAM", "GradCAM"), ablations=("zero",))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder / "first")
    return folder, load_subject(folder / "first", "any", torch.device("cpu"))


def test_repeatability_compares_with_the_same_classifier_trained_again(run):
    folder, subject = run
    rows = STORE.index.iloc[:3]
    _, inputs = network_view(STORE, rows, subject.preprocessing, subject.device)
    maps = RECIPE.maps(subject.model, inputs, subject.target)
    write_run(folder / "again", seed=7)
    table = cam_trust.repeatability(subject, [folder / "again"], "any", RECIPE, STORE, rows, maps)
    assert (
        set(table["run"]) == {"again"}
        and len(table) == len(maps)
        and table["spearman"].abs().max() < 0.999
    )
    assert cam_trust.repeatability(subject, [], "any", RECIPE, STORE, rows, maps).empty


def test_every_repeated_run_is_compared_with_the_maps_of_the_subject(run):
    folder, subject = run
    rows = STORE.index.iloc[:3]
    _, inputs = network_view(STORE, rows, subject.preprocessing, subject.device)
    maps = RECIPE.maps(subject.model, inputs, subject.target)
    expected = {}
    for name, seed in (("second", 8), ("third", 9)):
        write_run(folder / name, seed=seed)
        other = load_subject(folder / name, "any", torch.device("cpu"))
        _, inputs = network_view(STORE, rows, other.preprocessing, other.device)
        expected[name] = compare_maps(maps, RECIPE.maps(other.model, inputs, other.target))
    folders = [folder / name for name in expected]
    table = cam_trust.repeatability(subject, folders, "any", RECIPE, STORE, rows, maps)
    for name, found in table.groupby("run"):
        columns = ["method", "layer", "spearman", "ssim", "undefined", "slices"]
        pd.testing.assert_frame_equal(
            found[columns].reset_index(drop=True), expected[name][columns]
        )
    assert not np.allclose(expected["second"]["spearman"], expected["third"]["spearman"])


def test_repeatability_refuses_the_same_weights_and_another_classifier(run):
    folder, subject = run
    write_run(folder / "smaller", size=32)
    for name, why in (("first", "the very weights"), ("smaller", "nothing but its seed")):
        with pytest.raises(ParameterError, match=why):
            cam_trust.repeatability(
                subject, [folder / name], "any", RECIPE, STORE, STORE.index.iloc[:1], {}
            )


def test_no_slices_is_an_error():
    with pytest.raises(DataError, match="no slices"):
        cam_trust.faithfulness_table(score(), spot_slices(0), {}, steps=4, road_shares=(0.5,))


@dataclass(frozen=True)
class OneMap(CamRecipe):
    """A recipe whose only map is `formula` of a batch (B, C, h, w)."""

    formula: Callable = lambda inputs: inputs.sum(1)

    def maps(self, model, inputs, target, identifiers=None, depths=None):
        return {
            (method, "[-1]"): self.formula(inputs) for method in identifiers or self.identifiers
        }


def independence(method, formula):
    recipe, inputs = (
        OneMap(methods=(method,), depths=("[-1]",), formula=formula),
        torch.rand(3, 2, 5, 5),
    )
    subject = Subject(torch.nn.Identity(), None, 0, "identity", "0" * 64, torch.device("cpu"))
    return cam_trust.check_batch_independence(subject, recipe, inputs, recipe.maps(None, inputs, 0))


def rounded_by_batch(inputs):
    """Differs between batches of several and of one, in float32 alone."""
    return inputs.sum(1) * (1 + 0.1 * (len(inputs) > 1) * (inputs.dtype == torch.float32))


def mixed_by_batch(inputs):
    return inputs.sum(1) + inputs.sum(1).roll(1, 0) * (len(inputs) > 1)


def test_a_slice_alone_has_the_maps_it_has_in_a_batch():
    found = independence("GradCAM", lambda inputs: inputs.sum(1))
    assert found["difference"].tolist() == [0] and found["difference_float64"].isna().all()


@pytest.mark.parametrize("method", ["GradCAM++", "XGradCAM"])
def test_rounding_beside_a_pole_is_warned_of(method):
    with pytest.warns(UserWarning, match="rounding beside the method's pole"):
        found = independence(method, rounded_by_batch)
    assert (
        found["difference"].item() == pytest.approx(0.1 / 1.1)
        and found["difference_float64"].item() == 0
    )


@pytest.mark.parametrize(
    "method, formula",
    [("GradCAM", rounded_by_batch), ("GradCAM", mixed_by_batch), ("GradCAM++", mixed_by_batch)],
)
def test_other_differences_between_alone_and_in_a_batch_are_errors(method, formula):
    with pytest.raises(MapError, match="alone and in a batch"):
        independence(method, formula)


@pytest.mark.parametrize("method", ["GradCAM++", "XGradCAM"])
def test_maps_that_are_not_finite_are_errors(method):
    with pytest.raises(MapError, match="alone and in a batch"):
        independence(method, lambda inputs: inputs.sum(1) * torch.nan)
