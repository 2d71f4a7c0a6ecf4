import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from ich_study.errors import OtherRunError, StudyError
from ich_study.models.weights import read_metadata, state_digest, verify_file
from ich_study.training import loop
from ich_study.training.learner import train_classifier
from tests.training.fakes import config, fake_store, network, parts

SETTINGS = {
    "epochs": 4,
    "augmentation": "cam_benchmark",
    "schedule": "one_cycle",
    "sampler": "inverse_frequency",
    "keep": "last",
}
STORE = fake_store()


def run(folder, store=STORE, report=lambda line: None, seed=0, **changes):
    settings = config(**{**SETTINGS, **changes})
    with patch("builtins.print", report):
        return train_classifier(
            network(settings, seed), settings, store, *parts(store), Path(folder)
        )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("uninterrupted"))


class Killed(Exception):
    pass


def stop_after(epoch):
    def report(line):
        if f", epoch {epoch}/" in line:
            raise Killed(line)

    return report


def train_and_wait_after_epoch_2(folder, pipe):
    def report(line):
        if ", epoch 2/" in line:
            pipe.send(line)
            time.sleep(60)

    run(folder, report=report)


def test_a_killed_process_goes_on_and_ends_at_the_same_weights(tmp_path, uninterrupted):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    process = context.Process(target=train_and_wait_after_epoch_2, args=(tmp_path, sender))
    process.start()
    assert receiver.poll(50), "the child process reported no second epoch"
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    lines = []
    resumed = run(tmp_path, report=lines.append, seed=99)
    assert lines[0].startswith("going on after epoch 2 of 4") and len(lines) == 3
    assert state_digest(resumed.model) == state_digest(uninterrupted.model)
    columns = ["train_loss", "valid_loss", "auroc", "learning_rate"]
    assert resumed.history[columns].equals(uninterrupted.history[columns])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "precision": "bf16"},
        {"keep": "best", "monitor": "valid_loss", "num_workers": 1},
    ],
)
def test_stopped_after_any_epoch_it_ends_at_the_same_weights(tmp_path, changes):
    whole = run(tmp_path / "whole", epochs=3, **changes)
    for epoch in (1, 2):
        with pytest.raises(Killed):
            run(tmp_path / str(epoch), epochs=3, report=stop_after(epoch), **changes)
        resumed = run(tmp_path / str(epoch), epochs=3, **changes)
        assert state_digest(resumed.model) == state_digest(whole.model)
        assert resumed.best_epoch == whole.best_epoch
        assert resumed.top_epochs.equals(whole.top_epochs)


def test_what_validation_decided_is_what_the_history_measured(uninterrupted):
    counts = uninterrupted.top_epochs.groupby("epoch")[["tp", "fp", "fn"]].sum()
    f1 = 2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"])
    measured = uninterrupted.history.set_index("epoch")["f1"].dropna()
    assert len(measured) == SETTINGS["epochs"]
    assert f1.to_dict() == pytest.approx(measured.to_dict())


def test_a_finished_run_is_only_loaded(uninterrupted):
    before = (uninterrupted.weights_path.stat().st_mtime_ns, uninterrupted.weights_sha256)
    lines = []
    again = run(uninterrupted.weights_path.parent, report=lines.append, seed=5)
    assert not lines
    assert (again.weights_path.stat().st_mtime_ns, again.weights_sha256) == before
    assert state_digest(again.model) == state_digest(uninterrupted.model)


def test_early_stopping_counts_on_across_a_restart(tmp_path):
    changes = {
        "epochs": 30,
        "early_stopping_patience": 3,
        "learning_rate": 0.03,
        "monitor": "valid_loss",
        "keep": "best",
    }
    whole = run(tmp_path / "whole", **changes)
    assert whole.stopped_early
    with pytest.raises(Killed):
        run(tmp_path / "parts", report=stop_after(len(whole.history) - 1), **changes)
    resumed = run(tmp_path / "parts", **changes)
    assert (len(resumed.history), resumed.best_epoch) == (len(whole.history), whole.best_epoch)


def test_another_run_in_the_folder_is_refused_by_name(uninterrupted):
    folder = uninterrupted.weights_path.parent
    with pytest.raises(StudyError, match=r"learning_rate: was 0\.003, now 0\.1"):
        run(folder, learning_rate=0.1)
    with pytest.raises(StudyError, match="training slices"):
        run(folder, store=fake_store(seed=1))
    run(folder, num_workers=3, cache_in_memory=True, device="auto")


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"half a file")
    with pytest.raises(StudyError, match=r"state\.pt is not a training state"):
        run(tmp_path)


def test_the_state_needs_no_pickle(uninterrupted):
    content = torch.load(uninterrupted.weights_path.parent / "state.pt", weights_only=True)
    assert content["progress"]["finished"] and json.dumps(content["progress"]["history"])


def test_a_changed_run_gives_way_only_where_asked_for(tmp_path):
    store = fake_store(6)
    train, held_out = parts(store, 4)
    for epochs in (1, 2):
        settings = config(epochs=epochs, restart_changed=epochs == 2)
        run = train_classifier(network(settings), settings, store, train, held_out, tmp_path)
    assert "restart_changed" not in read_metadata(run.weights_path)["training"]
    assert len(run.history) == 2
    other = config(epochs=2, seed=9)
    with pytest.raises(OtherRunError, match="seed"):
        train_classifier(network(other), other, store, train, held_out, tmp_path)
    assert verify_file(run.weights_path) == run.weights_sha256


def test_a_run_of_other_code_is_refused_by_the_module_that_changed(uninterrupted, monkeypatch):
    marks = loop.code_marks

    def edited(starts, **options):
        assert "ich_study.training.learner" in starts and "ich_study.training.loop" in starts
        return {**marks(starts, **options), "ich_study/training/losses.py": "0" * 16}

    monkeypatch.setattr(loop, "code_marks", edited)
    with pytest.raises(OtherRunError, match=r"ich_study/training/losses\.py: was [0-9a-f]{16}"):
        run(uninterrupted.weights_path.parent)
