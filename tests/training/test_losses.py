import numpy as np
import torch
from torch.nn import functional

from ich_study.training.config import TrainingConfig
from ich_study.training.losses import (
    BinaryCrossEntropy,
    Focal,
    TwoOutputCrossEntropy,
    build_loss,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (40, 3))
LABELS = (RNG.random((40, 3)) < 0.3).astype(float)


def tensors(logits=LOGITS, labels=LABELS):
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def test_positive_weights_follow_the_formula():
    weights = np.array([1.0, 2.0, 7.5])
    oracle = -(weights * LABELS * log_sigmoid(LOGITS) + (1 - LABELS) * log_sigmoid(-LOGITS)).mean()
    assert np.isclose(float(BinaryCrossEntropy(weights)(*tensors())), oracle, rtol=1e-5)


def test_focal_follows_the_formula():
    p_t = 1 / (1 + np.exp(-np.where(LABELS == 1, LOGITS, -LOGITS)))
    for gamma in (2.0, 1.5, 0.0):
        oracle = (-((1 - p_t) ** gamma) * np.log(p_t)).mean()
        assert np.isclose(float(Focal(gamma)(*tensors())), oracle, rtol=1e-4)


def test_two_outputs_are_softmax_cross_entropy():
    logits, labels = tensors(LOGITS[:, :2], LABELS[:, :1])
    oracle = functional.cross_entropy(logits, labels[:, 0].long())
    assert torch.isclose(TwoOutputCrossEntropy()(logits, labels), oracle)


def test_cross_entropy_of_softmaxed_outputs_takes_the_softmax_twice():
    logits, labels = tensors(LOGITS[:, :2] * 3, LABELS[:, :1])
    once = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    twice = np.exp(once) / np.exp(once).sum(1, keepdims=True)
    oracle = -np.log(np.where(LABELS[:, 0] == 1, twice[:, 1], twice[:, 0])).mean()
    assert np.isclose(
        float(TwoOutputCrossEntropy(softmaxed=True)(logits, labels)), oracle, rtol=1e-5
    )
    certain, right = torch.tensor([[60.0, -60.0]]), torch.zeros(1, 1)
    assert np.isclose(
        float(TwoOutputCrossEntropy(softmaxed=True)(certain, right)), np.log1p(np.exp(-1))
    )


def test_unknown_labels_do_not_count_and_get_no_gradient():
    known = RNG.random((40, 3)) < 0.6
    for loss in (BinaryCrossEntropy([1.0, 2.0, 3.0]), Focal(2.0)):
        logits, labels = tensors(labels=np.where(known, LABELS, np.nan))
        logits.requires_grad_()
        value = loss(logits, labels)
        value.backward()
        assert (
            torch.isfinite(value)
            and (logits.grad[~torch.tensor(known)] == 0).all()
            and (logits.grad[torch.tensor(known)] != 0).all()
        )
        changed = logits.detach().clone()
        changed[~torch.tensor(known)] += 5
        assert torch.isclose(loss(changed, labels), value)
    logits, labels = tensors(LOGITS[:, :2], np.where(known[:, :1], LABELS[:, :1], np.nan))
    kept = torch.tensor(known[:, 0])
    assert torch.isclose(
        TwoOutputCrossEntropy()(logits, labels), TwoOutputCrossEntropy()(logits[kept], labels[kept])
    )


def test_a_batch_without_known_labels_has_loss_zero_and_no_gradient():
    logits, labels = tensors(labels=np.full_like(LABELS, np.nan))
    logits.requires_grad_()
    loss = BinaryCrossEntropy([1.0] * 3)(logits, labels)
    loss.backward()
    assert float(loss.detach()) == 0 and not logits.grad.any()


def test_the_configuration_chooses_the_loss():
    assert build_loss(TrainingConfig(positive_weight=2.0)).positive_weight.tolist() == [2.0] * 6
    assert isinstance(build_loss(TrainingConfig(loss="focal")), Focal)
    assert not build_loss(
        TrainingConfig(loss="cross_entropy_two_outputs", classes=("any",))
    ).softmaxed
    assert build_loss(TrainingConfig(loss="cross_entropy_softmaxed", classes=("any",))).softmaxed
