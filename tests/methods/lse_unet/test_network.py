from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ich_study.errors import ParameterError, WeightsError
from ich_study.methods.lse_unet.network import (
    LSE_VARIANTS,
    FeatureEncoder,
    LSENetwork,
    create_lse_unet,
    depth_to_space,
    lse_settings,
    trained_encoder,
)
from ich_study.models.backbones import create_backbone
from ich_study.models.registry import load, rebuild
from ich_study.models.weights import save_weights

SMALL = {
    "num_init_features": 8,
    "growth_rates": [8] * 7,
    "num_blocks_list": [1] * 7,
    "ls_init_value": 1.0,
}


def small(variant="printed", seed=0, **changes):
    encoder = create_backbone("rdnet_tiny", 6, 3, options=SMALL, seed=seed)
    return create_lse_unet(encoder, 6, lse_settings(variant, changes), seed)


def inputs(size=64, count=2):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3, size, size))).float()


def test_rdnet_t_at_512_pixels_has_the_papers_levels_and_the_authors_size():
    encoder = create_backbone("rdnet_tiny", 6, 3)
    network = create_lse_unet(encoder, 6, LSE_VARIANTS["authors"])
    # 57.9 M with the unused head of 1.06 M (printed_and_authors, 000.3)
    assert sum(
        parameter.numel() for parameter in network.model.parameters()
    ) / 1e6 == pytest.approx(57.9 - 1.06, abs=0.05)
    model, image = network.model.to("meta"), torch.empty(1, 3, 512, 512, device="meta")
    assert [tuple(level.shape[1:]) for level in model.encoder(image)] == [
        (256, 128, 128),
        (440, 64, 64),
        (744, 32, 32),
        (1040, 16, 16),
    ]
    levels = model.train()(image)
    assert [tuple(scores.shape) for scores, _ in levels] == [
        (1, 6, side, side) for side in (128, 64, 32, 16)
    ]
    assert [tuple(logits.shape) for _, logits in levels] == [(1, 6)] * 4


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "resnetrs50", "tf_efficientnetv2_b0", "rdnet_tiny"]
)
def test_any_encoder_with_the_four_strides_fits(name):
    encoder = FeatureEncoder(create_backbone(name, 1, 3)).to("meta").eval()
    features = encoder(torch.empty(1, 3, 64, 96, device="meta"))
    assert [tuple(level.shape) for level in features] == [
        (1, count, 64 // stride, 96 // stride)
        for count, stride in zip(encoder.channels, (4, 8, 16, 32))
    ]


def test_the_encoders_features_are_the_classifiers_own():
    backbone = create_backbone("rdnet_tiny", 6, 3, options=SMALL)
    reference = backbone.model.eval().forward_intermediates(inputs(), intermediates_only=True)
    taken = FeatureEncoder(backbone).eval()(inputs())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(taken, reference, strict=True))
    assert len(backbone.model._forward_hooks) == 0


