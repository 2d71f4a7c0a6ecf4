"""Nine CAM methods at three depths of EfficientNetV2-S: one call of ours against a call of
pytorch-grad-cam per map.

    python benchmarks/bench_cams.py [--size 512] [--threads 2] [--methods all|gradient]
    [--library-channels 32] [--weights FILE]

Both run in this process on the same images and the same network, and their maps are compared after
the library's min-max. Targets: 27 maps at least 5 times faster, the 24 of the eight gradient
methods at least 15; on CUDA 10 for both, and for 27 maps in bfloat16.

AblationCAM of the library runs the whole network once per channel, 544 times at the three depths.
With `--library-channels N` it is timed on N channels of each depth, and what they took beyond its
two plain forward passes multiplied by channels / N; every channel costs the same there. 0 runs it
in full and compares the maps (minutes at 512 px on two cores). Ours always runs in full. On a CPU
seconds are this process' CPU time over all threads, so that other programs do not count, with the
wall beside them; on CUDA the wall alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_grad_cam as library
import timm
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ich_study.inputs.devices import device_name, peak_memory_mib, resolve_device
from ich_study.methods.cams.cams import CAM_METHODS, cam_maps, library_scaled
from ich_study.methods.cams.layers import timm_layers
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load

TARGETS = {"cpu": (5.0, 15.0), "cuda": (10.0, 10.0)}
"""Of all methods and of the gradient methods."""
CLASSES = {
    "GradCAM": library.GradCAM,
    "HiResCAM": library.HiResCAM,
    "GradCAMElementWise": library.GradCAMElementWise,
    "GradCAM++": library.GradCAMPlusPlus,
    "XGradCAM": library.XGradCAM,
    "AblationCAM": library.AblationCAM,
    "EigenCAM": library.EigenCAM,
    "EigenGradCAM": library.EigenGradCAM,
    "LayerCAM": library.LayerCAM,
}
GRADIENT = tuple(method for method in CAM_METHODS if method != "AblationCAM")


class FirstChannels(AblationLayer):
    """The library's ablation of the first channels only, to time it."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def activations_to_be_ablated(
        self, activations: np.ndarray, ratio_channels_to_ablate: float = 1.0
    ) -> np.ndarray:
        """The first channels."""
        self.indices = np.arange(
            min(self.count, len(activations)) if self.count else len(activations), dtype=np.int32
        )
        return self.indices


class Clock:
    """Seconds of a block, of the process (CPU) and by the wall."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.cpu, self.wall = device, 0.0, 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Adds the block's time."""
        self._wait()
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self._wait()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def scaled(self, factor: float) -> Clock:
        """The time times `factor`."""
        other = Clock(self.device)
        other.cpu, other.wall = self.cpu * factor, self.wall * factor
        return other

    def add(self, other: Clock) -> None:
        """Adds the other's time."""
        self.cpu, self.wall = self.cpu + other.cpu, self.wall + other.wall

    @property
    def seconds(self) -> float:
        """What counts on this device."""
        return self.wall if self.device.type == "cuda" else self.cpu

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s (wall {self.wall:.2f})"


def ours(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    layers: dict,
    methods: tuple[str, ...],
    repeats: int,
    **options: str,
) -> tuple[dict, Clock]:
    """Our maps, scaled as the library's, and the time of one call."""
    size, best = tuple(inputs.shape[-2:]), None
    for _ in range(repeats):
        clock = Clock(inputs.device)
        with clock.running():
            raw = cam_maps(model, inputs, layers, methods=methods, ablation="library", **options)
            maps = {key: library_scaled(found, size).cpu().numpy() for key, found in raw.items()}
        best = clock if best is None or clock.seconds < best.seconds else best
    return maps, best


def theirs(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    layer: torch.nn.Module,
    method: str,
    channels: int,
) -> tuple[np.ndarray | None, Clock]:
    """The library's maps of one method and layer and their time; no map where only some channels
    were ablated."""
    clock, extra, factor, fixed = Clock(inputs.device), {}, 1.0, Clock(inputs.device)
    if method == "AblationCAM":
        extra = {"ablation_layer": FirstChannels(channels)}
        with fixed.running(), torch.no_grad():
            model(inputs)
            model(inputs)
    with (
        clock.running(),
        contextlib.redirect_stderr(io.StringIO()),
        CLASSES[method](model=model, target_layers=[layer], **extra) as cam,
    ):
        maps = cam(input_tensor=inputs, targets=[ClassifierOutputTarget(0)] * len(inputs))
        if method == "AblationCAM":
            total = cam.activations_and_grads.activations[0].shape[1]
            factor = total / min(channels or total, total)
    clock.add(fixed.scaled(-1.0))
    clock = clock.scaled(factor)
    clock.add(fixed)
    return (maps if factor == 1.0 else None), clock


