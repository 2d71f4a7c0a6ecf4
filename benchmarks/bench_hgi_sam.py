"""Attention maps of Swin-Base at 384: HGI-SAM against one forward and backward pass of the same
network with the gradients that it needs, in turns in one process; throughput by batch; bfloat16 and
what it changes in the maps.

    python benchmarks/bench_hgi_sam.py

About three minutes on two idle cores. Target: ratio at most 1.2. Weights are random: they change no
time, and the comparison of maps is of this network's maps only.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ich_study.inputs.devices import device_name, resolve_device
from ich_study.methods.hgi_sam.attention_capture import explicit_attention
from ich_study.methods.hgi_sam.attention_maps import (
    AUTHORS,
    PRINTED,
    hgi_sam,
    swin_grad_cam,
    swin_sam,
)
from ich_study.methods.hgi_sam.swin import PAPER_NETWORK, create_swin
from ich_study.models.frozen import frozen

TARGET = 1


def bare_pass(model: nn.Module, inputs: Tensor, precision: str) -> None:
    """Forward, and backward to the first attention weights: frozen weights, no map, nothing
    kept."""
    leaf: list[Tensor] = []

    def begin(_: nn.Module, arguments: tuple[Tensor, ...], attention: Tensor) -> Tensor:
        leaf.append(attention.detach().requires_grad_())
        return leaf[0]

    with explicit_attention(model), frozen(model):
        handle = model.layers[0].blocks[0].attn.softmax.register_forward_hook(begin)
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(inputs)
        torch.autograd.grad(logits[:, TARGET].sum(), leaf[0])
        handle.remove()


def seconds(
    calls: dict[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of every call, in turns, after one turn that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                spent[name].append(time.perf_counter() - started)
    return spent


def ratio_of(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Median of the ratios of neighbouring turns, the smallest and the largest."""
    ratios = sorted(a / b for a, b in zip(first, second))
    return statistics.median(ratios), ratios[0], ratios[-1]


def report_batch(
    model: nn.Module, size: int, batch: int, precision: str, repeats: int, device: torch.device
) -> None:
    """Times of one batch size, printed."""
    inputs = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(batch)).to(
        device
    )
    spent = seconds(
        {
            "HGI-SAM": lambda: hgi_sam(model, inputs, TARGET, precision=precision),
            "forward and backward": lambda: bare_pass(model, inputs, precision),
            "Swin-SAM": lambda: swin_sam(model, inputs, precision=precision),
            "Swin-Grad-CAM": lambda: swin_grad_cam(model, inputs, TARGET, precision=precision),
        },
        repeats,
        device,
    )
    ratio, low, high = ratio_of(spent["HGI-SAM"], spent["forward and backward"])
    times = ", ".join(
        f"{name} {1000 * statistics.median(values) / batch:.0f}" for name, values in spent.items()
    )
    print(f"batch {batch}, {precision}: ms per slice: {times}")
    print(
        f"batch {batch}, {precision}: HGI-SAM / forward and backward {ratio:.3f} ({low:.3f} to"
        f" {high:.3f}), target 1.2"
    )


def report_bfloat16(model: nn.Module, size: int, device: torch.device) -> None:
    """How far the maps in bfloat16 are from those in float32, printed."""
    inputs = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    for name, variant in (("printed", PRINTED), ("authors", AUTHORS)):
        exact, half = (
            hgi_sam(model, inputs, TARGET, variant=variant, precision=kind).fused.cpu().numpy()
            for kind in ("fp32", "bf16")
        )
        overlaps = []
        for threshold in (0.05, 0.2, 0.5):
            one, two = exact >= threshold, half >= threshold
            overlaps.append(
                f"{threshold}: {2 * (one & two).sum() / max(1, one.sum() + two.sum()):.3f}"
            )
        correlation = np.corrcoef(exact.ravel(), half.ravel())[0, 1]
        print(
            f"bfloat16 against float32, {name}: largest difference"
            f" {np.abs(exact - half).max():.3f}, correlation {correlation:.4f}, Dice of masks at"
            f" {', '.join(overlaps)}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--network", default=PAPER_NETWORK)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = resolve_device(options.device)
    torch.manual_seed(0)
    swin = create_swin(2, name=options.network)
    model, size = swin.model.eval().to(device), swin.model.patch_embed.img_size[0]
    hardware = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    print(f"{device_name(device)}, {hardware}, PyTorch {torch.__version__}; {options.network}")
    for precision in options.precisions:
        for batch in options.batches:
            report_batch(model, size, batch, precision, options.repeats, device)
    report_bfloat16(model, size, device)


if __name__ == "__main__":
    main()
