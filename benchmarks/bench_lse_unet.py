"""Speed of LSE-UNet's heatmaps and masks beside its own forward pass, per slice.

    python benchmarks/bench_lse_unet.py [--slices 32] [--size 512] [--batch 4] [--device cpu|cuda]
    [--threads 1] [--backprop]

RDNet-T in full size with random weights, `authors` variant, slices of noise, five subtypes of which
two are present per slice (the worst case counts all five: --present 5). Timed in one process,
alternating,
median over batches: the forward pass to logits alone; the same with heatmaps 0..255 at full size
and Algorithm 1's label map; and with --backprop Grad-CAM through pytorch-grad-cam for the five
subtypes.
Target: heatmaps and masks at most 1.3 times the forward pass. On the CPU the times are of the
process, little changed by other jobs; on CUDA they are wall times, synchronised.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from ich_study.inputs.devices import device_name, resolve_device
from ich_study.methods.lse_unet.algorithm1 import heat_levels, label_maps
from ich_study.methods.lse_unet.network import LSE_VARIANTS, LSEUNet, create_lse_unet
from ich_study.methods.lse_unet.score_maps import lse_heatmaps, scaled_heatmaps
from ich_study.models.backbones import create_backbone

SUBTYPE_PLACES = range(1, 6)
THRESHOLDS = [125.0] * 5
TARGET = 1.3


def masks(model: LSEUNet, inputs: Tensor, present: np.ndarray, size: int) -> np.ndarray:
    """Label maps of a batch, as the study makes them: heat where the network is, Algorithm 1 on the
    CPU."""
    maps, _ = lse_heatmaps(model, inputs, SUBTYPE_PLACES)
    heat = scaled_heatmaps(maps, size).cpu().numpy()
    return label_maps(heat_levels(heat), present, THRESHOLDS)


def backpropagated(model: LSEUNet, inputs: Tensor) -> None:
    """Grad-CAM of the five subtypes by pytorch-grad-cam."""
    with GradCAM(model=model, target_layers=[model.pooling[0].pooled_maps]) as cam:
        for place in SUBTYPE_PLACES:
            cam(input_tensor=inputs, targets=[ClassifierOutputTarget(place)] * len(inputs))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that `work` takes: of the process on a CPU, of the clock on CUDA."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def run(options: argparse.Namespace) -> float:
    """Prints the table and returns the ratio of heatmaps and masks to the forward pass."""
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    encoder = create_backbone("rdnet_tiny", 6, 3)
    model = create_lse_unet(encoder, 6, LSE_VARIANTS["authors"]).model.to(device).eval()
    generator = torch.Generator().manual_seed(0)
    present = np.zeros((options.batch, 5), bool)
    present[:, : options.present] = True
    times: dict[str, list[float]] = {
        "forward": [],
        "heatmaps and masks": [],
        "pytorch-grad-cam": [],
    }
    for number in range(-1, max(1, options.slices // options.batch)):
        inputs = torch.randn(options.batch, 3, options.size, options.size, generator=generator).to(
            device
        )
        with torch.inference_mode():
            found = {"forward": seconds(partial(model, inputs), device)}
            found["heatmaps and masks"] = seconds(
                partial(masks, model, inputs, present, options.size), device
            )
        if options.backprop:
            found["pytorch-grad-cam"] = seconds(partial(backpropagated, model, inputs), device)
        for name, value in found.items() if number >= 0 else ():
            times[name].append(value / options.batch)
    machine = platform.processor() or platform.machine()
    print(
        f"{machine}, {device_name(device)}, {options.threads} thread(s), torch {torch.__version__}"
    )
    print(
        f"RDNet-T LSE-UNet at {options.size} px, {options.slices} slices, {options.batch} at a"
        f" time, {options.present} subtypes present"
    )
    forward = statistics.median(times["forward"])
    for name, values in times.items():
        if values:
            median = statistics.median(values)
            print(f"{name:>20}: {1000 * median:9.1f} ms a slice, {median / forward:.2f} x forward")
    return statistics.median(times["heatmaps and masks"]) / forward


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (
        ("slices", 32),
        ("size", 512),
        ("batch", 4),
        ("threads", 1),
        ("present", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backprop", action="store_true")
    ratio = run(parser.parse_args())
    print(
        f"ratio {ratio:.2f}, target at most {TARGET}:"
        f" {'reached' if ratio <= TARGET else 'NOT reached'}"
    )


if __name__ == "__main__":
    main()
