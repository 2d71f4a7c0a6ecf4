import gc

import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.methods.hgi_sam.attention_capture import capture_attention
from ich_study.models.backbones import create_backbone
from tests.methods.hgi_sam.swins import oracle_attention, slices, tiny_swin


def test_means_and_norms_are_those_of_the_attention_and_its_gradients():
    model, images = tiny_swin(), slices()
    capture = capture_attention(model, images, torch.tensor([1, 0, 1]), ("attention", "scores"))
    for place, target in enumerate((1, 0, 1)):
        stages, logits = oracle_attention(model, images[place : place + 1], target)
        assert torch.allclose(capture.logits[place], logits[0])
        for stage, recorded in enumerate(stages):
            for block, (a, da, ds) in zip(capture.stages[stage], recorded):
                assert torch.allclose(block.key_mean[place], a.mean(-2), atol=1e-12)
                for kind, gradient in (("attention", da), ("scores", ds)):
                    expected = gradient.square().sum((-2, -1)).sqrt()
                    assert torch.allclose(
                        block.gradient_norm[kind][place], expected, rtol=1e-9, atol=1e-15
                    )


def test_gradient_of_the_scores_follows_from_that_of_the_attention():
    for a, da, ds in (
        block for stage in oracle_attention(tiny_swin(), slices(1), 1)[0] for block in stage
    ):
        assert torch.allclose(a * (da - (da * a).sum(-1, keepdim=True)), ds, atol=1e-15)


def test_gradient_of_the_attention_is_a_finite_difference():
    model, image, step = tiny_swin(), slices(1), 1e-6
    da = oracle_attention(model, image, 1)[0][1][2][1]
    place = tuple(int(index) for index in torch.unravel_index(da.abs().argmax(), da.shape))
    attention = model.layers[1].blocks[2].attn
    values = []
    for sign in (1, -1):

        def nudge(_, arguments, output, sign=sign):
            nudged = output.clone()
            nudged[place] += sign * step
            return nudged

        handle = attention.softmax.register_forward_hook(nudge)
        values.append(float(model(image)[0, 1].detach()))
        handle.remove()
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(da[place]), rel=1e-5)


def state(model):
    hooks = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )
    fused = [block.attn.fused_attn for stage in model.layers for block in stage.blocks]
    return (
        hooks,
        fused,
        [weight.requires_grad for weight in model.parameters()],
        [stage.grad_checkpointing for stage in model.layers],
    )


def test_nothing_stays_on_the_model_between_calls_or_after_an_error():
    model, images = tiny_swin(), slices()
    model.patch_embed.requires_grad_(False)
    model.layers[0].blocks[0].attn.fused_attn = True
    model.layers[1].grad_checkpointing = True
    before = state(model)
    first = capture_attention(model, images, 1, ("attention",))
    with pytest.raises(RuntimeError, match="out of bounds"):
        capture_attention(model, images, 2, ("attention",))
    with pytest.raises(AssertionError):
        capture_attention(model, slices(side=40), 1, ("attention",))
    assert state(model) == before and all(weight.grad is None for weight in model.parameters())
    second = capture_attention(model, images, 1, ("attention",))
    for one, two in (
        (one, two)
        for stage in first.stages
        for one, two in zip(first.stages[stage], second.stages[stage])
    ):
        assert torch.equal(one.key_mean, two.key_mean) and torch.equal(
            one.gradient_norm["attention"], two.gradient_norm["attention"]
        )
        assert not one.key_mean.requires_grad and one.key_mean.grad_fn is None


def test_attention_itself_is_let_go():
    model = tiny_swin()
    capture = capture_attention(model, slices(2), 1, ("scores",))
    gc.collect()
    area = 16 * 16
    alive = [
        each.shape
        for each in gc.get_objects()
        if type(each) is torch.Tensor and each.ndim == 4 and each.shape[-2:] == (16, 16)
    ]
    weights = {tuple(weight.shape) for weight in model.parameters()}
    assert [
        shape for shape in alive if tuple(shape) not in weights and shape.numel() >= area * 32
    ] == []
    assert capture.stages[0][0].key_mean.shape == (2, 16, 2, 16)


def test_fused_attention_gives_the_same_as_the_explicit_one():
    model, images = tiny_swin(), slices()
    explicit = capture_attention(model, images, 1, ("attention",))
    for stage in model.layers:
        for block in stage.blocks:
            block.attn.fused_attn = True
    fused = capture_attention(model, images, 1, ("attention",))
    assert torch.equal(
        explicit.stages[2][1].gradient_norm["attention"],
        fused.stages[2][1].gradient_norm["attention"],
    )
    assert torch.allclose(model(images), explicit.logits)


def test_it_works_where_gradients_are_off_and_only_records_what_is_asked():
    model, images = tiny_swin(), slices()
    whole = capture_attention(model, images, 1, ("attention",))
    with torch.inference_mode():
        part = capture_attention(model, images, 1, ("attention",), stages=(2, 1))
        bare = capture_attention(model, images)
    assert (
        list(part.stages) == [1, 2]
        and list(bare.stages) == [0, 1, 2]
        and not bare.stages[0][0].gradient_norm
    )
    assert torch.allclose(
        part.stages[1][0].gradient_norm["attention"], whole.stages[1][0].gradient_norm["attention"]
    )


def test_what_has_no_attention_to_capture_is_refused():
    images = slices().float()
    with pytest.raises(ParameterError, match="this network is a ResNet"):
        capture_attention(create_backbone("resnet10t", 2).model.eval(), images)
    with pytest.raises(ParameterError, match=r"call model\.eval"):
        capture_attention(tiny_swin().train(), images)
    for arguments, says in (
        ({"stages": (3,)}, "stages 0 to 2"),
        ({"precision": "fp16"}, "expected one of fp32, bf16"),
    ):
        with pytest.raises(ParameterError, match=says):
            capture_attention(tiny_swin(), slices(), **arguments)
