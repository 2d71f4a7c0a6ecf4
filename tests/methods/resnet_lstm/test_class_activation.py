import cv2
import numpy as np
import pytest
import timm
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from ich_study.errors import MapError, ParameterError
from ich_study.methods.resnet_lstm.class_activation import (
    cam_of,
    cam_region,
    scaled_cam,
)
from ich_study.methods.resnet_lstm.settings import CamRegion


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=2).eval()


def test_the_map_is_the_weighted_sum_and_its_mean_plus_the_bias_is_the_logit(resnet):
    inputs = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        maps, logits = cam_of(resnet, inputs, CamRegion())
        features, layer = resnet.forward_features(inputs), resnet.get_classifier()
    oracle = (features.double() * layer.weight[0].double()[None, :, None, None]).sum(1)
    assert torch.allclose(maps.double(), oracle, atol=1e-4)
    assert torch.allclose(maps.mean((1, 2)) + layer.bias[0], logits, atol=1e-4)
    assert torch.allclose(logits, resnet(inputs)[:, 0], atol=1e-4)


def test_with_relu_it_is_what_grad_cam_gives_at_the_last_block(resnet):
    inputs = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        maps, _ = cam_of(resnet, inputs, CamRegion(relu=True))
    ours = scaled_cam(maps, 64).numpy()
    with GradCAM(resnet, [resnet.layer4]) as cam:
        oracle = cam(inputs, [ClassifierOutputTarget(0)] * 3)
    for one, other in zip(ours, oracle):
        if other.max() > 0.5:
            assert np.abs(one - other).max() < 0.02


def test_the_maps_are_enlarged_as_opencv_does_it_and_scaled_per_slice():
    maps = torch.randn(2, 4, 4)
    ours = scaled_cam(maps, 32).numpy()
    for one, raw in zip(ours, maps.numpy()):
        large = cv2.resize(raw, (32, 32), interpolation=cv2.INTER_LINEAR)
        assert np.allclose(one, (large - large.min()) / np.ptp(large), atol=1e-5)
    assert not scaled_cam(torch.full((1, 4, 4), 3.0), 8).any()


def test_the_threshold_is_strict_and_a_flat_map_has_no_region():
    scaled = np.array([[[0.7, 0.70001], [0.0, 1.0]]])
    assert cam_region(scaled, CamRegion()).tolist() == [[[False, True], [False, True]]]
    assert not cam_region(scaled_cam(torch.ones(1, 2, 2), 4).numpy(), CamRegion()).any()


def test_relu_changes_what_lies_above_the_threshold():
    raw = torch.tensor([[[-10.0, 0.0], [1.0, 2.0]]])
    signed, positive = (scaled_cam(maps, 2).numpy() for maps in (raw, raw.clamp(min=0)))
    assert (
        cam_region(signed, CamRegion()).sum() == 3 and cam_region(positive, CamRegion()).sum() == 1
    )


def test_networks_without_pooling_and_one_layer_have_no_cam():
    with pytest.raises(MapError, match="not defined"):
        transformer = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, depth=1, num_classes=1
        ).eval()
        cam_of(transformer, torch.zeros(1, 3, 32, 32), CamRegion())
    model = timm.create_model("resnet10t", num_classes=1, global_pool="max").eval()
    with pytest.raises(MapError, match="logit"), torch.inference_mode():
        cam_of(model, torch.randn(2, 3, 64, 64), CamRegion())


def test_what_is_not_finite_or_does_not_fit_is_refused(resnet):
    with pytest.raises(MapError, match="NaN"), torch.inference_mode():
        cam_of(resnet, torch.full((1, 3, 64, 64), float("nan")), CamRegion())
    with pytest.raises(ParameterError):
        CamRegion(threshold=1.0)
    assert isinstance(resnet.get_classifier(), nn.Linear)
