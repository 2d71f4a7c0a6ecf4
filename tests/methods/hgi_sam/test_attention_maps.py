from itertools import product

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ich_study.errors import MapError, ParameterError
from ich_study.methods.hgi_sam.attention_capture import BlockAttention, capture_attention
from ich_study.methods.hgi_sam.attention_maps import (
    AUTHORS,
    PRINTED,
    AttentionVariant,
    block_map,
    fused_map,
    hgi_sam,
    layer_maps,
    swin_grad_cam,
    swin_sam,
    windows_reversed,
)
from ich_study.models.backbones import create_backbone
from tests.methods.hgi_sam.swins import bilinear, oracle_fused, oracle_layers, slices, tiny_swin

SETTINGS = list(
    product(
        ("attention", "scores"),
        ("head", "window_and_head"),
        ("blocks", "odd_blocks"),
        (False, True),
    )
)


def up_to_scale(tokens):
    return tokens / tokens.max()


@pytest.mark.parametrize(
    "settings", [SETTINGS[0], SETTINGS[-1], SETTINGS[5], SETTINGS[10]], ids=str
)
def test_hgi_sam_is_what_the_formulas_say(settings):
    names = ("gradient", "norm", "shift", "layer_minmax")
    model, images, variant = tiny_swin(), slices(2), AttentionVariant(**dict(zip(names, settings)))
    maps = hgi_sam(model, images, torch.tensor([1, 0]), variant=variant, stages=(0, 1))
    for place, target in enumerate((1, 0)):
        expected = oracle_layers(
            model, images[place : place + 1], target, weighted=True, **dict(zip(names, settings))
        )
        for stage in (0, 1):
            assert torch.allclose(
                up_to_scale(maps.layers[stage][place]), up_to_scale(expected[stage]), atol=1e-9
            )
        assert torch.allclose(maps.fused[place], oracle_fused(expected, (0, 1), 32), atol=1e-9)


@pytest.mark.parametrize("variant", [PRINTED, AUTHORS], ids=("printed", "authors"))
def test_swin_sam_is_what_the_formulas_say_inside_the_brain(variant):
    model, images = tiny_swin(1), slices(2)
    brain = torch.zeros(2, 32, 32, dtype=torch.bool)
    brain[:, 5:29, 3:25] = True
    maps = swin_sam(model, images, brain, variant, stages=(0, 1, 2))
    for place in range(2):
        layers = oracle_layers(model, images[place : place + 1], 0, weighted=False, **vars(variant))
        assert torch.allclose(
            maps.fused[place], oracle_fused(layers, (0, 1, 2), 32, brain[place]), atol=1e-9
        )


def test_the_settings_matter_where_they_should():
    model, images = tiny_swin(), slices(1)
    reference = hgi_sam(model, images, 1, stages=(0, 1)).fused
    changed = {
        name: (
            hgi_sam(
                model, images, 1, variant=AttentionVariant(**{name: value}), stages=(0, 1)
            ).fused
        )
        for name, value in (
            ("gradient", "scores"),
            ("norm", "head"),
            ("layer_minmax", True),
            ("shift", "odd_blocks"),
        )
    }
    assert all(
        float((changed[name] - reference).abs().max()) > 1e-3
        for name in ("gradient", "norm", "layer_minmax")
    )
    assert torch.equal(changed["shift"], reference)
    last = [
        swin_sam(model, images, variant=AttentionVariant(shift=shift), stages=(2,)).fused
        for shift in ("blocks", "odd_blocks")
    ]
    assert float((last[0] - last[1]).abs().max()) > 1e-3


