from itertools import pairwise

import numpy as np
import pytest
import torch

from ich_study.methods.lse_unet.pooling import LSEPooling

SCORES = np.random.default_rng(0).normal(0, 3, (4, 3, 5, 7))
BIAS = np.array([0.5, -1.0, 2.0])


def formula(scores, r, reduction, divided, bias):
    """Eq. 4 and Pinheiro and Collobert's form, in float64, straight from their definitions."""
    powers = np.exp(r * (scores - bias[:, None, None])).reshape(*scores.shape[:2], -1)
    pooled = np.log(powers.sum(2) if reduction == "sum" else powers.mean(2))
    return pooled / r if divided else pooled


@pytest.mark.parametrize(
    ("r", "reduction", "divided", "bias"),
    [(3, "sum", False, False), (6, "mean", True, True), (3, "mean", True, False)],
)
def test_it_follows_the_formula(r, reduction, divided, bias):
    pooling = LSEPooling(3, r, reduction, divided, bias)
    if bias:
        with torch.no_grad():
            pooling.bias.copy_(torch.from_numpy(BIAS))
    maps, logits = pooling(torch.from_numpy(SCORES).float())
    shift = BIAS if bias else np.zeros(3)
    assert np.allclose(
        logits.detach().numpy(), formula(SCORES, r, reduction, divided, shift), rtol=1e-5, atol=1e-5
    )
    assert np.allclose(maps.detach().numpy(), SCORES - shift[:, None, None], atol=1e-6)


def test_it_is_stable_where_the_plain_formula_overflows():
    scores = torch.tensor([[[[500.0, -500.0], [499.0, 0.0]]]])
    for reduction, divided in (("sum", False), ("mean", True)):
        assert torch.isfinite(LSEPooling(1, 6, reduction, divided, True)(scores)[1]).all()
    assert float(LSEPooling(1, 6, "sum", True, False)(scores)[1]) == pytest.approx(
        500 + np.log1p(np.exp(-6)) / 6, abs=1e-4
    )


def test_the_mean_form_lies_between_mean_and_maximum_and_moves_from_one_to_the_other_with_r():
    scores = torch.from_numpy(SCORES).float()
    logits = [LSEPooling(3, r, "mean", True, False)(scores)[1] for r in (1e-3, 1.0, 6.0, 200.0)]
    flat = scores.flatten(2)
    assert torch.allclose(logits[0], flat.mean(2), atol=0.02) and torch.allclose(
        logits[-1], flat.amax(2), atol=0.05
    )
    assert all((low <= high + 1e-4).all() for low, high in pairwise(logits))


def test_its_gradient_is_the_softmax_of_equation_5_times_r_unless_divided():
    for divided, factor in ((True, 1.0), (False, 3.0)):
        scores = torch.from_numpy(SCORES).float().requires_grad_()
        LSEPooling(3, 3, "sum", divided, False)(scores)[1][0, 1].backward()
        softmax = torch.softmax(3 * scores.detach()[0, 1].flatten(), 0).reshape(5, 7)
        assert torch.allclose(scores.grad[0, 1], factor * softmax, atol=1e-6)
        assert not scores.grad[1:].any() and not scores.grad[0, [0, 2]].any()


def test_half_precision_scores_are_pooled_in_float32():
    maps, logits = LSEPooling(3, 6, "mean", True, True)(torch.from_numpy(SCORES).to(torch.bfloat16))
    assert maps.dtype == logits.dtype == torch.float32
