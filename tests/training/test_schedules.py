import math

import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.training.schedules import hyperparameters
from tests.training.fakes import config


def rates(steps, **changes):
    settings = config(learning_rate=0.1, **changes)
    return [hyperparameters(settings, step, steps)["lr"] for step in range(settings.epochs * steps)]


def oracle(scheduler, optimizer, steps):
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def test_constant():
    assert set(rates(3)) == {0.1}


def test_step_equals_torch():
    sgd = optimizer()
    theirs = oracle(torch.optim.lr_scheduler.StepLR(sgd, 2, 0.1), sgd, 7)
    assert rates(5, epochs=7, schedule="step", step_epochs=2)[::5] == pytest.approx(theirs)


def test_cosine_equals_torch():
    sgd = optimizer()
    theirs = oracle(torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 30, eta_min=0), sgd, 30)
    assert rates(10, epochs=3, schedule="cosine") == pytest.approx(theirs)


def test_one_cycle_equals_the_cosine_formula_of_fastai():
    settings = config(learning_rate=0.1, epochs=4, schedule="one_cycle")
    for step in range(40):
        position = step / 40
        low, high, share = (
            (0.1 / 25, 0.1, position / 0.25)
            if position < 0.25
            else (0.1, 0.1 / 1e5, (position - 0.25) / 0.75)
        )
        formula = low + (1 + math.cos(math.pi * (1 - share))) * (high - low) / 2
        found = hyperparameters(settings, step, 10)
        assert found["lr"] == pytest.approx(formula, rel=1e-4, abs=1e-8)
        assert 0.85 - 1e-6 <= found["mom"] <= 0.95 + 1e-6


def test_milestones_of_the_mil_detector():
    settings = config(
        schedule="step", step_epochs=(2, 3), epochs=5, learning_rate=1.0, step_factor=0.1
    )
    per_epoch = [hyperparameters(settings, step, 4)["lr"] for step in range(0, 20, 4)]
    assert per_epoch == pytest.approx([1.0, 1.0, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("steps", [(), (3, 2), (0, 4), 0])
def test_milestones_that_do_not_rise_are_refused(steps):
    with pytest.raises(ParameterError, match="step_epochs"):
        config(schedule="step", step_epochs=steps)
