import numpy as np
import pytest
import torch

from ich_study.errors import DataError, MapError
from ich_study.evaluate.heat import Heat
from ich_study.methods.lse_unet.network import create_lse_unet, lse_settings
from ich_study.methods.lse_unet.score_maps import (
    RawHeat,
    gradcam_heatmaps,
    lse_heatmaps,
    raw_maps,
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
    with torch.no_grad():
        maps, logits = lse_heatmaps(model, INPUTS, [2, 0])
    ours = scaled_heatmaps(maps, 64).numpy()
    assert (maps > 0).flatten(2).any(2).sum() > 3 and torch.equal(logits, model(INPUTS))
    theirs = gradcam_heatmaps(model, INPUTS, [2, 0])
    assert theirs.shape == ours.shape and np.abs(ours - theirs).max() < 1e-5
    assert np.abs(ours[:, ::-1] - theirs).max() > 0.1, "each class has its own map"


def test_a_map_without_a_positive_value_gives_no_heat():
    model = network(lift=-100.0)
    with torch.no_grad():
        maps, _ = lse_heatmaps(model, INPUTS, [1])
    assert (maps < 0).all() and not scaled_heatmaps(maps, 64).any()


def test_heat_is_scaled_per_map():
    maps = (
        torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 1e-6, 1e6])[None, :, None, None]
    )
    heat = scaled_heatmaps(maps, 32)
    assert torch.allclose(heat.amax((2, 3)), torch.ones(2, 3)) and torch.allclose(
        heat.amin((2, 3)), torch.zeros(2, 3)
    )


def test_broken_maps_are_refused():
    model = network()
    with torch.no_grad():
        model.scores[0].weight[0, 0] = float("nan")
    with pytest.raises(MapError, match="NaN or infinite"):
        lse_heatmaps(model, INPUTS, [0])


def read(model, rows, store, classes=("IPH", "SDH")):
    preprocessing = config(size=64).preprocessing((0.5,), (0.5,))
    device = torch.device("cpu")
    arguments = (lse_heatmaps, model, preprocessing, CLASSES, classes, store, rows, device)
    return raw_maps(*arguments, batch_size=5)


def test_maps_of_a_store_stand_in_the_order_of_its_rows():
    store, model = fake_store(2), network()
    rows = store.index.sample(frac=1, random_state=0)
    maps, logits = read(model, rows, store)
    assert (maps.shape, maps.dtype, logits.shape) == ((16, 2, 16, 16), np.float32, (16, 2))
    one, own_logits = read(model, rows.iloc[[7]], store)
    assert np.allclose(one[0], maps[7], atol=1e-5)
    assert np.allclose(own_logits[0], logits[7], atol=1e-5)
    turned, _ = read(model, rows, store, ("SDH", "IPH"))
    assert np.array_equal(turned[:, ::-1], maps) and not np.array_equal(turned, maps)
    with pytest.raises(DataError, match="empty"):
        read(model, rows.head(0), store)
    with pytest.raises(MapError, match=r"no logit for \['SAH'\]; it has any, IPH"):
        read(model, rows, store, ["SAH"])


def test_heat_is_scaled_when_it_is_read():
    maps = np.random.default_rng(1).normal(size=(6, 2, 4, 4)).astype(np.float32)
    heat = RawHeat("lse_unet", "authors", ("IPH", "SDH"), 16, maps)
    assert isinstance(heat, Heat) and len(heat) == 6
    whole = heat.read(slice(None))
    assert whole.shape == (6, 2, 16, 16) and whole.dtype == np.float32
    assert np.array_equal(heat.read(np.array([4, 1])), whole[[4, 1]])
    assert np.array_equal(whole, scaled_heatmaps(torch.from_numpy(maps), 16).numpy())
