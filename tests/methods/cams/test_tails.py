"""A tail gives the logits that the whole network gives."""

import copy

import pytest
import torch
from torch import nn

from ich_study.errors import ParameterError
from ich_study.methods.cams.layers import stages_of, timm_layers
from ich_study.methods.cams.tail_layers import Convolution, Pointwise
from ich_study.methods.cams.tails import expansion_of, prepared, run, tail_stages
from tests.methods.cams.cam_networks import images, network

NETWORKS = ("tf_efficientnetv2_b0", "convnext_atto", "resnet18")


def output_of(model, layer, inputs):
    kept = []
    handle = layer.register_forward_hook(lambda module, given, output: kept.append(output))
    logits = model(inputs)
    handle.remove()
    return kept[0], logits


@pytest.mark.parametrize("name", NETWORKS)
def test_the_stages_after_each_depth_give_the_networks_logits(name):
    model, inputs = network(name), images(2, 64)
    for depth, layer in timm_layers(model).items():
        with torch.inference_mode():
            maps, logits = output_of(model, layer, inputs)
            stages = tail_stages(model, layer)
            torch.testing.assert_close(run(stages, maps), logits, rtol=1e-4, atol=1e-5)
            folded = run(prepared(stages, torch.float32), maps)
        torch.testing.assert_close(folded, logits, rtol=1e-3, atol=1e-4, msg=depth)


def test_preparing_folds_a_copy_and_leaves_the_network_alone():
    model = network("tf_efficientnetv2_b0")
    before = copy.deepcopy(model.state_dict())
    stages = prepared(tail_stages(model, stages_of(model)[-2]), torch.float32)
    folded = [
        type(module)
        for stage in stages
        if isinstance(stage, nn.Module)
        for module in stage.modules()
    ]
    assert Pointwise in folded and Convolution in folded and nn.BatchNorm2d not in folded
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_rank_one_form_is_the_tail():
    model, inputs = network("tf_efficientnetv2_b0"), images(2, 64)
    for number in (-1, -2):
        layer = stages_of(model)[number]
        with torch.inference_mode():
            maps, logits = output_of(model, layer, inputs)
            expansion = expansion_of(prepared(tail_stages(model, layer), torch.float32))
            expanded = expansion.first.linear(maps)
            found = expansion.finish(expanded, maps if expansion.needs_input else None)
        torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4)
    # beside a skip connection the tail's own input is needed too
    layer, rest = model.blocks[-1][0], model.blocks[-1][1:]
    with torch.inference_mode():
        maps, logits = output_of(model, layer, inputs)
        stages = [rest, *tail_stages(model, model.blocks[-1])]
        expansion = expansion_of(prepared(stages, torch.float32))
        assert expansion.needs_input
        found = expansion.finish(expansion.first.linear(maps), maps)
    torch.testing.assert_close(found, logits, rtol=1e-3, atol=1e-4)
    # a ConvNeXt stage begins with a strided convolution
    chained = network("convnext_atto")
    assert (
        expansion_of(prepared(tail_stages(chained, stages_of(chained)[0]), torch.float32)) is None
    )


def test_a_tail_that_is_not_folded_has_no_bfloat16():
    with pytest.raises(ParameterError, match="ablate in fp32"):
        chained = network("convnext_atto")
        prepared(tail_stages(chained, stages_of(chained)[0]), torch.bfloat16)
