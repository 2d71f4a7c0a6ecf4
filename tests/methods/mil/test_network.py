"""The MIL networks: against a formula written from the facts, and their checkpoints, good and
bad."""

import re

import numpy as np
import pytest
import torch
from torch.nn import functional

from ich_study.ct.windows import mil_channels
from ich_study.errors import ParameterError, WeightsError
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.mil.network import (
    HEADS,
    MIL_VARIANTS,
    MilBackbone,
    create_mil,
    fused,
    load_published,
    published_preprocessing,
)
from ich_study.models.backbones import create_backbone
from ich_study.models.registry import load
from ich_study.models.weights import save_weights
from ich_study.paths import real_data_root

PUBLISHED_FILES = {"max_pooling": "MaxPool_state_dict.npz", "attention": "Attention_state_dict.npz"}


def inputs(count=2, side=32, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def shaken(backbone, seed=1):
    """Every tensor away from its initial value, so that nothing is hidden by zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in backbone.model.state_dict().items():
        if tensor.is_floating_point():
            tensor.add_(
                0.1 * torch.rand(tensor.shape, generator=generator)
                + (0.5 if "running_var" in name else 0.0)
            )
    backbone.model.eval()
    return backbone


def formula(state, x, head):
    """The released network in float64, as printed_and_authors, 004.1, writes it down, dead blocks
    included."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def unit(name, image):
        image = functional.conv2d(
            image, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"], padding=1
        )
        mean, var = (state[f"{name}.bn.running_{part}"][:, None, None] for part in ("mean", "var"))
        scale, shift = (state[f"{name}.bn.{part}"][:, None, None] for part in ("weight", "bias"))
        return ((image - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)

    y, place = unit("init_conv", x.double()), 0
    for level in range(3):
        if level:
            y, place = unit(f"layers.{place}", x), place + 1
        for _ in range(2):
            x = y
            for number in range(place, place + 3):
                x = unit(f"layers.{number}", x)
            x, place = x + y, place + 3
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))
    if head == "max_pooling":
        maps = functional.conv2d(
            x, state["conv_final.weight"], state["conv_final.bias"], padding=1
        )[:, 0]
        return maps.amax((1, 2)), maps
    one = {
        name: (state[f"attention.conv_{name}.weight"], state[f"attention.conv_{name}.bias"])
        for name in ("tanh", "sigm", "w", "final")
    }
    scores = functional.conv2d(
        functional.conv2d(x, *one["tanh"]).tanh()
        * torch.sigmoid(functional.conv2d(x, *one["sigm"])),
        *one["w"],
    )
    weights = scores.exp() / scores.exp().sum((2, 3), keepdim=True)
    return (weights * functional.conv2d(x, *one["final"])).sum((1, 2, 3)), weights[:, 0]


@pytest.mark.parametrize("head", HEADS)
def test_the_released_network_is_the_formula_of_the_facts(head):
    backbone = shaken(create_mil("authors", head))
    with torch.inference_mode():
        logits, maps = backbone.model.likelihood(inputs())
        expected_logits, expected_maps = formula(backbone.model.state_dict(), inputs(), head)
    np.testing.assert_allclose(logits[:, 0].numpy(), expected_logits.numpy(), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(maps.numpy(), expected_maps.numpy(), rtol=2e-4, atol=2e-4)


def test_the_first_block_of_every_level_has_no_effect_and_the_second_has():
    backbone = shaken(create_mil("authors", "max_pooling"))
    before = backbone.model(inputs())
    state = backbone.model.state_dict()
    for number in (0, 1, 2, 7, 8, 9, 14, 15, 16):
        state[f"layers.{number}.conv.weight"].zero_()
    assert torch.equal(backbone.model(inputs()), before)
    state["layers.17.conv.weight"].zero_()
    assert not torch.allclose(backbone.model(inputs()), before)


@pytest.mark.parametrize(
    ("variant", "stride", "convolutions"), [("printed", 4, 18), ("authors", 8, 21)]
)
@pytest.mark.parametrize("head", HEADS)
def test_stride_and_number_of_convolutions(variant, head, stride, convolutions):
    model = create_mil(variant, head).model.eval()
    logits, maps = model.likelihood(inputs(1, 64))
    assert logits.shape == (1, 1) and maps.shape == (1, 64 // stride, 64 // stride)
    three = [
        m
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) and name != "conv_final"
    ]
    assert len(three) == convolutions


@pytest.mark.parametrize("variant", MIL_VARIANTS)
def test_what_a_map_holds(variant):
    logits, maps = shaken(create_mil(variant, "max_pooling")).model.likelihood(inputs())
    assert torch.equal(maps.flatten(1).amax(1), logits[:, 0])
    _, weights = shaken(create_mil(variant, "attention")).model.likelihood(inputs())
    assert torch.allclose(weights.sum((1, 2)), torch.ones(2)) and bool((weights >= 0).all())


@pytest.mark.parametrize("variant", MIL_VARIANTS)
@pytest.mark.parametrize("head", HEADS)
def test_folding_changes_nothing(variant, head):
    model = shaken(create_mil(variant, head)).model
    for ours, theirs in zip(fused(model).likelihood(inputs()), model.likelihood(inputs())):
        assert torch.allclose(ours, theirs, atol=2e-4)


def test_weights_come_from_the_seed_alone():
    states = [create_mil("printed", "attention", seed).model.state_dict() for seed in (3, 3, 4)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(
        states[0]["attention.conv_w.weight"], states[2]["attention.conv_w.weight"]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"variant": "paper"},
        {"head": "mean"},
        {"blocks": 0},
        {"variant": "authors", "blocks": 3},
    ],
)
def test_unknown_settings_are_refused(wrong):
    with pytest.raises(ParameterError, match="MIL"):
        create_mil(**{"variant": "printed", "head": "attention", **wrong})


