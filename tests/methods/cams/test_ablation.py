import copy

import numpy as np
import pytest
import torch

from ich_study.errors import MapError, ParameterError
from ich_study.methods.cams import ablation, tail_layers
from ich_study.methods.cams.cams import cam_maps, library_scaled
from ich_study.methods.cams.layers import timm_layers
from tests.methods.cams.cam_networks import (
    difference,
    images,
    network,
    oracle_ablation,
    slow_ablation,
)

PARITY = 1e-5


def scaled(model, inputs, layers, target=1, **options):
    maps = cam_maps(model, inputs, layers, target, ["AblationCAM"], **options)
    return {
        name: library_scaled(raw, tuple(inputs.shape[-2:])).numpy()
        for (_, name), raw in maps.items()
    }


@pytest.mark.parametrize("reading", ["blocks", "stages"])
def test_parity_of_both_variants_on_an_efficientnet(reading):
    model, inputs = network("tf_efficientnetv2_b0"), images(2, 48)
    layers = timm_layers(model, reading)
    variants = [
        ({}, {"zero": True}),
        ({"ablation": "library"}, {}),
        ({"ablation": "library", "library_batch": 8}, {"batch_size": 8}),
    ]
    for options, oracle in variants if reading == "blocks" else variants[:2]:
        found = scaled(model, inputs, layers, **options)
        for name, layer in layers.items():
            assert (
                difference(found[name], oracle_ablation(model, inputs, layer, 1, **oracle)) < PARITY
            ), (reading, name, options)


def test_parity_where_the_smallest_activation_is_zero():
    """After a ReLU the library ablates to zero, as published."""
    model, inputs = network("resnet18"), images(1, 33)
    layers = timm_layers(model, depths=["[-1]"])
    expected = oracle_ablation(model, inputs, layers["[-1]"], 1)
    for variant in ("zero", "library"):
        assert (
            difference(scaled(model, inputs, layers, ablation=variant)["[-1]"], expected) < PARITY
        )


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224"])
def test_tail_of_other_families_equals_the_whole_network(name):
    model, inputs = network(name), images(2, 56)
    for depth, layer in timm_layers(model).items():
        for variant in ("zero", "library"):
            tail = cam_maps(model, inputs, {depth: layer}, 1, ["AblationCAM"], ablation=variant)
            whole = slow_ablation(model, inputs, layer, 1, variant == "zero")
            peak = float(whole.abs().max())
            assert difference(tail["AblationCAM", depth], whole) < 1e-3 * peak, (depth, variant)


def test_rounding_is_no_larger_than_the_library_s():
    """Against the same maps in float64."""
    model, inputs = network("tf_efficientnetv2_b0"), images(2, 48)
    layers = timm_layers(model)
    exact = copy.deepcopy(model).double()
    ours = scaled(model, inputs, layers)
    for name, layer in timm_layers(exact).items():
        truth = oracle_ablation(exact, inputs.double(), layer, 1, zero=True)
        theirs = difference(oracle_ablation(model, inputs, layers[name], 1, zero=True), truth)
        assert difference(ours[name], truth) < max(5 * theirs, PARITY)


def test_library_variant_depends_on_its_batch_and_neither_on_the_chunk(monkeypatch):
    model, inputs = network("tf_efficientnetv2_b0"), images(1, 48)
    layers = timm_layers(model, depths=["[-3]"])
    library = [
        scaled(model, inputs, layers, ablation="library", library_batch=size)["[-3]"]
        for size in (8, 32)
    ]
    assert difference(*library) > 0.01
    for variant in ("zero", "library"):
        chunks = []
        for values in (3 * 9 * 32, 2**20):
            monkeypatch.setattr(ablation, "VALUES_PER_CHUNK", {"cpu": values})
            chunks.append(scaled(model, inputs, layers, ablation=variant)["[-3]"])
        assert difference(*chunks) < PARITY


def test_values_of_the_library():
    activations = torch.stack(
        [torch.linspace(-2, 5, 20).reshape(5, 2, 2), torch.arange(20.0).reshape(5, 2, 2)]
    )
    values = ablation.ablation_values(
        activations, ablation.Ablation("library", library_batch=2)
    ).numpy()
    np.testing.assert_allclose(
        values[0], np.float32([-1e7 - 2, -2e7 - 2, -1e7 - 2, -2e7 - 2, -1e7 - 2]), rtol=1e-7
    )
    assert (values[1] == 0).all()


def test_unknown_tail_is_an_error_and_never_a_silent_rerun():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 1),
    ).eval()
    with pytest.raises(ParameterError, match="by hand"):
        cam_maps(model, images(1, 9), {"conv": model[0]})


def test_rounding_of_badly_conditioned_weights_is_no_unknown_tail(monkeypatch):
    model, batch = network("tf_efficientnetv2_b0"), images(1, 9)
    monkeypatch.setattr(ablation, "TAIL_TOLERANCE", {"fp32": 0.0})
    with pytest.warns(UserWarning, match="in float64 they agree"):
        assert ("AblationCAM", "last") in cam_maps(
            model, batch, {"last": model.blocks[-1]}, methods=("AblationCAM",)
        )
    monkeypatch.setattr(ablation, "FLOAT64_TOLERANCE", -1.0)
    with pytest.raises(MapError, match="the tail of this network is not the one known here"):
        cam_maps(model, batch, {"last": model.blocks[-1]}, methods=("AblationCAM",))


def test_a_tail_that_is_not_the_network_s_raises():
    model = copy.deepcopy(network("tf_efficientnetv2_b0"))
    known = type(model)
    model.__class__ = type(
        "Tripled",
        (known,),
        {"forward_features": lambda self, image: known.forward_features(self, image) * 3},
    )
    with pytest.raises(MapError, match="the tail of this network is not the one known here"):
        cam_maps(model, images(1, 48), timm_layers(model), methods=["AblationCAM"])


def test_bfloat16_tail():
    model, inputs = network("tf_efficientnetv2_b0"), images(2, 48)
    layers = timm_layers(model, depths=["[-1]"])
    exact, rough = (
        scaled(model, inputs, layers, precision=precision)["[-1]"] for precision in ("fp32", "bf16")
    )
    assert difference(exact, rough) > 0 and np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.5
    with pytest.raises(ParameterError, match="ablate in fp32"):
        scaled(
            network("convnext_atto"),
            inputs,
            timm_layers(network("convnext_atto"), depths=["[-2]"]),
            precision="bf16",
        )


def test_convolution_and_activation_in_one_call_or_two(monkeypatch):
    model, inputs = network("tf_efficientnetv2_b0"), images(2, 48)
    layers = timm_layers(model)
    calls = []
    one = cam_maps(model, inputs, layers, 1, ["AblationCAM"])
    monkeypatch.setattr(
        tail_layers, "one_call", lambda tensor, activation: bool(calls.append(type(activation)))
    )
    two = cam_maps(model, inputs, layers, 1, ["AblationCAM"])
    assert torch.nn.SiLU in calls
    for key, maps in one.items():
        assert difference(maps, two[key]) < 1e-3 * float(maps.abs().max()), key
