"""Training on a GPU against the CPU: one step, a kill, mixed precision and memory."""

import pytest
import torch

from ich_study.evaluate.classification import predict
from ich_study.inputs.devices import peak_memory_mib
from ich_study.training.learner import train_classifier
from tests.training import lines as line
from tests.training.fakes import config, fake_store, network, parts

pytestmark = pytest.mark.gpu
STORE = fake_store()
TRAIN, VALIDATION = parts(STORE)


def weights(model):
    return torch.cat([each.detach().cpu().flatten() for each in model.parameters()])


def classifier(folder, device, **changes):
    settings = config(device=device, epochs=1, keep="last", **changes)
    built = network(settings)
    before = weights(built.model)
    run = train_classifier(built, settings, STORE, TRAIN, VALIDATION, folder)
    return run, weights(run.model) - before


def test_an_epoch_moves_the_weights_as_on_the_cpu(cuda, tmp_path):
    steps = {}
    for device in ("cpu", cuda.type):
        # without dropout, which each device draws from its own generator
        found = line.run(
            tmp_path / device, line.Line(), epochs=3, device=device, dropout=0, optimizer="sgd"
        )
        assert found.device.type == device
        steps[device] = weights(found.model)
    assert torch.allclose(steps["cpu"], steps[cuda.type], atol=1e-5)


def test_a_killed_run_goes_on_and_ends_where_the_other_does(cuda, tmp_path):
    whole = line.run(tmp_path / "whole", epochs=6, device=cuda.type)
    with pytest.raises(line.Killed):
        line.run(tmp_path / "killed", line.Line(kill_at=3), epochs=6, device=cuda.type)
    said = []
    resumed = line.run(tmp_path / "killed", report=said.append, epochs=6, device=cuda.type)
    assert any("going on after epoch 3" in each for each in said)
    assert torch.allclose(weights(whole.model), weights(resumed.model), atol=1e-6)
    assert len(resumed.history) == 6


def test_what_a_gpu_began_goes_on_without_one(cuda, tmp_path):
    with pytest.raises(line.Killed):
        line.run(tmp_path, line.Line(kill_at=3), epochs=6, device=cuda.type)
    said = []
    resumed = line.run(tmp_path, report=said.append, epochs=6, device="cpu")
    assert any("going on after epoch 3" in each for each in said)
    assert len(resumed.history) == 6 and resumed.device.type == "cpu"


def moved(folder, precision, device):
    """How far plain gradient steps move weights, and the record of it."""
    # without dropout, whose masks differ with the precision
    settings = {"epochs": 10, "dropout": 0, "optimizer": "sgd", "learning_rate": 0.02}
    found = line.run(folder, line.Line(), precision=precision, device=device, **settings)
    return weights(found.model) - weights(line.network(0).model), found


@pytest.mark.parametrize("precision", ["amp", "bf16"])
def test_mixed_precision_moves_weights_in_the_same_direction(cuda, tmp_path, precision):
    plain, _ = moved(tmp_path / "fp32", "fp32", cuda.type)
    mixed, found = moved(tmp_path / precision, precision, cuda.type)
    assert found.history["valid_loss"].notna().all()
    # amp passes over its first steps, until the scale of its loss fits; the direction stays
    assert float(torch.nn.functional.cosine_similarity(plain, mixed, dim=0)) > 0.9
    assert next(found.model.parameters()).dtype == torch.float32


def test_predictions_are_the_cpus_and_memory_is_told(cuda, tmp_path):
    run, _ = classifier(tmp_path, cuda.type)
    assert 0 < run.peak_memory_mib <= peak_memory_mib(cuda) and "cuda" in run.device_name
    found = [
        predict(run.model.to(place), run.preprocessing, ("any",), STORE, VALIDATION, place)["logit"]
        for place in (cuda, torch.device("cpu"))
    ]
    assert (found[0] - found[1]).abs().max() < 0.02


def test_a_second_training_in_processes_follows_the_first(cuda, tmp_path):
    """The first leaves CUDA begun in this process, which a forked one could not use."""
    for name in ("first", "second"):
        settings = {"epochs": 1, "device": cuda.type, "distributed": True, "processes": 1}
        assert line.run(tmp_path / name, **settings).device.type == "cuda"