def test_the_input_equals_the_code_of_the_authors():
    hu = torch.randint(-1024, 3072, (3, 256, 256), generator=torch.Generator().manual_seed(0)).to(
        torch.int16
    )
    preprocessing = published_preprocessing()
    inputs = preprocessing.inputs(preprocessing.resized(hu)[:, None])
    assert torch.allclose(inputs, torch.from_numpy(mil_channels(hu.numpy())), atol=1e-6)


def written(path, state):
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
@pytest.mark.parametrize("head", HEADS)
def test_a_checkpoint_in_the_released_layout_loads(tmp_path, suffix, head):
    source = shaken(create_mil("authors", head))
    loaded = load_published(written(tmp_path / f"net{suffix}", source.model.state_dict()), head)
    assert torch.equal(loaded.model(inputs()), source.model(inputs()))
    assert loaded.weights_source == f"net{suffix}" and len(loaded.weights_sha256) == 64


def test_a_wrong_checkpoint_is_refused_by_name(tmp_path):
    state = create_mil("authors", "attention").model.state_dict()
    path = written(tmp_path / "net.npz", state)
    expected = (
        "missing (2): conv_final.weight, conv_final.bias; unexpected (8):"
        " attention.conv_tanh.weight"
    )
    with pytest.raises(WeightsError, match=re.escape(expected)):
        load_published(path, "max_pooling")
    del state["layers.19.bn.running_var"]
    with pytest.raises(WeightsError, match=r"missing \(1\): layers.19.bn.running_var"):
        load_published(written(tmp_path / "cut.pt", state), "attention")
    with pytest.raises(WeightsError, match=r"init_conv\.conv\.weight"):
        load_published(
            written(tmp_path / "other.pt", create_mil("printed", "attention").model.state_dict()),
            "attention",
        )
    with pytest.raises(WeightsError, match="SHA-256"):
        load_published(path, "attention", "0" * 64)
    with pytest.raises(WeightsError, match="does not exist"):
        load_published(tmp_path / "absent.npz", "attention")
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_published(tmp_path / "text.pt", "attention")


def test_a_trained_checkpoint_comes_back_and_another_architecture_does_not(tmp_path):
    source = shaken(create_mil("printed", "attention", channels=(4, 6, 8), blocks=1))
    preprocessing = published_preprocessing(64)
    metadata = {"architecture": source.describe(), "preprocessing": preprocessing.describe()}
    save_weights(tmp_path / "mil.safetensors", source.model, metadata)
    found = load(tmp_path / "mil.safetensors", torch.device("cpu"), MilBackbone)
    assert torch.equal(found.model(inputs()), source.model(inputs()))
    assert found.preprocessing == preprocessing
    other = create_backbone("resnet10t", 1)
    save_weights(
        tmp_path / "other.safetensors", other.model, {**metadata, "architecture": other.describe()}
    )
    with pytest.raises(WeightsError, match="a network 'backbone'; expected one of 'mil'"):
        load(tmp_path / "other.safetensors", torch.device("cpu"), MilBackbone)


def test_preprocessing_travels_as_json():
    described = published_preprocessing().describe()
    assert Preprocessing(**described) == published_preprocessing()


@pytest.mark.parametrize("head", HEADS)
def test_the_published_checkpoints_tell_a_bleed_from_none(head):
    root = real_data_root()
    path = root.parent / "weights" / PUBLISHED_FILES[head] if root else None
    if path is None or not path.is_file():
        pytest.skip("the published checkpoints are not on this machine")
    backbone, preprocessing = load_published(path, head), published_preprocessing()
    rows, columns = np.mgrid[:256, :256]
    head_mask = np.hypot((rows - 128) / 105, (columns - 128) / 80)
    hu = np.where(
        head_mask < 0.92, 30, np.where(head_mask < 1, 1000, -1000)
    ) + np.random.default_rng(0).normal(0, 3, (256, 256))
    bleed = np.where(np.hypot(rows - 110, columns - 95) < 14, 65, hu)
    slices = torch.from_numpy(np.stack([hu, bleed]).round().astype(np.int16))
    with torch.inference_mode():
        logits, maps = backbone.model.likelihood(preprocessing.inputs(slices[:, None]))
    assert float(logits[1]) > float(logits[0]) + 1
    peak = np.unravel_index(int(maps[1].argmax()), (32, 32))
    assert abs(peak[0] - 110 / 8) <= 2 and abs(peak[1] - 95 / 8) <= 2


@pytest.mark.parametrize(("blocks", "sees"), [(3, 88), (1, 32)])
def test_how_far_a_cell_of_the_printed_network_sees(blocks, sees):
    model = create_mil("printed", "max_pooling", blocks=blocks).model.eval()
    picture = inputs(1, 128).requires_grad_()
    model.likelihood(picture)[1][0, 16, 16].backward()
    reached = torch.nonzero(picture.grad[0].abs().sum((0, 1))).flatten()
    assert int(reached[-1] - reached[0]) + 1 <= sees
    assert int(reached[-1] - reached[0]) + 1 > sees - 8
