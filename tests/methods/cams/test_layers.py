import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.methods.cams.layers import channels_last, timm_layers
from tests.methods.cams.cam_networks import images, network


def test_readings_of_the_printed_depths():
    model = network("tf_efficientnetv2_b0")
    blocks, stages = timm_layers(model), timm_layers(model, "stages")
    assert list(blocks) == ["[-1]", "[-2]", "[-3]"] == list(stages)
    assert blocks["[-1]"] is model.blocks[5] is stages["[-2]"] and blocks["[-3]"] is model.blocks[3]
    assert stages["[-1]"] is model.bn2 and stages["[-3]"] is model.blocks[4]


def test_resolutions_of_efficientnetv2_s_are_those_of_the_facts():
    """Facts, 001: 256 channels at 1/32, 160 and 128 at 1/16."""
    model, shapes = network("tf_efficientnetv2_s", 1), {}
    handles = [
        layer.register_forward_hook(
            lambda module, given, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
        for name, layer in timm_layers(model).items()
    ]
    with torch.inference_mode():
        model(images(1, 64))
    for handle in handles:
        handle.remove()
    assert shapes == {"[-1]": (256, 2, 2), "[-2]": (160, 4, 4), "[-3]": (128, 4, 4)}


def test_other_families():
    assert timm_layers(network("resnet18"))["[-3]"] is network("resnet18").layer2
    assert (
        timm_layers(network("swin_tiny_patch4_window7_224"))["[-1]"]
        is network("swin_tiny_patch4_window7_224").layers[2]
    )


def test_requests_without_sense():
    with pytest.raises(ParameterError, match="expected one of blocks, stages"):
        timm_layers(network("resnet18"), "torchvision")
    with pytest.raises(ParameterError, match="no head convolution"):
        timm_layers(network("resnet18"), "stages")
    with pytest.raises(ParameterError, match=r"has \[-1\] to \[-4\]"):
        timm_layers(network("resnet18"), depths=["[-9]"])
    with pytest.raises(ParameterError, match="by hand"):
        timm_layers(torch.nn.Linear(1, 1))


def test_a_swin_has_its_channels_last_and_the_others_first():
    assert channels_last(network("swin_tiny_patch4_window7_224"))
    for name in ("resnet18", "convnext_atto", "tf_efficientnetv2_b0"):
        assert not channels_last(network(name))
