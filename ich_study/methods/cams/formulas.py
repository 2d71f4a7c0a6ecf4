"""CAM formulas: captured activations A and gradients G of a layer to raw, signed maps.

Nothing is rectified or scaled at the end, so a value means the same on every slice. Arithmetic is
float64, except where the library's rounding decides: beside the poles of GradCAM++ and XGradCAM,
which divide by a sum of activations of either sign, that sum is the library's to the last bit. With
a float64 sum, scaled maps of EfficientNetV2-S differ from the library's by up to 3e-4.
Every function takes a `Captured` of (B, C, h, w) and gives float64 (B, h, w).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ich_study.methods.cams.capture import Captured

PLUS_PLUS_EPSILON = 1e-6
X_EPSILON = 1e-7
EIGEN_SIGNS = ("defined", "lapack")
EXAMPLE = Captured(
    activations=torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]),
    gradients=torch.tensor([[[[2.0, 0.0], [0.0, -1.0]]]]),
)
"""One image, one channel of 2 x 2: what the examples below are of."""


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """Sum over channels of activations (B, C, h, w) weighted by (B, C), float64 (B, h, w).

    >>> weighted_sum(torch.tensor([[0.5]]), EXAMPLE.activations).tolist()
    [[[0.5, 1.0], [1.5, 2.0]]]
    """
    return torch.einsum("bc,bchw->bhw", weights.double(), activations.double())


def grad_cam(captured: Captured) -> Tensor:
    """Activations weighted by their mean gradient (Selvaraju 2017).

    >>> grad_cam(EXAMPLE).tolist()  # the mean gradient is 0.25
    [[[0.25, 0.5], [0.75, 1.0]]]
    """
    return weighted_sum(captured.gradients.double().mean((2, 3)), captured.activations)


def hires_cam(captured: Captured) -> Tensor:
    """Sum over channels of G A (Draelos 2020).

    >>> hires_cam(EXAMPLE).tolist()
    [[[2.0, 0.0], [0.0, -4.0]]]
    """
    return captured.product.sum(1)


def grad_cam_element_wise(captured: Captured) -> Tensor:
    """Sum over channels of max(G A, 0).

    >>> grad_cam_element_wise(EXAMPLE).tolist()
    [[[2.0, 0.0], [0.0, 0.0]]]
    """
    return captured.product.clamp(min=0).sum(1)


def grad_cam_plus_plus(captured: Captured) -> Tensor:
    """Activations weighted by the sum of alpha max(G, 0), alpha = G^2 / (2 G^2 + sum(A) G^3)
    (Chattopadhay 2018, eq. 19).

    Alpha has a pole where sum(A) G = -2, beside which rounding decides; its arithmetic is the
    library's float32.

    >>> alpha = 2**2 / (2 * 2**2 + 10 * 2**3)  # where G is 2; elsewhere max(G, 0) is 0
    >>> round(grad_cam_plus_plus(EXAMPLE)[0, 0, 0].item() / (alpha * 2), 4)  # A is 1 there
    1.0
    """
    gradients = captured.gradients
    squared = gradients.square()
    total = _library_total(captured.activations)[:, :, None, None]
    alpha = squared / (2 * squared + total * (squared * gradients) + PLUS_PLUS_EPSILON)
    alpha = torch.where(gradients != 0, alpha, torch.zeros_like(alpha))
    return weighted_sum((gradients.clamp(min=0) * alpha).double().sum((2, 3)), captured.activations)


def xgrad_cam(captured: Captured) -> Tensor:
    """Activations weighted by sum(G A) / sum(A) per channel (Fu 2020).

    Without absolute values, as printed and as the library has it: a channel whose activations sum
    to nearly zero gets an arbitrarily large weight.

    >>> (10 * xgrad_cam(EXAMPLE)).round().tolist()  # -2 / 10 times A
    [[[-2.0, -4.0], [-6.0, -8.0]]]
    """
    total = _library_total(captured.activations) + X_EPSILON
    return weighted_sum(captured.product.sum((2, 3)) / total.double(), captured.activations)


def _library_total(activations: Tensor) -> Tensor:
    """Sums over positions, float32 (B, C), in NumPy's order of summation."""
    return torch.from_numpy(activations.cpu().numpy().sum(axis=(2, 3))).to(activations.device)


