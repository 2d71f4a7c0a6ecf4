import pytest
import torch
from monai.networks.nets import SwinUNETR

from ich_study.errors import ParameterError, WeightsError
from ich_study.methods.hgi_sam.segmentation_baselines import (
    LightUNet,
    create_segmenter,
)
from ich_study.models.registry import rebuild


@pytest.mark.parametrize(
    ("channels", "poolings"), [((24, 48, 96, 192), 3), ((24, 48, 96, 192, 384), 4), ((4, 8), 1)]
)
def test_the_unet_has_a_level_per_width_and_keeps_the_size(channels, poolings):
    network = create_segmenter("unet", 3, {"channels": channels})
    assert network.divisor == 2**poolings
    side = 2 * network.divisor
    assert network.model(torch.randn(2, 3, side, side)).shape == (2, 2, side, side)
    assert (
        sum(isinstance(module, torch.nn.ConvTranspose2d) for module in network.model.modules())
        == poolings
    )
    with pytest.raises(ParameterError, match="multiple of"):
        network.check_size(side + 1)


@pytest.mark.parametrize("normalisation", ["none", "instance"])
def test_every_level_of_the_unet_reaches_the_output(normalisation):
    # Of four channels all can be dead by chance, and their weights without a gradient.
    model = LightUNet(1, (16, 24, 32), normalisation)
    assert any(isinstance(module, torch.nn.InstanceNorm2d) for module in model.modules()) == (
        normalisation == "instance"
    )
    model(torch.randn(2, 1, 16, 16)).square().mean().backward()
    assert all(
        float(weight.grad.abs().max()) > 0
        for name, weight in model.named_parameters()
        if name.endswith("weight")
    )


def test_swin_unetr_has_the_light_size_of_the_paper():
    network = create_segmenter("swin_unetr", 3)
    assert isinstance(network.model, SwinUNETR) and network.divisor == 32
    stages = [
        layer[0].blocks
        for layer in (
            network.model.swinViT.layers1,
            network.model.swinViT.layers2,
            network.model.swinViT.layers3,
            network.model.swinViT.layers4,
        )
    ]
    assert [stage[0].attn.num_heads for stage in stages] == [
        2,
        4,
        8,
        16,
    ] and network.model.swinViT.embed_dim == 12
    assert network.model(torch.randn(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_the_seed_decides_the_weights_and_the_description_the_network():
    first, again, other = (
        create_segmenter("unet", 2, {"channels": [4, 8]}, seed) for seed in (1, 1, 2)
    )
    heads = [network.model.head.weight for network in (first, again, other)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    rebuilt = rebuild(first.describe())
    rebuilt.model.load_state_dict(first.model.state_dict(), strict=True)


def test_unknown_networks_and_options_are_named():
    with pytest.raises(ParameterError, match="expected one of unet, swin_unetr"):
        create_segmenter("vnet", 3)
    with pytest.raises(ParameterError, match="depth"):
        create_segmenter("unet", 3, {"depth": 3})
    with pytest.raises(ParameterError, match="expected none or instance"):
        create_segmenter("unet", 3, {"normalisation": "batch"})
    with pytest.raises(ParameterError, match="feature_size"):
        create_segmenter("swin_unetr", 3, {"feature_size": 10})
    with pytest.raises(WeightsError, match="not complete"):
        rebuild({"kind": "segmenter", "name": "unet"})
