"""What happens around the loop: which epoch is kept, when it ends, what is said and written."""

import math
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from torch import nn

from ich_study.inputs.seeds import seed_everything
from ich_study.models.weights import WEIGHTS_FILE, read_tensors
from ich_study.training.callbacks import (
    Checkpoints,
    EpochRecord,
    EpochSeeds,
    MemoryFormat,
    progress_line,
)
from ich_study.training.config import LoopSettings
from ich_study.training.fastai_api import CancelFitException
from ich_study.training.resume import Destination, Progress


def row(epoch, **scores):
    return {
        "epoch": epoch,
        "train_loss": 0.5,
        "valid_loss": 0.4,
        "learning_rate": 0.1,
        "seconds": 1.0,
        **scores,
    }


def after(values, monitor, folder, epochs=None, **settings):
    """Checkpoints after epochs whose monitored score was `values`; the weight is the epoch."""
    chosen = LoopSettings(epochs=epochs or len(values), **settings)
    # a classifier's settings may monitor more than a loop's
    chosen = SimpleNamespace(**{**dict(chosen), "monitor": monitor})
    model = nn.Linear(1, 1, bias=False)
    said = []
    destination = Destination(folder, {"run": "one"}, {})
    callback = Checkpoints(chosen, destination, Progress(), None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    callback.learn = SimpleNamespace(
        model=model,
        opt=SimpleNamespace(opt=optimizer),
        epoch_record=SimpleNamespace(row=None, decided=None),
        epoch=0,
    )
    ended = None
    for epoch, value in enumerate(values):
        callback.learn.epoch = epoch
        nn.init.constant_(model.weight, epoch)
        callback.learn.epoch_record.row = row(epoch, **{monitor: value})
        try:
            with patch("builtins.print", said.append):
                callback.after_epoch()
        except CancelFitException:
            ended = epoch
            break
    return callback, said, ended


def kept_weight(folder):
    return read_tensors(folder / WEIGHTS_FILE)["weight"].item()


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("valid_loss", [0.5, 0.3, 0.4], 1),
        ("auroc", [0.5, 0.3, 0.6], 2),
        # an equal epoch is no improvement: the first of equals is kept
        ("valid_loss", [0.3, 0.3, 0.3], 0),
        ("auroc", [0.6, 0.6, 0.2], 0),
    ],
)
def test_a_loss_is_best_where_it_is_lowest_and_a_score_where_it_is_highest(
    tmp_path, monitor, values, best
):
    callback, _, ended = after(values, monitor, tmp_path)
    assert callback.progress.best_epoch == best and kept_weight(tmp_path) == best
    assert callback.progress.best_value == values[best]
    assert ended == 2 and callback.progress.finished and not callback.progress.stopped_early


def test_the_last_epochs_weights_are_kept_where_asked_for(tmp_path):
    callback, _, _ = after([0.3, 0.5, 0.7], "valid_loss", tmp_path, keep="last")
    assert callback.progress.best_epoch == 0 and kept_weight(tmp_path) == 2


@pytest.mark.parametrize(("patience", "ended"), [(1, 2), (2, 3), (None, 4)])
def test_patience_counts_epochs_since_the_best_one(tmp_path, patience, ended):
    values = [0.5, 0.3, 0.4, 0.4, 0.4]
    callback, _, found = after(values, "valid_loss", tmp_path, early_stopping_patience=patience)
    assert found == ended and callback.progress.stopped_early == (patience is not None)
    assert len(callback.progress.history) == ended + 1


def test_a_monitored_score_without_a_value_ends_the_run_and_leaves_the_epoch_out(tmp_path):
    callback, _, ended = after([0.8, math.nan], "auroc", tmp_path, epochs=3)
    assert ended == 1 and "auroc has no value in epoch 1" in callback.failure
    assert [each["epoch"] for each in callback.progress.history] == [0]
    assert kept_weight(tmp_path) == 0


def test_a_skipped_epoch_has_no_row_and_changes_nothing(tmp_path):
    callback, said, _ = after([0.5], "valid_loss", tmp_path, epochs=2)
    assert len(said) == 1
    # the row of the epoch before was taken away
    callback.learn.epoch = 1
    callback.after_epoch()
    assert len(callback.progress.history) == 1 and len(said) == 1


def test_an_epoch_is_one_line():
    line = progress_line(row(1, auroc=0.91234), 8, True)
    assert line == (
        "epoch 2/8: train loss 0.5000, validation loss 0.4000, AUROC 0.912, 1.0 s, best so far"
    )
    assert "F1" not in line and "best" not in progress_line(row(0), 8, False)


def test_a_loss_that_is_not_finite_names_its_own_batch():
    """On a GPU the losses are looked at together: the first bad one is named, not the last."""
    record = EpochRecord(SimpleNamespace())
    hypers = SimpleNamespace(hypers=[{"lr": 0.25}])
    record.learn = SimpleNamespace(training=True, epoch=3, opt=hypers)
    record.before_train()
    record._losses = [torch.tensor(value) for value in (1.0, 2.0, math.inf, math.nan)]
    with pytest.raises(CancelFitException):
        record._check_losses(3)
    assert record.failure.startswith(
        "the loss is inf in epoch 3, batch 2; lower learning_rate (0.25)"
    )


def test_an_epochs_random_numbers_are_its_own_whatever_came_before():
    orders = []
    batches = SimpleNamespace(set_epoch=orders.append)
    callback = EpochSeeds(7)
    drawn = []
    for before, epoch in ((1, 2), (2, 2), (1, 3)):
        seed_everything(before, 0, 0)
        callback.learn = SimpleNamespace(
            dls=SimpleNamespace(train=SimpleNamespace(batches=batches)), epoch=epoch
        )
        callback.before_train()
        drawn.append(torch.rand(1).item())
    assert orders == [2, 2, 3] and drawn[0] == drawn[1] != drawn[2]


def test_only_inputs_of_the_networks_own_axes_change_their_place_in_memory():
    images, ages = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3)
    callback = MemoryFormat(torch.channels_last, 4)
    callback.learn = SimpleNamespace(xb=(images, ages, "name"))
    callback.before_batch()
    first, second, third = callback.learn.xb
    assert first.is_contiguous(memory_format=torch.channels_last) and torch.equal(first, images)
    assert second is ages and third == "name"
