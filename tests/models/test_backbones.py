import pytest
import timm
import torch
from safetensors.torch import save_file

from ich_study.errors import ParameterError, WeightsError
from ich_study.hashing import sha256_file
from ich_study.inputs.seeds import seed_everything
from ich_study.models.backbones import Backbone, class_logits, create_backbone
from ich_study.models.registry import rebuild
from ich_study.models.weights import save_weights, state_digest

RESNET = {"channels": [16, 32, 64, 128]}
SMALL = {
    "resnet152": {**RESNET, "layers": [1, 2, 3, 1]},
    "resnet101": {**RESNET, "layers": [1, 1, 2, 1]},
    "resnetrs200": {**RESNET, "layers": [1, 2, 2, 1], "stem_width": 16},
    "densenet121": {"growth_rate": 8, "block_config": [3, 6, 12, 8]},
    "rdnet_tiny": {
        "num_init_features": 24,
        "growth_rates": [16, 24, 32, 32, 32, 32, 56],
        "num_blocks_list": [2] * 7,
        "ls_init_value": 1.0,
    },
    "tf_efficientnetv2_b0": {"channel_multiplier": 0.3, "depth_multiplier": 0.35},
    "tf_efficientnetv2_b1": {"channel_multiplier": 0.3, "depth_multiplier": 0.385},
    "tf_efficientnetv2_b2": {"channel_multiplier": 0.33, "depth_multiplier": 0.42},
    "tf_efficientnetv2_b3": {"channel_multiplier": 0.36, "depth_multiplier": 0.49},
    "tf_efficientnetv2_s": {"channel_multiplier": 0.3, "depth_multiplier": 0.34},
    "tf_efficientnetv2_l": {"channel_multiplier": 0.25, "depth_multiplier": 0.2},
}
"""One small member per arm of the study: the family's blocks and stages at a fraction of width and
depth."""
BASE = "tf_efficientnetv2_b0"
TINY = {"channel_multiplier": 0.25, "depth_multiplier": 0.2}


def parameters(backbone):
    return sum(each.numel() for each in backbone.model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_small_members_give_logits_and_gradients(name):
    small = create_backbone(name, 6, options=SMALL[name])
    assert type(small.model) is type(timm.create_model(name.replace("200", "50")))
    assert parameters(small) < 2.5e6
    logits = small.model(torch.randn(2, 3, 128, 128))
    logits.square().mean().backward()
    assert logits.shape == (2, 6)
    assert all(each.grad is not None for each in small.model.parameters())


def test_small_efficientnets_keep_the_scaling_order_of_the_family():
    names = [f"tf_efficientnetv2_{member}" for member in ("b0", "b1", "b2", "b3", "s", "l")]
    sizes = [parameters(create_backbone(name, 6, options=SMALL[name])) for name in names]
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)


@pytest.mark.parametrize(
    ("member", "width", "depth"), [("b1", 1.0, 1.1), ("b2", 1.1, 1.2), ("b3", 1.2, 1.4)]
)
def test_scaled_members_are_built_from_the_base_as_timm_builds_them(member, width, depth):
    name = f"tf_efficientnetv2_{member}"
    ours = create_backbone(
        name, 5, options={"channel_multiplier": width, "depth_multiplier": depth}
    ).model
    theirs = timm.create_model(name, num_classes=5)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }


@pytest.mark.parametrize("channels", [1, 3, 9])
def test_any_number_of_input_channels(channels):
    backbone = create_backbone(BASE, 2, in_channels=channels, options=TINY)
    assert backbone.model(torch.zeros(2, channels, 32, 32)).shape == (2, 2)