def layer_cam(captured: Captured) -> Tensor:
    """Sum over channels of max(G, 0) A (Jiang 2021).

    >>> layer_cam(EXAMPLE).tolist()
    [[[2.0, 0.0], [0.0, 0.0]]]
    """
    return (captured.gradients.double().clamp(min=0) * captured.activations.double()).sum(1)


def eigen_cam(captured: Captured, sign: str = "defined") -> Tensor:
    """Activations projected on their first principal direction (Muhammad 2020), centred per channel
    as the library does.

    Sign "defined": positive where activations are strong, that is, the map correlates positively
    with the mean over channels of |A|. The method sees no class, so neither does its sign.

    >>> eigen_cam(EXAMPLE).round(decimals=6).tolist()  # of one channel: A less its mean
    [[[-1.5, -0.5], [0.5, 1.5]]]
    """
    activations = captured.activations.double()
    return principal_maps(activations, activations.abs().mean(1), sign)


def eigen_grad_cam(captured: Captured, sign: str = "defined") -> Tensor:
    """G A projected on its first principal direction, centred per channel.

    Sign "defined": positive where the evidence for the class is, that is, the map correlates
    positively with the sum over channels of G A (HiResCAM).

    >>> eigen_grad_cam(EXAMPLE).round(decimals=6).tolist()  # G A less its mean
    [[[2.5, 0.5], [0.5, -3.5]]]
    """
    return principal_maps(captured.product, captured.product.sum(1), sign)


def principal_maps(values: Tensor, reference: Tensor, sign: str) -> Tensor:
    """First principal component of `values` (B, C, h, w) over positions, (B, h, w), with zero mean.

    A singular vector's sign is arbitrary. "defined" makes the map correlate positively with
    `reference` (B, h, w), and where the correlation is zero makes its largest magnitude positive.
    "lapack" leaves the sign that NumPy's float32 SVD happens to give on this machine, as
    pytorch-grad-cam does.
    """
    if sign == "lapack":
        return _lapack_projection(values)
    samples = values.double().flatten(2)
    centred = samples - samples.mean(2, keepdim=True)
    channels, positions = centred.shape[1:]
    if positions <= channels:
        energies, vectors = torch.linalg.eigh(centred.mT @ centred)
        projection = vectors[..., -1] * energies[:, -1:].clamp(min=0).sqrt()
    else:
        projection = (torch.linalg.eigh(centred @ centred.mT)[1][..., -1:].mT @ centred)[:, 0]
    flat = reference.double().flatten(1)
    agreement = (projection * (flat - flat.mean(1, keepdim=True))).sum(1)
    largest = projection.gather(1, projection.abs().argmax(1, keepdim=True))[:, 0]
    direction = torch.where(agreement == 0, largest, agreement).sign()
    return (projection * direction[:, None]).unflatten(1, values.shape[2:])


def _lapack_projection(values: Tensor) -> Tensor:
    projections = []
    for image in values.float().cpu().numpy():
        samples = image.reshape(len(image), -1).T
        samples = samples - samples.mean(axis=0)
        # full matrices, because LAPACK takes another path, and another sign, without them
        directions = np.linalg.svd(samples, full_matrices=True)[2]
        projections.append((samples @ directions[0]).reshape(image.shape[1:]))
    return torch.from_numpy(np.stack(projections)).to(values.device).double()


def formulas(eigen_sign: str = "defined") -> dict[str, Callable[[Captured], Tensor]]:
    """The eight formulas by their printed name."""
    return {
        "GradCAM": grad_cam,
        "HiResCAM": hires_cam,
        "GradCAMElementWise": grad_cam_element_wise,
        "GradCAM++": grad_cam_plus_plus,
        "XGradCAM": xgrad_cam,
        "EigenCAM": partial(eigen_cam, sign=eigen_sign),
        "EigenGradCAM": partial(eigen_grad_cam, sign=eigen_sign),
        "LayerCAM": layer_cam,
    }
