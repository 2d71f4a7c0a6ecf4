"""A tiny Swin in float64, and the maps written out from their formulas with loops, sharing no code
with the package."""

from __future__ import annotations

import math

import torch
from torch import nn

from ich_study.models.backbones import create_backbone

OPTIONS = {
    "img_size": 32,
    "patch_size": 2,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 4, 2],
    "num_heads": [2, 2, 4],
}
"""16, 8 and 4 tokens a side in windows of 4: the last stage is one window, as in the paper's
network."""
NAME = "swin_base_patch4_window12_384"


def tiny_swin(outputs=2, seed=0, **changes) -> nn.Module:
    model = create_backbone(NAME, outputs, 3, options={**OPTIONS, **changes}, seed=seed).model
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "relative_position_bias_table" in name or name.endswith(("qkv.weight", "fc.weight")):
            weight.data = torch.randn(weight.shape, generator=generator) * (
                0.7 if "table" in name else 0.4
            )
    return model.double().eval()


def slices(count=3, side=32, seed=1) -> torch.Tensor:
    return torch.randn(
        count, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def oracle_attention(model, image, target):
    """Per stage and block: scores' softmax A (windows, heads, q, k), dY/dA and dY/dscores, for one
    slice (1, C, H, W)."""
    recorded = []

    def spying_forward(attn):
        def forward(x, mask=None):
            windows, area, width = x.shape
            q, k, v = (
                part.reshape(windows, area, attn.num_heads, -1).transpose(1, 2)
                for part in attn.qkv(x).chunk(3, -1)
            )
            bias = (
                attn.relative_position_bias_table[attn.relative_position_index.reshape(-1)]
                .reshape(area, area, -1)
                .permute(2, 0, 1)
            )
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + bias
            if mask is not None:
                scores = scores + mask[:, None].repeat(windows // len(mask), 1, 1, 1)
            weights = torch.exp(scores) / torch.exp(scores).sum(-1, keepdim=True)
            scores.retain_grad()
            weights.retain_grad()
            recorded.append((weights, scores))
            return attn.proj((weights @ v).transpose(1, 2).reshape(windows, area, width))

        return forward

    blocks = [block for stage in model.layers for block in stage.blocks]
    try:
        for block in blocks:
            block.attn.forward = spying_forward(block.attn)
        model.zero_grad()
        logits = model(image)
        logits[0, target].backward()
    finally:
        for block in blocks:
            del block.attn.forward
        model.zero_grad()
    tensors = iter(recorded)
    stages = [[next(tensors) for _ in stage.blocks] for stage in model.layers]
    return [[(a.detach(), a.grad, s.grad) for a, s in stage] for stage in stages], logits.detach()


def oracle_layers(model, image, target, *, weighted, gradient, norm, shift, layer_minmax):
    """Maps of all stages of one slice as nested lists of floats."""
    stages, _ = oracle_attention(model, image, target)
    layers = []
    for stage, recorded in zip(model.layers, stages):
        maps = []
        for number, (block, (a, da, ds)) in enumerate(zip(stage.blocks, recorded)):
            g = da if gradient == "attention" else ds
            windows, heads, area, _ = a.shape
            side = stage.blocks[0].input_resolution[0]
            size = block.window_size[0]
            across = side // size
            tokens = [[0.0] * side for _ in range(side)]
            for window in range(windows):
                for key in range(area):
                    total = 0.0
                    for head in range(heads):
                        if not weighted:
                            weight = 1.0
                        elif norm == "window_and_head":
                            weight = math.sqrt(float((g[window, head] ** 2).sum()))
                        else:
                            weight = math.sqrt(float((g[:, head] ** 2).sum()))
                        total += (
                            weight
                            * sum(float(a[window, head, query, key]) for query in range(area))
                            / area
                            / heads
                        )
                    row, column = (
                        (window // across) * size + key // size,
                        (window % across) * size + key % size,
                    )
                    moved = (
                        (size // 2 if number % 2 else 0)
                        if shift == "odd_blocks"
                        else block.shift_size[0]
                    )
                    tokens[(row + moved) % side][(column + moved) % side] = total
            maps.append(torch.tensor(tokens, dtype=torch.float64))
        pairs = [maps[j] * maps[j + 1] for j in range(0, len(maps), 2)]
        layer = sum(pairs) / len(pairs)
        if layer_minmax:
            layer = (layer - layer.min()) / (layer.max() - layer.min())
        layers.append(layer)
    return layers


def bilinear(tokens, side):
    """Corners not aligned, edges repeated, written out."""
    count = len(tokens)
    image = torch.zeros(side, side, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            y = max((row + 0.5) * count / side - 0.5, 0.0)
            x = max((column + 0.5) * count / side - 0.5, 0.0)
            top, left = int(y), int(x)
            below, right = min(top + 1, count - 1), min(left + 1, count - 1)
            fy, fx = y - top, x - left
            image[row, column] = (1 - fy) * (
                (1 - fx) * tokens[top, left] + fx * tokens[top, right]
            ) + fy * ((1 - fx) * tokens[below, left] + fx * tokens[below, right])
    return image


def oracle_fused(layers, stages, side, brain=None):
    product = torch.ones(side, side, dtype=torch.float64)
    for stage in stages:
        product = product * bilinear(layers[stage], side)
    if brain is not None:
        product = product * brain
    return (product - product.min()) / (product.max() - product.min())
