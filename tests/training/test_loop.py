import pandas as pd
import pytest
import torch

from ich_study.errors import OtherRunError, ParameterError, StudyError
from ich_study.models.weights import state_digest
from ich_study.training.config import LoopSettings
from tests.training.lines import Killed, Line, run


def test_it_learns_keeps_the_best_epoch_and_leaves_a_history(tmp_path):
    found = run(tmp_path, epochs=30)
    losses = found.history["valid_loss"]
    assert losses.min() < 0.2 * losses.iloc[0] and not found.model.training
    assert found.best_epoch == int(losses.argmin())
    x = torch.linspace(-1, 1, 64)[:, None]
    with torch.no_grad():
        assert float((found.model(x) - 2 * x).square().mean()) == pytest.approx(losses.min())
    assert len(pd.read_csv(tmp_path / "history.csv")) == 30


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
