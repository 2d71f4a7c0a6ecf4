import gc

import numpy as np
import pytest
import torch
from torch import nn

from ich_study.errors import MapError, ParameterError
from ich_study.methods.cams.cams import CAM_METHODS, METHOD_IDS, cam_maps, library_scaled
from ich_study.methods.cams.layers import timm_layers
from ich_study.published.tables import load_table
from tests.methods.cams.cam_networks import ORACLES, difference, images, network, oracle_maps

PARITY = 1e-5
EIGEN = ("EigenCAM", "EigenGradCAM")
WITHOUT_TAIL = [method for method in CAM_METHODS if method != "AblationCAM"]
"""What comes after a layer of a network of the tests is not known."""


def assert_parity(model, inputs, target, oracle_reshape=None, without=()):
    layers = timm_layers(model)
    found = cam_maps(model, inputs, layers, target, list(ORACLES))
    as_lapack = cam_maps(model, inputs, layers, target, EIGEN, eigen_sign="lapack")
    size = tuple(inputs.shape[-2:])
    for (method, name), raw in found.items():
        if (method, name) in without:
            continue
        expected = oracle_maps(method, model, inputs, layers[name], target, oracle_reshape)
        if method in EIGEN:
            assert difference(library_scaled(as_lapack[method, name], size), expected) < PARITY, (
                method,
                name,
            )
            signs = [library_scaled(sign * raw, size).numpy() for sign in (1, -1)]
            for image, wanted in enumerate(expected):
                assert min(difference(sign[image], wanted) for sign in signs) < PARITY, (
                    method,
                    name,
                )
        else:
            assert difference(library_scaled(raw, size), expected) < PARITY, (method, name)


def test_methods_are_the_rows_of_the_printed_table():
    table = load_table("cam_benchmark", "table_2a")
    assert dict.fromkeys(zip(table["row"], table["method"])) == dict.fromkeys(METHOD_IDS.items())


def test_parity_on_efficientnetv2_s():
    assert_parity(network("tf_efficientnetv2_s", 1), images(2, 96), 0)


def test_parity_on_a_convnext():
    # HiResCAM: see test_hires_cam_cancels_before_a_layer_norm
    assert_parity(
        network("convnext_atto"),
        images(2, 96),
        1,
        without={("HiResCAM", "[-2]"), ("HiResCAM", "[-3]")},
    )


def test_parity_on_a_swin_with_a_reshape():
    model = network("swin_tiny_patch4_window7_224")
    assert_parity(
        model,
        images(2, 56),
        1,
        lambda output: output.permute(0, 3, 1, 2),
        without={("HiResCAM", "[-1]")},
    )


def test_hires_cam_cancels_before_a_layer_norm():
    """The norm's output does not change when all channels of a position scale, so the sum of G A
    there is rounding only."""
    layers = timm_layers(network("convnext_atto"))
    maps = cam_maps(
        network("convnext_atto"), images(2, 96), layers, 1, ["HiResCAM", "GradCAMElementWise"]
    )
    assert (
        maps["HiResCAM", "[-2]"].abs().max() < 1e-4 * maps["GradCAMElementWise", "[-2]"].abs().max()
    )
    assert (
        maps["HiResCAM", "[-1]"].abs().max() > 1e-2 * maps["GradCAMElementWise", "[-1]"].abs().max()
    )


def test_linear_head_makes_four_methods_equal():
    """Where only pooling and a linear layer follow, gradients are constant: GradCAM = HiResCAM =
    XGradCAM (facts, 001)."""
    model = network("tf_efficientnetv2_b0")
    maps = cam_maps(model, images(2, 64), timm_layers(model, "stages", ["[-1]"]), 1)
    logits, weights = model(images(2, 64))[:, 1], model.classifier.weight[1]
    torch.testing.assert_close(
        maps["HiResCAM", "[-1]"], maps["GradCAM", "[-1]"], rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        maps["XGradCAM", "[-1]"], maps["GradCAM", "[-1]"], rtol=1e-3, atol=1e-5
    )
    evidence = logits.detach() - model.classifier.bias[1].detach()
    torch.testing.assert_close(maps["HiResCAM", "[-1]"].sum((1, 2)), evidence, rtol=1e-3, atol=1e-4)
    features = model.forward_features(images(2, 64)).detach()
    ablated = torch.einsum(
        "bc,bchw->bhw",
        weights.detach() * features.mean((2, 3)) / logits.detach()[:, None],
        features,
    )
    torch.testing.assert_close(
        maps["AblationCAM", "[-1]"], ablated, rtol=1e-3, atol=1e-4 * float(ablated.abs().max())
    )


def test_an_image_s_maps_do_not_depend_on_its_batch():
    model, inputs = network("tf_efficientnetv2_b0"), images(3, 64)
    layers = timm_layers(model)
    together = cam_maps(model, inputs, layers)
    alone = cam_maps(model, inputs[1:2], layers)
    assert set(together) == {(method, name) for method in CAM_METHODS for name in layers}
    for key, maps in together.items():
        assert difference(maps[1:2], alone[key]) <= 1e-3 * float(alone[key].abs().max()), key


