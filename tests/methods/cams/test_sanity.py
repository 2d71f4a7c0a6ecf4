import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from ich_study.methods.cams import sanity
from ich_study.methods.cams.cams import cam_maps
from ich_study.methods.cams.layers import timm_layers
from ich_study.models.backbones import create_backbone

OPTIONS = {"channel_multiplier": 0.2, "depth_multiplier": 0.2}


def efficientnet():
    """As if trained: no weight is still at the one or zero where normalisation starts."""
    model = create_backbone("tf_efficientnetv2_b0", 1, 3, options=OPTIONS).model.eval()
    generator = torch.Generator().manual_seed(0)
    for weights in model.parameters():
        weights.data += 0.02 * torch.randn(weights.shape, generator=generator)
    return model


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 6, 7)), rng.normal(size=(4, 6, 7)).round(1)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second)]
    assert np.allclose(sanity.rank_correlation(first, second), expected)


def test_likeness_of_a_map_to_itself_is_one_and_of_a_flat_map_undefined():
    maps = np.random.default_rng(1).random((3, 9, 9))
    flat = maps.copy()
    flat[1] = 0.5
    assert np.allclose(sanity.rank_correlation(maps, maps), 1) and np.allclose(
        sanity.structural_similarities(maps, maps), 1
    )
    for measure in (sanity.rank_correlation, sanity.structural_similarities):
        assert np.isnan(measure(maps, flat)).tolist() == [False, True, False]
    assert np.allclose(sanity.rank_correlation(maps, np.exp(5 * maps)), 1)
    assert np.isnan(sanity.structural_similarities(maps[:, :2], maps[:, :2])).all()


def test_stages_run_from_the_classifier_to_the_stem():
    stages = sanity.randomisation_stages(efficientnet())
    assert stages[0] == "classifier" and stages[-1] == "conv_stem"
    assert [name for name in stages if name.startswith("blocks")] == [
        f"blocks.{number}" for number in range(5, -1, -1)
    ]
    resnet = create_backbone("resnet10t", 1, 3).model
    stages = sanity.randomisation_stages(resnet)
    assert stages[:5] == ["fc", "layer4", "layer3", "layer2", "layer1"]


def test_the_cascade_goes_on_from_stage_to_stage_and_leaves_the_network_alone():
    model = efficientnet()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    changed = []
    for stage, copy in sanity.cascade(model, seed=2):
        differing = {
            name for name, value in copy.named_parameters() if not torch.equal(value, before[name])
        }
        assert any(name.startswith(stage) for name in differing) and (
            not changed or changed[-1] < differing
        )
        changed.append(differing)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert len(changed[-1]) == len(list(model.parameters()))


def test_randomisation_tells_a_method_of_the_network_from_one_of_the_slice():
    inputs = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))

    def maps_of(model):
        found = {
            ("hires_cam", layer): maps
            for (_, layer), maps in cam_maps(
                model, inputs, timm_layers(model), 0, ["HiResCAM"]
            ).items()
        }
        return {**found, ("slice", "[-1]"): inputs.mean(1)}

    table = sanity.cascading_randomisation(efficientnet(), maps_of, seed=1)
    assert tuple(table.columns) == sanity.SIMILARITY_COLUMNS
    last = table[table["depth"] == table["depth"].max()].set_index(["method", "layer"])
    assert last.loc[("slice", "[-1]"), "spearman"] == pytest.approx(1)
    assert abs(last.loc[("hires_cam", "[-3]"), "spearman"]) < 0.7
    again = sanity.cascading_randomisation(efficientnet(), maps_of, seed=1)
    assert np.allclose(table["spearman"], again["spearman"], equal_nan=True)


def test_maps_of_two_resolutions_are_brought_together():
    fine = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    coarse = nn.functional.interpolate(fine, size=12, mode="bilinear", align_corners=False)[:, 0]
    table = sanity.compare_maps({("a", "[-1]"): coarse}, {("a", "[-1]"): fine[:, 0]})
    assert table["spearman"].item() == pytest.approx(1) and table["undefined"].item() == 0
