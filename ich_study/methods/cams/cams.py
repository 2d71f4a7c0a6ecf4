"""Nine CAM methods at several layers from one forward and one backward pass of a batch.

CAM benchmark, Section III-B and Table II. Maps come out raw: signed, at the layer's resolution,
neither rectified nor scaled, so that one threshold means the same on every slice and negative
slices can be scored. `library_scaled` is what pytorch-grad-cam makes of them, and so the printed
variant.

Memory, beside the network: the graph from the shallowest layer to the logits, per image
(EfficientNetV2-S at 512 px, from [-3] on: 415 MiB in float32), and for AblationCAM a copy of the
stages after the layer (70 MiB) and the activations of one chunk (`ablation.VALUES_PER_CHUNK`).
Nothing is kept between calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from torch import Tensor, nn

from ich_study.evaluate.scaling import checked_maps, resized_maps
from ich_study.methods.cams.ablation import Ablation, ablation_cam
from ich_study.methods.cams.capture import capture, exact_float32
from ich_study.methods.cams.formulas import formulas

METHOD_IDS: dict[str, str] = {
    "GradCAM": "grad_cam",
    "HiResCAM": "hires_cam",
    "GradCAMElementWise": "grad_cam_element_wise",
    "GradCAM++": "grad_cam_plus_plus",
    "XGradCAM": "xgrad_cam",
    "AblationCAM": "ablation_cam",
    "EigenCAM": "eigen_cam",
    "EigenGradCAM": "eigen_grad_cam",
    "LayerCAM": "layer_cam",
}
"""Rows of Table II, in its order, and their `method` in result tables."""
CAM_METHODS = tuple(METHOD_IDS)
GRADIENT_FREE = ("AblationCAM", "EigenCAM")
LIBRARY_EPSILON = 1e-7
CamMaps = dict[tuple[str, str], Tensor]


def cam_maps(
    model: nn.Module,
    inputs: Tensor,
    layers: Mapping[str, nn.Module],
    target: int = 0,
    methods: Sequence[str] = CAM_METHODS,
    *,
    ablation: str = "zero",
    library_batch: int = 32,
    eigen_sign: str = "defined",
    precision: str = "fp32",
) -> CamMaps:
    """Raw maps float32 (B, h, w) on the inputs' device, by (method, layer name).

    model: in evaluation mode, logits (B, outputs) from `inputs` (B, channels, rows, columns) on its
    device.
    layers: modules by name (`layers.timm_layers`). target: the explained output. methods: of
    CAM_METHODS.
    ablation: "zero" or "library", with `library_batch` the library's batch size
    (`ablation.Ablation`). eigen_sign: as in `formulas.principal_maps`. precision: "fp32" (never
    TensorFloat-32) or "bf16" for the network's passes; formulas always run in float64.

    Raises MapError where a map cannot be computed: a layer that the logit does not depend on, a
    value that is not finite.
    """
    settings = Ablation(ablation, library_batch, precision)
    found: CamMaps = {}
    with exact_float32() if precision == "fp32" else nullcontext():
        gradients = not set(methods) <= set(GRADIENT_FREE)
        scores, captured = capture(model, inputs, layers, target, gradients, precision)
        compute = formulas(eigen_sign)
        for name, layer in layers.items():
            here = captured[name]
            for method in methods:
                if method == "AblationCAM":
                    request = (model, inputs, layer, here.activations, scores, target)
                    raw = ablation_cam(*request, settings, name)
                else:
                    raw = compute[method](here)
                found[method, name] = checked_maps(raw.float(), f"{method} at layer {name}")
    return found


def library_scaled(raw: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Raw maps (B, h, w) as pytorch-grad-cam 1.5 returns them: (B, rows, columns) in [0, 1] for an
    input of `size`.

    Rectified, scaled to [0, 1] per image, resized bilinearly, and scaled per image once more. The
    same for every method. A map without a positive value is zero everywhere.

    >>> import torch
    >>> library_scaled(torch.tensor([[[-1.0, 2.0], [0.0, 1.0]]]), 2).round(decimals=3).tolist()
    [[[0.0, 1.0], [0.0, 0.5]]]
    """
    return _library_minmax(resized_maps(_library_minmax(raw.clamp(min=0)), size))


def _library_minmax(maps: Tensor) -> Tensor:
    shifted = maps - maps.amin((-2, -1), keepdim=True)
    return shifted / (LIBRARY_EPSILON + shifted.amax((-2, -1), keepdim=True))