def test_nothing_of_the_network_changes():
    model, inputs = network("tf_efficientnetv2_b0"), images(1, 64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with torch.inference_mode():
        cam_maps(model, inputs, timm_layers(model), ablation="library")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags and any(flags)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_bfloat16_is_close():
    model, inputs = network("tf_efficientnetv2_b0"), images(2, 64)
    layers = timm_layers(model)
    exact = cam_maps(model, inputs, layers, methods=["GradCAM", "EigenCAM", "LayerCAM"])
    rough = cam_maps(
        model, inputs, layers, methods=["GradCAM", "EigenCAM", "LayerCAM"], precision="bf16"
    )
    for key, maps in exact.items():
        correlation = np.corrcoef(maps.numpy().ravel(), rough[key].numpy().ravel())[0, 1]
        assert correlation > 0.9 and difference(maps, rough[key]) > 0, key


class Tiny(nn.Module):
    """Two convolutions with an in-place ReLU right after each CAM layer, and a branch beside the
    path."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.beside = (
            nn.Conv2d(1, 3, 3),
            nn.Conv2d(3, 4, 3),
            nn.Conv2d(1, 2, 3),
        )
        self.relu, self.head, self.scale = nn.ReLU(inplace=True), nn.Linear(4, 2), 1.0

    def forward(self, image):
        self.beside(image)
        maps = self.relu(self.second(self.relu(self.first(image))))
        return self.head(maps.mean((2, 3))) * self.scale


def test_activations_are_those_before_an_in_place_operation():
    model, inputs = Tiny().eval(), torch.randn(2, 1, 9, 9)
    maps = cam_maps(model, inputs, {"first": model.first}, methods=WITHOUT_TAIL)
    activations = model.first(inputs).detach().requires_grad_()
    assert activations.min() < 0
    logits = model.head(model.second(activations.clamp(min=0)).clamp(min=0).mean((2, 3)))
    gradients = torch.autograd.grad(logits[:, 0].sum(), activations)[0]
    torch.testing.assert_close(maps["HiResCAM", "first"], (gradients * activations).sum(1).detach())


def test_no_growth_over_a_thousand_images():
    model = Tiny().eval()
    layers = {"first": model.first, "second": model.second}

    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    def process(number):
        cam_maps(model, torch.randn(10, 1, 9, 9), layers, methods=WITHOUT_TAIL)

    process(0)
    before = tensors()
    for number in range(100):
        process(number)
    assert tensors() <= before
    assert not any(module._forward_hooks for module in model.modules())


def test_errors_leave_no_hook_behind():
    model = Tiny().eval()
    with pytest.raises(RuntimeError):
        cam_maps(model, torch.randn(1, 1, 9, 9), {"beside": model.beside})
    with pytest.raises(RuntimeError):
        cam_maps(model, torch.randn(1, 2, 9, 9), {"first": model.first})
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_empty_or_broken_map_raises():
    model, inputs = Tiny().eval(), torch.randn(2, 1, 9, 9)
    layers = {"second": model.second}
    model.scale = 0.0
    with pytest.raises(MapError, match="gradient of image 0 of the batch is zero everywhere"):
        cam_maps(model, inputs, layers)
    model.scale = float("nan")
    with pytest.raises(MapError, match="logit of image 0 of the batch is not finite"):
        cam_maps(model, inputs, layers)
    model.scale = 1e38
    with pytest.raises(MapError, match="GradCAM\\+\\+ at layer second"):
        cam_maps(model, inputs, layers, methods=["GradCAM++"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "amp"}, "amp"),
        ({"library_batch": 0}, "1 or more"),
    ],
)
def test_requests_without_sense(change, message):
    model = Tiny().eval()
    request = {"inputs": torch.ones(1, 1, 9, 9), "layers": {"second": model.second}} | change
    with pytest.raises(ParameterError, match=message):
        cam_maps(model, **request)


def test_training_mode_is_refused():
    with pytest.raises(ParameterError, match="training mode"):
        cam_maps(Tiny().train(), torch.ones(1, 1, 9, 9), {"second": Tiny().second})


def test_outputs_of_another_shape_ask_for_a_layout():
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(9, 4))
    model = nn.Sequential(tokens, nn.Flatten(), nn.Linear(4, 1)).eval()
    with pytest.raises(ParameterError, match="expected maps"):
        cam_maps(model, torch.ones(1, 1, 3, 3), {"tokens": tokens}, methods=["GradCAM"])


def test_library_scaling_of_a_map_without_positive_values():
    raw = torch.tensor([[[-1.0, -2.0], [-3.0, -0.5]], [[-1.0, 2.0], [0.0, 1.0]]])
    scaled = library_scaled(raw, 8)
    assert scaled.shape == (2, 8, 8) and scaled[0].abs().max() == 0
    assert scaled[1].min() == 0 and scaled[1].max() == pytest.approx(1, abs=1e-6)
    with pytest.raises(MapError):
        library_scaled(torch.full((1, 2, 2), float("inf")), 4)
