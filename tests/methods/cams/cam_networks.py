"""Small networks and the parity oracle for the CAM tests."""

import contextlib
import io
from functools import cache

import numpy as np
import pytorch_grad_cam as oracle
import timm
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from ich_study.methods.cams.ablation import Ablation, ablation_values
from ich_study.methods.cams.layers import channels_last

ORACLES = {
    "GradCAM": oracle.GradCAM,
    "HiResCAM": oracle.HiResCAM,
    "GradCAMElementWise": oracle.GradCAMElementWise,
    "GradCAM++": oracle.GradCAMPlusPlus,
    "XGradCAM": oracle.XGradCAM,
    "EigenCAM": oracle.EigenCAM,
    "EigenGradCAM": oracle.EigenGradCAM,
    "LayerCAM": oracle.LayerCAM,
}
OPTIONS = {
    "tf_efficientnetv2_b0": {"channel_multiplier": 0.3, "depth_multiplier": 0.35},
    "swin_tiny_patch4_window7_224": {
        "img_size": 56,
        "window_size": 7,
        "embed_dim": 24,
        "num_heads": (1, 2, 4),
        "depths": (1, 1, 1),
    },
    "convnext_atto": {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48)},
}


@cache
def network(name, outputs=2, **more):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return timm.create_model(name, num_classes=outputs, **OPTIONS.get(name, {}), **more).eval()


def images(count, side, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


class ZeroAblation(AblationLayer):
    """The library's layer, writing what the method's paper says."""

    def __call__(self, x):
        for place in range(self.activations.size(0)):
            self.activations[place, self.indices[place]] = 0
        return self.activations


def oracle_maps(method, model, inputs, layer, target, reshape=None):
    with ORACLES[method](model=model, target_layers=[layer], reshape_transform=reshape) as cam:
        return cam(input_tensor=inputs, targets=[ClassifierOutputTarget(target)] * len(inputs))


def oracle_ablation(model, inputs, layer, target, zero=False, batch_size=32):
    chosen = ZeroAblation() if zero else AblationLayer()
    cam = oracle.AblationCAM(
        model=model, target_layers=[layer], ablation_layer=chosen, batch_size=batch_size
    )
    with contextlib.redirect_stderr(io.StringIO()), cam:
        return cam(input_tensor=inputs, targets=[ClassifierOutputTarget(target)] * len(inputs))


def difference(first, second):
    return float(np.abs(np.asarray(first) - np.asarray(second)).max())


def slow_ablation(model, inputs, layer, target, zero=True, batch_size=32):
    """Raw AblationCAM by running the whole network for every channel of every image."""
    kept = []
    handle = layer.register_forward_hook(lambda module, given, output: kept.append(output))
    with torch.inference_mode():
        logits = model(inputs)[:, target]
    handle.remove()
    last, maps = channels_last(model), []
    activations = kept[0].permute(0, 3, 1, 2) if last else kept[0]
    variant = Ablation("zero" if zero else "library", batch_size)
    values = ablation_values(activations, variant)
    for number, own in enumerate(activations):
        weights = []
        for channel in range(len(own)):
            changed = own.clone()
            changed[channel] = values[number, channel]
            changed = changed[None].permute(0, 2, 3, 1) if last else changed[None]
            handle = layer.register_forward_hook(lambda module, given, output, new=changed: new)
            with torch.inference_mode():
                ablated = model(inputs[number : number + 1])[0, target]
            handle.remove()
            weights.append((logits[number] - ablated) / logits[number])
        maps.append((torch.stack(weights)[:, None, None].double() * own.double()).sum(0))
    return torch.stack(maps)