def test_unknown_networks_and_options_are_named():
    with pytest.raises(ParameterError, match="resnet1525"):
        create_backbone("resnet1525", 1)
    with pytest.raises(ParameterError, match="growth"):
        create_backbone("resnet101", 1, options={"growth": 3})
    with pytest.raises(ParameterError, match="num_classes"):
        create_backbone("resnet101", 1, options={"num_classes": 3})
    with pytest.raises(ParameterError, match="weights_sha256 is the hash of a file or a run"):
        create_backbone("resnet101", 1, weights_sha256="f" * 64)
    with pytest.raises(ParameterError, match="expected hub, package:NAME, file:PATH or run:FOLDER"):
        create_backbone("resnet101", 1, weights="imagenet")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file as a hub gives it: the network with its own classifier, here of 7 classes."""
    seed_everything(7)
    model = timm.create_model(BASE, num_classes=7, **TINY)
    path = tmp_path_factory.mktemp("weights") / "published.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def test_a_file_is_loaded_exactly_and_its_head_replaced(published):
    model, path = published
    loaded = create_backbone(
        BASE, 2, weights=f"file:{path}", weights_sha256=sha256_file(path), options=TINY
    )
    theirs, ours = model.state_dict(), loaded.model.state_dict()
    for name in theirs:
        if name.startswith("classifier"):
            assert ours[name].shape[0] == 2
        else:
            assert torch.equal(ours[name], theirs[name]), name
    assert (loaded.weights_source, loaded.weights_sha256) == (
        "published.safetensors",
        sha256_file(path),
    )
    assert loaded.input_mean == (0.485, 0.456, 0.406)
    assert "state_dict" not in loaded.model.pretrained_cfg


def test_the_first_convolution_is_adapted_to_one_channel(published):
    model, path = published
    loaded = create_backbone(BASE, 2, in_channels=1, weights=f"file:{path}", options=TINY)
    assert torch.allclose(
        loaded.model.conv_stem.weight, model.conv_stem.weight.sum(1, keepdim=True)
    )


def test_a_file_without_a_classifier_is_loaded_strictly(published, tmp_path):
    model, _ = published
    body = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("classifier")
    }
    save_file(body, tmp_path / "body.safetensors")
    weights = f"file:{tmp_path / 'body.safetensors'}"
    loaded = create_backbone(BASE, 2, weights=weights, options=TINY)
    found = loaded.model.state_dict()
    assert all(torch.equal(found[name], body[name]) for name in body)
    assert found["classifier.weight"].shape[0] == 2
    del body["blocks.1.0.conv_exp.weight"]
    save_file(body, tmp_path / "body.safetensors")
    with pytest.raises(WeightsError, match=r"blocks\.1\.0\.conv_exp\.weight"):
        create_backbone(BASE, 2, weights=weights, options=TINY)


def test_a_run_of_other_channels_than_three_starts_another_of_as_many(tmp_path):
    first = create_backbone(BASE, 3, 9, options=TINY, seed=1)
    described = {"preprocessing": {"mean": [0.5], "std": [0.25]}}
    save_weights(tmp_path / "weights.safetensors", first.model, described)
    second = create_backbone(BASE, 2, 9, weights=f"run:{tmp_path}", options=TINY, seed=2)
    assert torch.equal(second.model.conv_stem.weight, first.model.conv_stem.weight)
    assert (second.input_mean, second.input_std) == ((0.5,), (0.25,))
    with pytest.raises(WeightsError, match="takes 9 input channels; expected 6 or 3"):
        create_backbone(BASE, 2, 6, weights=f"run:{tmp_path}", options=TINY)


def test_wrong_files_are_refused_by_name(published, tmp_path):
    model, path = published
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors does not exist"):
        create_backbone(BASE, 2, weights=f"file:{tmp_path / 'nowhere.safetensors'}", options=TINY)
    with pytest.raises(WeightsError, match="SHA-256"):
        create_backbone(BASE, 2, weights=f"file:{path}", weights_sha256="f" * 64, options=TINY)
    with pytest.raises(WeightsError, match="resnet101"):
        create_backbone("resnet101", 2, weights=f"file:{path}")
    with pytest.raises(WeightsError, match=r"blocks\.3\.1\.conv_pw"):
        create_backbone(BASE, 2, weights=f"file:{path}", options={**TINY, "depth_multiplier": 0.5})
    cut = {
        name: tensor for name, tensor in model.state_dict().items() if name != "conv_head.weight"
    }
    save_file(cut, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match=r"conv_head\.weight"):
        create_backbone(BASE, 2, weights=f"file:{tmp_path / 'cut.safetensors'}", options=TINY)


def test_an_unreachable_hub_is_an_error_and_never_random_weights(monkeypatch):
    import timm.models._builder as builder

    def unreachable(*_, **__):
        raise OSError("no route to the hub")

    monkeypatch.setattr(builder, "load_state_dict_from_hf", unreachable)
    with pytest.raises(WeightsError, match="no route to the hub"):
        create_backbone(BASE, 2, weights="hub")


def test_rebuild_gives_the_same_network_and_seeds_decide_the_weights():
    digests = []
    for seed in (1, 1, 2):
        seed_everything(8)
        following = torch.rand(1)
        seed_everything(8)
        backbone = create_backbone(BASE, 3, in_channels=1, options=TINY, seed=seed)
        assert torch.equal(torch.rand(1), following)
        digests.append(state_digest(backbone.model))
    assert digests[0] == digests[1] != digests[2]
    again = Backbone.rebuild(backbone.arguments())
    assert again.model.load_state_dict(backbone.model.state_dict(), strict=True)
    assert again.describe() == backbone.describe()
    with pytest.raises(WeightsError, match="options"):
        rebuild({"kind": "backbone", "name": BASE, "outputs": 1, "in_channels": 3})


def test_of_two_outputs_the_difference_is_the_logit():
    logits = torch.tensor([[0.5, 2.0], [-1.0, -3.0], [0.0, 0.0]])
    assert class_logits(logits, True).tolist() == [[1.5], [-2.0], [0.0]]
    assert torch.allclose(class_logits(logits, True).sigmoid()[:, 0], logits.softmax(1)[:, 1])
    assert class_logits(logits, False) is logits


def test_the_head_alone_learns_where_asked():
    backbone = create_backbone(BASE, 2, options=TINY, trained="head")
    learns = {name for name, each in backbone.model.named_parameters() if each.requires_grad}
    assert learns == {"classifier.weight", "classifier.bias"}
    assert Backbone.rebuild(backbone.arguments()).model.conv_stem.weight.requires_grad
    with pytest.raises(ParameterError, match="expected one of all, head"):
        create_backbone(BASE, 2, options=TINY, trained="none")
