import pandas as pd
import pytest
import torch
from torch import nn

from ich_study.errors import ParameterError, StudyError
from ich_study.inputs.seeds import seeded_generator
from ich_study.models.weights import state_digest
from ich_study.training.epoch_loop import LoopSettings, fit
from ich_study.training.resume import OtherRunError


class Killed(Exception):
    """Stands for a kill."""


class Line:
    """y = 2 x, learnt from batches that are a function of the epoch."""

    def __init__(self, kill_at=None, spoil=None):
        self.kill_at, self.spoil = kill_at, spoil

    def batches(self, epoch):
        if epoch == self.kill_at:
            raise Killed
        generator = seeded_generator(1, epoch)
        for _ in range(4):
            x = torch.randn(16, 1, generator=generator)
            yield x, 2 * x

    def loss(self, model, batch):
        value = (model(batch[0]) - batch[1]).square().mean()
        return value * float("nan") if self.spoil == "train" else value

    def validation_loss(self, model):
        assert not model.training
        return (
            float("nan") if self.spoil == "valid" else float((model(torch.ones(1, 1)) - 2).square())
        )


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.1), nn.Linear(4, 1))


def run(folder, task=None, marks=None, **changes):
    settings = LoopSettings(
        **{"epochs": 8, "learning_rate": 0.05, "optimizer": "adam", "patience": None, **changes}
    )
    return fit(
        network(),
        task or Line(),
        settings,
        folder,
        marks or {"what": "line"},
        {"made by": "a test"},
        lambda line: None,
    )


def test_it_learns_keeps_the_best_epoch_and_leaves_a_history(tmp_path):
    found = run(tmp_path, epochs=30)
    assert found.history["valid_loss"].min() < 0.2 * found.history["valid_loss"].iloc[0]
    assert (
        found.best_epoch == int(found.history["valid_loss"].argmin()) and not found.model.training
    )
    assert float((found.model(torch.ones(1, 1)) - 2).detach().square()) == pytest.approx(
        found.history["valid_loss"].min(), rel=1e-4
    )
    assert len(pd.read_csv(tmp_path / "history.csv")) == 30


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_killed_run_ends_at_the_same_weights_bit_for_bit(tmp_path, optimizer):
    whole = run(tmp_path / "whole", optimizer=optimizer, learning_rate=0.01)
    with pytest.raises(Killed):
        run(tmp_path / "killed", Line(kill_at=5), optimizer=optimizer, learning_rate=0.01)
    resumed = run(tmp_path / "killed", optimizer=optimizer, learning_rate=0.01)
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
        run(tmp_path, marks={"what": "other"})
    settings = LoopSettings(epochs=2, patience=None)
    assert (
        len(
            fit(
                network(),
                Line(),
                settings,
                tmp_path,
                {"what": "line"},
                {},
                lambda line: None,
                restart_changed=True,
            ).history
        )
        == 2
    )


def test_it_stops_early_when_nothing_improves(tmp_path):
    class Flat(Line):
        def validation_loss(self, model):
            return 1.0

    found = run(tmp_path, Flat(), epochs=20, patience=3)
    assert found.stopped_early and len(found.history) == 4 and found.best_epoch == 0


def test_losses_that_are_not_finite_and_empty_epochs_end_the_run(tmp_path):
    for spoil, says in (("train", "lower learning_rate"), ("valid", "validation loss is nan")):
        with pytest.raises(StudyError, match=says):
            run(tmp_path / spoil, Line(spoil=spoil))

    class Nothing(Line):
        def batches(self, epoch):
            return iter(())

    with pytest.raises(StudyError, match="without a batch"):
        run(tmp_path / "none", Nothing())
    for changes in (
        {"optimizer": "lbfgs"},
        {"epochs": 0},
        {"patience": 0},
        {"precision": "amp"},
        {"learning_rate": 0.0},
    ):
        with pytest.raises(ParameterError):
            LoopSettings(**changes)
