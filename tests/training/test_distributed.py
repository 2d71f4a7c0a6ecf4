import contextlib
import os
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ich_study.errors import ParameterError
from ich_study.evaluate.classification import predict
from ich_study.training import distributed
from ich_study.training.config import LoopSettings
from ich_study.training.learner import train_classifier
from ich_study.training.loop import fit
from tests.training import lines as line
from tests.training.fakes import config, fake_store, network, parts

STORE = fake_store()
TRAIN, VALIDATION = parts(STORE)


def test_two_processes_train_one_model_and_score_the_whole_validation_part(tmp_path):
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo, which joins processes on a CPU")
    settings = config(
        distributed=True, processes=2, epochs=4, batch_size=8, keep="last", augmentation="lse_unet"
    )
    run = train_classifier(network(settings), settings, STORE, TRAIN, VALIDATION, tmp_path)
    assert len(run.history) == 4
    predictions = predict(run.model, run.preprocessing, ("any",), STORE, VALIDATION, run.device)
    truth, logits = VALIDATION["any"].to_numpy(float), predictions["logit"].to_numpy()
    last = run.history.iloc[-1]
    assert last["auroc"] == pytest.approx(roc_auc_score(truth, logits), abs=1e-6)
    assert last["valid_loss"] == pytest.approx(
        np.mean(np.logaddexp(0, logits) - truth * logits), rel=1e-3
    )
    assert last["auroc"] > 0.8


def test_the_learner_enters_fastais_context_and_keeps_our_loaders(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    entered = []

    @contextlib.contextmanager
    def distrib_ctx(**arguments):
        entered.append(arguments)
        yield

    trainer = SimpleNamespace(_wrap_dl=lambda loader: "rebuilt")
    learner = SimpleNamespace(distrib_ctx=distrib_ctx, distributed_trainer=trainer)
    with distributed.distributed_context(
        learner, config(distributed=True), torch.device("cuda", 1)
    ):
        assert trainer._wrap_dl("ours") == "ours"
    assert entered == [{"sync_bn": True, "cpu": False}]
    with distributed.distributed_context(learner, config(), torch.device("cpu")):
        assert len(entered) == 1


def test_the_launchers_variables_are_read(monkeypatch):
    for name, value in (("WORLD_SIZE", "4"), ("RANK", "3"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert (
        distributed.world_size(),
        distributed.rank(),
        distributed.local_rank(),
        distributed.launched(),
    ) == (4, 3, 1, True)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name)
    assert (
        distributed.world_size(),
        distributed.rank(),
        distributed.local_rank(),
        distributed.launched(),
    ) == (1, 0, 0, False)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParameterError, match="2 processes, but 1 GPUs"):
        distributed.launch(print, (), config(distributed=True, processes=2, device="cuda"))


def test_each_training_on_gpus_spawns_numbered_processes_on_a_port_of_its_own(monkeypatch):
    """Forked ones cannot use the CUDA that the parent's last training used."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    seen = []

    def start_processes(ready, args, nprocs, start_method):
        for name in ("RANK", "LOCAL_RANK", "FORK_LAUNCHED"):
            monkeypatch.setenv(name, "")
        ready(1, *args)
        with socket.socket() as master:
            master.bind((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
        seen.append((start_method, nprocs, os.environ["MASTER_PORT"]))

    def train(name):
        seen.append((name, *(each() for each in (distributed.rank, distributed.local_rank))))
        assert distributed.world_size() == 2

    monkeypatch.setattr(distributed, "start_processes", start_processes)
    for name in ("first", "second"):
        distributed.launch(train, (name,), config(distributed=True, device="cuda"))
    started = [each[:2] for each in seen[1::2]]
    assert seen[::2] == [("first", 1, 1), ("second", 1, 1)] and started == [("spawn", 2)] * 2
    assert "29500" not in {each[2] for each in seen[1::2]} and not distributed.launched()


def test_gathering_alone_gives_the_parts_back():
    parts_given = [torch.arange(3)]
    assert distributed.gathered(parts_given) is parts_given


def test_batches_taken_in_turns_come_back_in_their_order():
    assert distributed.in_turns([["a", "d", "g"], ["b", "e"], ["c", "f"]]) == list("abcdefg")
    assert distributed.in_turns([["a"], [], []]) == ["a"]


def test_two_processes_train_as_one_with_the_same_batch_over_both(tmp_path):
    """Each takes every second slice of the epoch's order; what they step by is the mean over both.
    Each batch of the validation part is seen once."""
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo, which joins processes on a CPU")
    alike = {"epochs": 3, "keep": "last", "learning_rate": 0.05}
    settings = LoopSettings(distributed=True, processes=2, **alike)
    run = fit(line.network(dropout=0), line.Line(batch=8), settings, tmp_path / "two", {})
    runs = {8: run}
    for batch in (16, 32):
        task, alone = line.Line(batch=batch), LoopSettings(**alike)
        runs[batch] = fit(line.network(dropout=0), task, alone, tmp_path / str(batch), {})
    weights = {
        batch: torch.cat([each.detach().flatten() for each in found.model.parameters()])
        for batch, found in runs.items()
    }
    assert torch.allclose(weights[8], weights[16], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights[8], weights[32], rtol=1e-2)
    losses = [runs[batch].history[["train_loss", "valid_loss"]].to_numpy() for batch in (8, 16)]
    assert np.allclose(*losses, rtol=1e-5)
    x = torch.linspace(-1, 1, 64)[:, None]
    with torch.no_grad():
        loss = float((run.model(x) - 2 * x).square().mean())
    assert run.history["valid_loss"].iloc[-1] == pytest.approx(loss, rel=1e-5)
    assert run.history["valid_loss"].is_monotonic_decreasing and len(run.history) == 3
