from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from ich_study.errors import OtherRunError, ParameterError, StudyError
from ich_study.inputs.seeds import seed_everything, seeded_generator
from ich_study.models.registry import Network, register
from ich_study.models.weights import state_digest
from ich_study.training.config import LoopSettings
from ich_study.training.loop import fit
from ich_study.training.task import BatchLoader, Task, ordered_batches, shuffled_batches


class Killed(Exception):
    """Stands for a kill."""


@register("test_line")
@dataclass(frozen=True)
class LineNetwork(Network):
    model: nn.Module = field(repr=False)

    def arguments(self):
        return {}

    @classmethod
    def rebuild(cls, arguments):
        return network()


def network(dropout=0.1):
    torch.manual_seed(0)
    return LineNetwork(nn.Sequential(nn.Linear(1, 4), nn.Dropout(dropout), nn.Linear(4, 1)))


def order(epoch):
    return torch.randperm(64, generator=seeded_generator(1, epoch))


class Line(Task):
    """y = 2 x, learnt from batches that are a function of the epoch."""

    loss = staticmethod(functional.mse_loss)

    def __init__(self, what="line", kill_at=None, spoil=None, batch=16):
        self.what, self.kill_at, self.spoil, self.batch = what, kill_at, spoil, batch

    def loaders(self, device):
        return (
            BatchLoader(shuffled_batches(order, self.batch), partial(self.read, "train", device)),
            BatchLoader(ordered_batches(64, 32), partial(self.read, "valid", device)),
        )

    def read(self, part, device, rows, epoch, number):
        if part == "train" and epoch == self.kill_at:
            raise Killed
        x = torch.linspace(-1, 1, 64)[rows, None].to(device)
        return x, 2 * x * (float("nan") if self.spoil == part else 1)

    def marks(self):
        return {"what": self.what}


def run(folder, task=None, report=lambda line: None, dropout=0.1, **changes):
    settings = LoopSettings(**{"epochs": 8, "learning_rate": 0.05, "optimizer": "adam", **changes})
    about = {"made by": "a test"}
    with patch("builtins.print", report):
        return fit(network(dropout), task or Line(), settings, folder, about)


def test_it_learns_keeps_the_best_epoch_and_leaves_a_history(tmp_path):
    found = run(tmp_path, epochs=30)
    losses = found.history["valid_loss"]
    assert losses.min() < 0.2 * losses.iloc[0] and not found.model.training
    assert found.best_epoch == int(losses.argmin())
    x = torch.linspace(-1, 1, 64)[:, None]
    with torch.no_grad():
        assert float((found.model(x) - 2 * x).square().mean()) == pytest.approx(losses.min())
    assert len(pd.read_csv(tmp_path / "history.csv")) == 30


def test_the_optimizer_steps_as_pytorchs_own_loop_does(tmp_path):
    """The same batches through `torch.optim` by hand, weight for weight."""
    found = run(tmp_path, epochs=3, keep="last", weight_decay=0.01, optimizer="sgd")
    by_hand = network().model
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    task, losses = Line(), []
    for epoch in range(3):
        # the dropout of an epoch is drawn from (seed, epoch, process)
        seed_everything(0, epoch, 0)
        losses.append([])
        for rows in order(epoch).split(16):
            x, y = task.read("train", "cpu", rows.tolist(), epoch, 0)
            loss = functional.mse_loss(by_hand.train()(x), y)
            losses[-1].append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert state_digest(found.model) == state_digest(by_hand)
    means = [sum(epoch) / len(epoch) for epoch in losses]
    assert found.history["train_loss"].tolist() == pytest.approx(means, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_killed_run_ends_at_the_same_weights_bit_for_bit(tmp_path, optimizer):
    settings = {"optimizer": optimizer, "learning_rate": 0.01, "schedule": "cosine"}
    whole = run(tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        run(tmp_path / "killed", Line(kill_at=5), **settings)
    resumed = run(tmp_path / "killed", **settings)
    assert state_digest(resumed.model) == state_digest(whole.model)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(
        resumed.history.drop(columns=drop), whole.history.drop(columns=drop)
    )


def test_a_finished_run_is_only_loaded_and_another_one_refused_or_replaced(tmp_path):
    first = run(tmp_path)
    again = run(tmp_path, Line(kill_at=0))
    assert again.weights_sha256 == first.weights_sha256
    with pytest.raises(OtherRunError, match="learning_rate"):
        run(tmp_path, learning_rate=0.1)
    with pytest.raises(OtherRunError, match="what"):
        run(tmp_path, Line("other"))
    assert len(run(tmp_path, epochs=2, restart_changed=True).history) == 2


def test_it_stops_early_when_nothing_improves(tmp_path):
    class Flat(Line):
        def scores(self, batches):
            return {"valid_loss": 1.0}

    found = run(tmp_path, Flat(), epochs=20, early_stopping_patience=3)
    assert found.stopped_early and len(found.history) == 4 and found.best_epoch == 0


def test_losses_that_are_not_finite_end_the_run(tmp_path):
    for spoil, says in (("train", "the loss is nan in epoch 0"), ("valid", "valid_loss has no")):
        with pytest.raises(StudyError, match=says):
            run(tmp_path / spoil, Line(spoil=spoil))
    for changes in (
        {"optimizer": "lbfgs"},
        {"epochs": 0},
        {"early_stopping_patience": 0},
        {"monitor": "auroc"},
        {"learning_rate": 0.0},
    ):
        with pytest.raises(ParameterError):
            LoopSettings(**changes)


def test_a_long_training_reports_less(tmp_path):
    class Flat(Line):
        def scores(self, batches):
            return {"valid_loss": 1.0}

    lines = []
    run(tmp_path, Flat(), lines.append, epochs=52)
    assert [line.split("/")[0] for line in lines] == [
        f"{tmp_path.name}, epoch {number}" for number in (1, 10, 20, 30, 40, 50, 52)
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_channels_last_and_bfloat16_serve_networks_over_slices_and_volumes(tmp_path, precision):
    class Pictures(Line):
        def __init__(self, shape):
            super().__init__()
            self.shape, self.strides = shape, []

        def read(self, part, device, rows, epoch, number):
            x = torch.arange(len(rows) * 64.0).reshape(len(rows), *self.shape) / 1000
            return x, x.mean(tuple(range(1, x.dim())))[:, None]

    class Net(nn.Module):
        def __init__(self, convolution):
            super().__init__()
            self.convolution, self.seen = convolution, []

        def forward(self, x):
            self.seen.append(x)
            return self.convolution(x).flatten(1).mean(1, keepdim=True)

    for shape, convolution, form in (
        ((4, 4, 4), nn.Conv2d(4, 2, 3), torch.channels_last),
        ((4, 4, 2, 2), nn.Conv3d(4, 2, 2), torch.channels_last_3d),
    ):
        net = Net(convolution)
        settings = LoopSettings(epochs=1, channels_last=True, precision=precision)
        folder = tmp_path / str(len(shape))
        found = fit(LineNetwork(net), Pictures(shape), settings, folder, {})
        assert all(x.is_contiguous(memory_format=form) for x in net.seen) and len(net.seen) == 6
        assert found.model.convolution.weight.is_contiguous(memory_format=form)
        assert found.history["valid_loss"].notna().all()