def network(weights: Path | None, device: torch.device, size: int) -> tuple[torch.nn.Module, str]:
    """The trained classifier, or EfficientNetV2-S with random weights, whose normalisation saw one
    random batch.

    Time does not depend on the weights. Without that batch activations grow from block to block,
    and with them rounding.
    """
    if weights is not None:
        found = load(weights, device, Backbone)
        return found.model, f"{found.network.name}, trained"
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnetv2_s", num_classes=1).to(device)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(2, 3, size, size).to(device))
    return model.eval(), "tf_efficientnetv2_s, random weights"


def exact(flag: bool) -> None:
    """Float32 or TensorFloat-32 for both."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = flag


def compare(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    layers: dict,
    methods: tuple[str, ...],
    channels: int,
) -> dict[str, Clock]:
    """The library's time per method over all layers; prints how far our maps are from its maps."""
    found, _ = ours(model, inputs, layers, methods, 1, eigen_sign="lapack")
    spent = {method: Clock(inputs.device) for method in methods}
    for method in methods:
        errors = {}
        for name, layer in layers.items():
            maps, clock = theirs(model, inputs, layer, method, channels)
            spent[method].add(clock)
            errors[name] = None if maps is None else float(np.abs(maps - found[method, name]).max())
        shown = "  ".join(
            f"{name} {'not run' if error is None else f'{error:.1e}'}"
            for name, error in errors.items()
        )
        print(
            f"  {method:20s} library {spent[method]!s:26s} largest difference {shown}", flush=True
        )
    return spent


def report(title: str, spent: Clock, one: Clock, target: float) -> None:
    """One line."""
    print(
        f"{title}: library {spent}, ours {one}: {spent.seconds / one.seconds:.1f} times faster"
        f" (target {target:g})",
        flush=True,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--methods", choices=("all", "gradient"), default="all")
    parser.add_argument("--library-channels", type=int, default=32, help="0: all")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--bf16", action="store_true", help="time ours in bfloat16 too")
    parser.add_argument("--repeats", type=int, default=2, help="of ours, the best counts")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    exact(False)
    model, what = network(options.weights, device, options.size)
    inputs = torch.randn(
        options.images, 3, options.size, options.size, generator=torch.Generator().manual_seed(0)
    ).to(device)
    layers = timm_layers(model)
    machine = (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.threads}"
        " threads"
    )
    print(
        f"{machine}, load {os.getloadavg()[0]:.1f}; {device_name(device)}; torch"
        f" {torch.__version__}; {what}, {options.images} image(s) of {options.size} px",
        flush=True,
    )
    _, gradient = ours(model, inputs, layers, GRADIENT, options.repeats)
    if options.methods == "gradient":
        spent = compare(model, inputs, layers, GRADIENT, 0)
    else:
        _, everything = ours(model, inputs, layers, CAM_METHODS, options.repeats)
        print(
            f"ours: 27 maps {everything}, peak memory {peak_memory_mib(device):.0f} MiB", flush=True
        )
        if options.bf16:
            _, rough = ours(model, inputs, layers, CAM_METHODS, 1, precision="bf16")
            print(f"ours in bfloat16: 27 maps {rough}", flush=True)
        spent = compare(model, inputs, layers, CAM_METHODS, options.library_channels)
    all_target, gradient_target = TARGETS.get(device.type, TARGETS["cpu"])
    total = Clock(device)
    for method in GRADIENT:
        total.add(spent[method])
    report("24 maps, eight gradient methods", total, gradient, gradient_target)
    if options.methods == "all":
        total.add(spent["AblationCAM"])
        report("27 maps, all nine methods", total, everything, all_target)
        if options.bf16:
            report("27 maps, ours in bfloat16", total, rough, all_target)


if __name__ == "__main__":
    main()