def pattern(tokens, window, shift, hot, queries=None):
    """A block whose windows, cut after rolling the grid by `shift`, attend to the token `hot` of
    the unrolled grid."""
    marked = torch.zeros(1, *tokens)
    marked[0][hot] = 1
    rolled = torch.roll(marked, (-shift, -shift), (1, 2))
    padded = torch.nn.functional.pad(rolled, (0, -tokens[1] % window, 0, -tokens[0] % window))
    down, across = (side // window for side in padded.shape[1:])
    cut = torch.stack(
        [
            padded[0, i * window : (i + 1) * window, j * window : (j + 1) * window]
            for i in range(down)
            for j in range(across)
        ]
    )
    return BlockAttention(
        tokens, (window, window), (shift, shift), cut.reshape(1, down * across, 1, window**2), {}
    )


@pytest.mark.parametrize("hot", [(0, 0), (0, 7), (3, 4), (7, 0), (5, 2)])
def test_shifted_windows_come_back_to_where_they_were(hot):
    for shift in (0, 2):
        found = block_map(
            pattern((8, 8), 4, shift, hot), 1 if shift else 0, PRINTED, weighted=False
        )
        assert (
            found.shape == (1, 8, 8)
            and tuple(np.argwhere(found[0].numpy())[0]) == hot
            and float(found.sum()) == 1
        )
    unshifted = block_map(
        pattern((4, 4), 4, 0, (1, 0)), 1, AttentionVariant(shift="odd_blocks"), weighted=False
    )
    assert tuple(np.argwhere(unshifted[0].numpy())[0]) == (3, 2)


def test_grids_that_do_not_hold_whole_windows_lose_their_padding():
    for hot in ((0, 0), (5, 6), (6, 4)):
        found = block_map(pattern((7, 7), 4, 2, hot), 1, PRINTED, weighted=False)
        assert tuple(np.argwhere(found[0].numpy())[0]) == hot
    model = tiny_swin(img_size=28)
    assert swin_sam(model, slices(side=28)).fused.shape == (3, 28, 28)


def test_windows_stand_in_row_major_order():
    windows = torch.arange(4.0)[None, :, None].expand(1, 4, 6)
    expected = torch.tensor(
        [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]], dtype=torch.float32
    ).repeat_interleave(2, 0)
    assert torch.equal(windows_reversed(windows, (2, 3), (4, 6))[0], expected)


