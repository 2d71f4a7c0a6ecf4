from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from ich_study.errors import DataError, MapError
from ich_study.methods.cams import trust as cam_trust
from ich_study.methods.cams.recipe import CamRecipe, Subject
from ich_study.methods.cams.sanity import compare_maps
from ich_study.schema import result_table
from tests.methods.cams.fakes import truth_part
from tests.methods.cams.test_faithfulness import right_map, score, spot_slices

COMMON = {"study": "06_cam_benchmark", "dataset": "hemorica/test", "variant": "raw", "class": "any"}
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
    rows = result_table(cam_trust.faithfulness_rows(found, ROWS, COMMON, replicates=50)).set_index(
        ["method", "metric"]
    )
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
    rows = cam_trust.similarity_rows(stages, COMMON, "randomisation_spearman")
    assert [(row["layer"], row["value"], row["n"]) for row in rows] == [("-2", 0.1, 3)]
    assert cam_trust.similarity_rows(compare_maps(maps, maps), COMMON, "repeatability_spearman")[0][
        "value"
    ] == pytest.approx(1)


def test_cost_is_per_map_and_slice():
    calls = []

    def maps_of(model, inputs, methods, layers):
        calls.append((tuple(methods), tuple(layers)))
        return {(method, layer): inputs for method in methods for layer in layers}

    found = cam_trust.cost_table(
        None, torch.zeros(2, 1, 4, 4), maps_of, ["a", "b"], ["[-1]", "[-2]"], repeats=2
    )
    assert (
        len(found) == 5
        and (found["milliseconds"] > 0).all()
        and found["method"].tolist()[-1] == "all"
    )
    assert len(calls) == 5 * 3 and calls[-1] == (("a", "b"), ("[-1]", "[-2]"))
    rows = result_table(cam_trust.cost_rows(found, COMMON, 2))
    assert (
        set(rows["metric"]) == {"milliseconds"} and np.isfinite(rows["value"].to_numpy(float)).all()
    )


def test_the_surest_positives_are_explained():
    channels = spot_slices(6)
    channels[:, :, :6, :6] *= torch.linspace(0.1, 1, 6)[:, None, None, None]
    part = truth_part(1, 6)
    assert part.positive.tolist() == [True, False] * 3
    assert cam_trust.surest_places(score(), lambda places: channels[places], part, 2).tolist() == [
        2,
        4,
    ]
    part.truth.bits[:] = 0
    with pytest.raises(DataError, match="no positive"):
        cam_trust.surest_places(score(), lambda places: channels[places], part, 2)


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