def test_depth_to_space_orders():
    features = torch.arange(2 * 12 * 3 * 2, dtype=torch.float32).reshape(2, 12, 3, 2)
    assert torch.equal(depth_to_space(features, "crd"), functional.pixel_shuffle(features, 2))
    ours = depth_to_space(features, "dcr")
    for channel in range(3):
        for row in range(6):
            for column in range(4):
                block = (row % 2) * 2 + column % 2
                assert torch.equal(
                    ours[:, channel, row, column],
                    features[:, block * 3 + channel, row // 2, column // 2],
                )


@pytest.mark.parametrize("variant", sorted(LSE_VARIANTS))
def test_both_variants_give_four_levels_in_training_and_logits_in_evaluation(variant):
    network = small(variant)
    levels = network.model.train()(inputs())
    assert [scores.shape[-1] for scores, _ in levels] == [16, 8, 4, 2]
    for scores, logits in levels:
        settings = network.settings
        powers = np.exp(settings.r * scores.detach().double().numpy()).reshape(2, 6, -1)
        oracle = np.log(powers.sum(2) if settings.reduction == "sum" else powers.mean(2)) / (
            settings.r if settings.divided else 1
        )
        assert np.allclose(logits.detach().numpy(), oracle, rtol=1e-4, atol=1e-4)
    network.model.eval()
    with torch.no_grad():
        logits, (maps, again) = network.model(inputs()), network.model.maps_and_logits(inputs())
    assert logits.shape == (2, 6) and torch.equal(logits, again) and maps.shape == (2, 6, 16, 16)


def test_a_sum_over_positions_starts_at_logits_near_zero_where_the_size_is_known():
    for size, low, high in ((None, 3.0, 9.0), (64, -1.5, 2.0)):
        encoder = create_backbone("rdnet_tiny", 6, 3, options=SMALL)
        levels = create_lse_unet(encoder, 6, LSE_VARIANTS["printed"], size=size).model.train()(
            inputs()
        )
        assert low < float(levels[0][1].detach().mean()) < high
    encoder = create_backbone("rdnet_tiny", 6, 3, options=SMALL)
    mean = create_lse_unet(encoder, 6, LSE_VARIANTS["authors"], size=64).model
    assert torch.equal(small("authors").model.scores[0].bias, mean.scores[0].bias)


def test_every_parameter_learns():
    network = small("authors")
    sum(
        logits.sum() + scores.square().sum() for scores, logits in network.model.train()(inputs())
    ).backward()
    assert [
        name for name, parameter in network.model.named_parameters() if parameter.grad is None
    ] == []


def test_weights_depend_on_the_seed_alone_and_leave_the_global_stream_alone():
    torch.manual_seed(5)
    first = small(seed=1).model.state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    torch.manual_seed(77)
    assert all(
        torch.equal(tensor, first[name])
        for name, tensor in small(seed=1).model.state_dict().items()
    )
    assert not torch.equal(small(seed=2).model.scores[0].weight, first["scores.0.weight"])


def saved(path, model, architecture):
    save_weights(path, model, {"architecture": architecture})
    return path


def test_an_encoder_of_a_classifiers_run_is_loaded_strictly(tmp_path):
    backbone = create_backbone("rdnet_tiny", 6, 3, options=SMALL, seed=9)
    path = saved(tmp_path / "weights.safetensors", backbone.model, backbone.describe())
    encoder = trained_encoder(path)
    assert encoder.weights_source == path.name and len(encoder.weights_sha256) == 64
    network = create_lse_unet(encoder, 6, LSE_VARIANTS["printed"])
    stem = "stem.0.weight"
    assert torch.equal(
        network.model.encoder.network.state_dict()[stem], backbone.model.state_dict()[stem]
    )
    other = create_backbone("rdnet_tiny", 6, 3, options=SMALL | {"growth_rates": [16] * 7})
    wrong = saved(tmp_path / "wrong.safetensors", other.model, backbone.describe())
    with pytest.raises(WeightsError, match="does not fit the network RDNet"):
        trained_encoder(wrong)
    with pytest.raises(WeightsError, match="does not exist"):
        trained_encoder(tmp_path / "absent.safetensors")


def test_a_trained_network_comes_back_from_its_checkpoint(tmp_path):
    network = small("authors", seed=4)
    path = saved(tmp_path / "weights.safetensors", network.model, network.describe())
    found = load(path, torch.device("cpu"), LSENetwork)
    loaded, metadata = found.network, found.metadata
    assert metadata["architecture"]["kind"] == "lse_unet" and loaded.settings == network.settings
    assert loaded.encoder["options"] == SMALL and loaded.describe() == metadata["architecture"]
    with torch.no_grad():
        assert torch.equal(loaded.model(inputs()), network.model.eval()(inputs()))
    with pytest.raises(WeightsError, match="a network 'lse_unet'; expected one of 'backbone'"):
        trained_encoder(path)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    backbone = create_backbone("rdnet_tiny", 6, 3, options=SMALL)
    path = saved(tmp_path / "weights.safetensors", backbone.model, backbone.describe())
    with pytest.raises(WeightsError, match="a network 'backbone'; expected one of 'lse_unet'"):
        load(path, torch.device("cpu"), LSENetwork)
    network = small("authors")
    printed = replace(network, settings=LSE_VARIANTS["printed"]).describe()
    with pytest.raises(WeightsError, match=r"does not fit the network LSEUNet; missing"):
        mixed = saved(tmp_path / "mixed.safetensors", network.model, printed)
        load(mixed, torch.device("cpu"), LSENetwork)
    with pytest.raises(WeightsError, match="not complete"):
        rebuild({"kind": "lse_unet", "outputs": 6})


@pytest.mark.parametrize("size", [16, 50, 112])
def test_slices_of_another_size_are_refused(size):
    with pytest.raises(ParameterError, match="multiples of 32"):
        small().model(inputs(size))


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(
        ParameterError, match="variant is 'paper'; expected one of printed, authors"
    ):
        lse_settings("paper", {})
    with pytest.raises(ParameterError, match="unknown setting 'temperature'"):
        lse_settings("printed", {"temperature": 1})
    with pytest.raises(ParameterError, match="depth_to_space is 'drc'"):
        lse_settings("printed", {"depth_to_space": "drc"})
    with pytest.raises(ParameterError, match="needs \\[4, 8, 16, 32\\]"):
        FeatureEncoder(create_backbone("vit_tiny_patch16_224", 1, 3))