def test_a_map_says_which_tokens_are_looked_at_not_which_look():
    model = tiny_swin()
    attention = model.layers[0].blocks[0].attn

    def all_look_at_token_5(_, arguments, output):
        looked = torch.zeros_like(output)
        looked[..., 5] = 1
        return looked

    handle = attention.softmax.register_forward_hook(all_look_at_token_5)
    capture = capture_attention(model, slices(1), stages=(0,))
    handle.remove()
    found = block_map(capture.stages[0][0], 0, PRINTED, weighted=False)[0]
    assert torch.equal(
        found,
        (torch.arange(256).reshape(16, 16) // 16 % 4 == 1).double() * (torch.arange(16) % 4 == 1),
    )


def test_a_slice_has_the_same_map_alone_and_in_any_batch():
    model, images, targets = tiny_swin(), slices(4), torch.tensor([0, 1, 1, 0])
    together = hgi_sam(model, images, targets).fused
    cams = swin_grad_cam(model, images, targets)[0]
    for place in range(4):
        alone = hgi_sam(model, images[place : place + 1], int(targets[place])).fused[0]
        assert torch.allclose(together[place], alone, atol=1e-9)
        assert torch.allclose(
            cams[place],
            swin_grad_cam(model, images[place : place + 1], int(targets[place]))[0][0],
            atol=1e-9,
        )
    assert not torch.allclose(together[0], hgi_sam(model, images[:1], 1).fused[0], atol=1e-3)


@pytest.mark.parametrize("targets", [0, 1, None])
def test_swin_grad_cam_is_pytorch_grad_cam(targets):
    model, images = tiny_swin().float(), slices(4).float()
    ours, logits = swin_grad_cam(model, images, targets)
    with GradCAM(
        model,
        [model.layers[-1].blocks[-1].norm1],
        reshape_transform=lambda x: x.permute(0, 3, 1, 2),
    ) as oracle:
        theirs = oracle(images, None if targets is None else [ClassifierOutputTarget(targets)] * 4)
    assert np.abs(ours.numpy() - theirs).max() < 1e-4 and torch.allclose(
        logits, model(images), atol=1e-6
    )


def test_swin_grad_cam_leaves_nothing_behind_and_shows_nothing_outside_the_brain():
    model, images = tiny_swin(), slices(2)
    brain = torch.zeros(2, 32, 32, dtype=torch.bool)
    brain[0] = swin_grad_cam(model, images[:1], 1)[0][0] > 0.2
    maps, _ = swin_grad_cam(model, images, 1, brain)
    assert not maps[~brain].any() and float(maps[0].max()) == 1 and not maps[1].any()
    with pytest.raises(RuntimeError, match="out of bounds"):
        swin_grad_cam(model, images, 7)
    norm = model.layers[-1].blocks[-1].norm1
    assert not norm._forward_hooks and all(
        weight.requires_grad and weight.grad is None for weight in model.parameters()
    )


def test_flat_maps_and_empty_brains_give_zeros():
    layers = {0: torch.full((2, 4, 4), 0.3), 1: torch.ones(2, 2, 2)}
    assert torch.equal(fused_map(layers, (8, 8)), torch.zeros(2, 8, 8))
    model, images = tiny_swin(), slices(2)
    empty = torch.zeros(2, 32, 32, dtype=torch.bool)
    for maps in (
        hgi_sam(model, images, 1, empty).fused,
        swin_sam(model, images, empty).fused,
        swin_grad_cam(model, images, 1, empty)[0],
    ):
        assert torch.equal(maps, torch.zeros_like(maps))
    with torch.no_grad():
        model.head.fc.weight.zero_()
    silent = hgi_sam(model, images, 1)
    assert torch.equal(silent.fused, torch.zeros_like(silent.fused)) and not torch.equal(
        swin_sam(model, images).fused, silent.fused
    )
    assert torch.equal(
        swin_grad_cam(model, images, 1)[0], torch.zeros(2, 32, 32, dtype=torch.float64)
    )


def test_tiny_gradients_do_not_underflow():
    model, images = tiny_swin().float(), slices(2).float()
    reference = hgi_sam(model, images, 1).fused
    with torch.no_grad():
        model.head.fc.weight.mul_(1e-6)
    assert torch.allclose(hgi_sam(model, images, 1).fused, reference, atol=1e-3)


def test_float32_and_bfloat16_follow_float64():
    model, images = tiny_swin(), slices(2)
    exact = hgi_sam(model, images, 1).fused
    model, images = model.float(), images.float()
    assert torch.allclose(hgi_sam(model, images, 1).fused.double(), exact, atol=1e-4)
    half = hgi_sam(model, images, 1, precision="bf16").fused
    assert half.dtype == torch.float32 and np.corrcoef(half.ravel(), exact.ravel())[0, 1] > 0.98


def test_all_layers_are_there_for_the_figure():
    capture = capture_attention(tiny_swin(), slices(2), 1, ("attention", "scores"))
    for variant in (PRINTED, AUTHORS):
        layers = layer_maps(capture, variant, weighted=True)
        assert [tuple(layer.shape) for layer in layers.values()] == [
            (2, 16, 16),
            (2, 8, 8),
            (2, 4, 4),
        ]
        assert all(
            torch.allclose(layer.amax((1, 2)), torch.ones(2, dtype=torch.float64))
            for layer in layers.values()
        )
    upsampled = fused_map({2: layers[2]}, (32, 32))[0]
    assert torch.allclose(
        upsampled,
        bilinear(layers[2][0], 32).sub(bilinear(layers[2][0], 32).min())
        / (bilinear(layers[2][0], 32).max() - bilinear(layers[2][0], 32).min()),
        atol=1e-9,
    )


def test_what_cannot_be_mapped_is_refused():
    model, images = tiny_swin(), slices(2)
    with pytest.raises(ParameterError, match="this network is a ResNet"):
        swin_grad_cam(create_backbone("resnet10t", 2).model.eval(), images.float(), 1)
    with pytest.raises(ParameterError, match="depth must be even"):
        swin_sam(tiny_swin(depths=[1, 2, 2]), images)
    broken = images.clone()
    broken[1, 0, 3, 3] = float("nan")
    for method in (
        lambda: swin_sam(model, broken),
        lambda: hgi_sam(model, broken, 1),
        lambda: swin_grad_cam(model, broken, 1),
    ):
        with pytest.raises(MapError, match="NaN"):
            method()
