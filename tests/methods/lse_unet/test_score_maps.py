import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ich_study.errors import DataError, MapError, StudyError
from ich_study.methods.lse_unet.network import create_lse_unet, lse_settings
from ich_study.methods.lse_unet.score_maps import (
    LatentMaps,
    bytes_of,
    latent_maps,
    lse_heatmaps,
    scaled_heatmaps,
)
from ich_study.models.backbones import create_backbone
from tests.training.fakes import config, fake_store

SMALL = {
    "num_init_features": 8,
    "growth_rates": [8] * 7,
    "num_blocks_list": [1] * 7,
    "ls_init_value": 1.0,
}
CLASSES = ("any", "IPH", "SDH")
INPUTS = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, 64, 64))).float()


def network(variant="authors", lift=0.0):
    encoder = create_backbone("rdnet_tiny", 3, 3, options=SMALL)
    model = create_lse_unet(encoder, 3, lse_settings(variant, {})).model.eval()
    with torch.no_grad():
        model.scores[0].bias.add_(lift)
        if model.pooling[0].bias is not None:
            model.pooling[0].bias.copy_(torch.tensor([0.1, -0.2, 0.05]))
    return model


@pytest.mark.parametrize("variant", ["authors", "printed"])
def test_the_score_map_after_relu_is_pytorch_grad_cams_heatmap(variant):
    model = network(variant)
    cam = GradCAM(model=model, target_layers=[model.pooling[0].pooled_maps])
    with torch.no_grad():
        maps, logits = lse_heatmaps(model, INPUTS, range(3))
    ours = scaled_heatmaps(maps, 64).numpy()
    assert ((maps > 0).flatten(2).any(2).sum() > 6) and torch.equal(logits, model(INPUTS))
    for place in range(3):
        theirs = cam(input_tensor=INPUTS, targets=[ClassifierOutputTarget(place)] * len(INPUTS))
        assert np.abs(ours[:, place] - theirs).max() < 1e-5
    cam.activations_and_grads.release()


def test_a_map_without_a_positive_value_gives_no_heat():
    model = network(lift=-100.0)
    with torch.no_grad():
        maps, _ = lse_heatmaps(model, INPUTS, [1])
    assert (maps < 0).all() and not scaled_heatmaps(maps, 64).any()


def test_heat_is_scaled_per_map_and_its_bytes_are_rounded_down():
    maps = (
        torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 1e-6, 1e6])[None, :, None, None]
    )
    heat = scaled_heatmaps(maps, 32)
    assert torch.allclose(heat.amax((2, 3)), torch.ones(2, 3)) and torch.allclose(
        heat.amin((2, 3)), torch.zeros(2, 3)
    )
    assert bytes_of(heat).amax((2, 3)).eq(255).all()
    assert bytes_of(torch.tensor([0.0, 0.5, 0.9999, 1.0])).tolist() == [0, 127, 254, 255]


def test_broken_maps_are_refused():
    model = network()
    with torch.no_grad():
        model.scores[0].weight[0, 0] = float("nan")
    with pytest.raises(MapError, match="NaN or infinite"):
        lse_heatmaps(model, INPUTS, [0])


def latent(model, rows, store, **changes):
    settings = config(size=64, **changes)
    preprocessing = settings.preprocessing((0.5,), (0.5,))
    return latent_maps(
        lse_heatmaps,
        model,
        preprocessing,
        CLASSES,
        ("IPH", "SDH"),
        store,
        rows,
        torch.device("cpu"),
        batch_size=5,
    )


def test_maps_of_a_store_stand_in_the_order_of_its_rows():
    store, model = fake_store(2), network()
    rows = store.index.sample(frac=1, random_state=0)
    found = latent(model, rows, store)
    assert (
        found.maps.shape == (16, 2, 16, 16)
        and found.maps.dtype == np.float32
        and found.logits.shape == (16, 2)
        and len(found) == 16
    )
    one = latent(model, rows.iloc[[7]], store)
    assert np.allclose(one.maps[0], found.maps[7], atol=1e-5) and np.allclose(
        one.logits[0], found.logits[7], atol=1e-5
    )
    picked = found.of(["SDH"])
    assert picked.classes == ("SDH",) and np.array_equal(picked.maps[:, 0], found.maps[:, 1])
    assert found.scaled(64, slice(2, 5)).shape == (3, 2, 64, 64) and np.array_equal(
        found.scaled(64)[2:5], found.scaled(64, slice(2, 5))
    )
    with pytest.raises(DataError, match="empty"):
        latent(model, rows.head(0), store)
    with pytest.raises(MapError, match=r"no heatmaps of \['EDH'\]"):
        found.of(["EDH"])


def test_a_class_that_the_network_does_not_know_is_refused():
    with pytest.raises(MapError, match=r"no logit for \['SAH'\]; it has any, IPH"):
        store = fake_store(1)
        latent_maps(
            lse_heatmaps,
            network(),
            config().preprocessing(),
            CLASSES,
            ["SAH"],
            store,
            store.index,
            torch.device("cpu"),
        )
    with pytest.raises(StudyError, match="do not fit each other"):
        LatentMaps(np.zeros((2, 3, 4, 4), np.float32), np.zeros((2, 2)), ("a", "b"))
