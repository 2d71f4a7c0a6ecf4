import doctest

import numpy as np
import pytest
import torch

from ich_study.methods.cams import cams, formulas as formulas_module
from ich_study.methods.cams.capture import Captured
from ich_study.methods.cams.formulas import (
    eigen_cam,
    eigen_grad_cam,
    formulas,
    grad_cam_plus_plus,
    principal_maps,
)
from tests.methods.cams.cam_networks import ORACLES


@pytest.mark.parametrize("module", [formulas_module, cams], ids=["formulas", "cams"])
def test_examples_of_the_documentation(module):
    found = doctest.testmod(module)
    assert found.failed == 0 and found.attempted > 0


@pytest.fixture(params=[(6, 3, 4), (4, 5, 5)])
def captured(request):
    generator = torch.Generator().manual_seed(1)
    return Captured(*(torch.randn(2, *request.param, generator=generator) for _ in range(2)))


@pytest.mark.parametrize("method", [method for method in ORACLES if "Eigen" not in method])
def test_formula_of_the_library_in_float64(method, captured):
    """The library's own formula, given the same activations and gradients in float64."""
    oracle = ORACLES[method]
    if method == "GradCAM++":
        captured = Captured(
            captured.activations.abs(), captured.gradients.abs()
        )  # away from the pole, where float32 is enough
    activations, gradients = (
        tensor.double().numpy() for tensor in (captured.activations, captured.gradients)
    )
    expected = oracle.get_cam_image(
        type("", (), {"get_cam_weights": lambda _, *given: oracle.get_cam_weights(None, *given)})(),
        None,
        None,
        None,
        activations,
        gradients,
        False,
    )
    np.testing.assert_allclose(
        formulas()[method](captured).numpy(),
        expected,
        rtol=1e-5 if method in ("GradCAM++", "XGradCAM") else 1e-10,
    )


def test_principal_maps_are_the_first_singular_component(captured):
    for image, found in zip(captured.activations.double().numpy(), eigen_cam(captured).numpy()):
        samples = image.reshape(len(image), -1).T
        samples = samples - samples.mean(0)
        left, values, _ = np.linalg.svd(samples, full_matrices=False)
        np.testing.assert_allclose(
            np.abs(found.ravel()), np.abs(left[:, 0] * values[0]), rtol=1e-8, atol=1e-8
        )
        assert abs(found.sum()) < 1e-9


def test_signs_point_to_strong_activations_and_to_class_evidence(captured):
    for sign in (1, -1):
        turned = Captured(sign * captured.activations, captured.gradients)
        strength = turned.activations.abs().mean(1)
        evidence = (turned.activations * turned.gradients).sum(1)
        for found, reference in ((eigen_cam(turned), strength), (eigen_grad_cam(turned), evidence)):
            for one, other in zip(found.numpy(), reference.numpy()):
                assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0
    torch.testing.assert_close(
        eigen_cam(Captured(-captured.activations, None)), eigen_cam(captured)
    )


def test_sign_without_agreement_is_that_of_the_largest_value():
    values = torch.tensor([[[[-3.0, 1.0, 1.0, 1.0]]]])
    for turned in (values, -values):
        torch.testing.assert_close(
            principal_maps(turned, torch.ones(1, 1, 4), "defined"), -values[:, 0].double()
        )


def test_lapack_sign_only_turns_maps(captured):
    defined, lapack = eigen_grad_cam(captured), eigen_grad_cam(captured, "lapack")
    torch.testing.assert_close(defined.abs(), lapack.abs(), rtol=1e-3, atol=1e-4)


def test_gradients_of_zero_have_no_weight_in_plus_plus():
    gradients = torch.zeros(1, 2, 2, 2)
    gradients[0, 0, 0, 0] = 1.0
    maps = grad_cam_plus_plus(Captured(torch.ones(1, 2, 2, 2), gradients))
    torch.testing.assert_close(
        maps, torch.full((1, 2, 2), 1 / (2 + 4), dtype=torch.float64), rtol=1e-5, atol=0
    )
