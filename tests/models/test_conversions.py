"""Names and shapes of published weights, against timm's networks."""

import pytest
import timm
import torch
from torch.nn import functional

from ich_study.errors import WeightsError
from ich_study.models.conversions import deflated, efficientnet_lite

IN_BLOCK = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}


def as_published(model):
    """timm's EfficientNet-Lite under the other names; written from the network, not from names."""
    named = {}
    modules = {
        "_conv_stem": model.conv_stem,
        "_bn0": model.bn1,
        "_conv_head": model.conv_head,
        "_bn1": model.bn2,
        "_fc": model.classifier,
    }
    number = 0
    for stage in model.blocks:
        for block in stage:
            place = f"_blocks.{number}"
            if hasattr(block, "conv_pwl"):
                modules[f"{place}._expand_conv"] = block.conv_pw
                modules[f"{place}._bn0"] = block.bn1
                modules[f"{place}._depthwise_conv"] = block.conv_dw
                modules[f"{place}._bn1"] = block.bn2
                modules[f"{place}._project_conv"] = block.conv_pwl
                modules[f"{place}._bn2"] = block.bn3
            else:
                modules[f"{place}._depthwise_conv"] = block.conv_dw
                modules[f"{place}._bn1"] = block.bn1
                modules[f"{place}._project_conv"] = block.conv_pw
                modules[f"{place}._bn2"] = block.bn2
            number += 1
    for name, module in modules.items():
        for kind, tensor in module.state_dict().items():
            named[f"{name}.{kind}"] = tensor
    return named


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite1"])
def test_lite_is_renamed_whole(name):
    model = timm.create_model(name, num_classes=3)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_()
    found, wanted = efficientnet_lite(as_published(model)), model.state_dict()
    assert set(found) == set(wanted)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_what_is_no_lite_is_refused():
    tensors = as_published(timm.create_model("tf_efficientnet_lite0", num_classes=3))
    with pytest.raises(WeightsError, match=r"_se_reduce\.weight is no tensor"):
        efficientnet_lite(tensors | {"_blocks.3._se_reduce.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="0 blocks"):
        efficientnet_lite({"conv1.weight": torch.zeros(1)})


def test_a_kernel_summed_over_slices_sees_equal_slices_as_the_inflated_one_does():
    torch.manual_seed(2)
    kernel = torch.randn(4, 3, 5, 3, 3)
    flat = deflated({"conv1.weight": kernel, "bn1.num_batches_tracked": torch.tensor(7)})
    slice_ = torch.randn(1, 3, 9, 9)
    stacked = slice_[:, :, None].expand(-1, -1, 5, -1, -1)
    inflated = functional.conv3d(stacked, kernel)[:, :, 0]
    assert torch.allclose(functional.conv2d(slice_, flat["conv1.weight"]), inflated, atol=1e-4)
    assert flat["bn1.num_batches_tracked"] == 7
    assert deflated({"w": torch.ones(2).bfloat16()})["w"].dtype == torch.float32
