"""A run's epochs step as PyTorch's own loop does, on whatever networks and numbers."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ich_study.inputs.seeds import seed_everything
from ich_study.models.weights import state_digest
from ich_study.training import epochs
from ich_study.training.config import LoopSettings
from ich_study.training.loop import fit
from tests.training.lines import Line, LineNetwork, network, order, run


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


@pytest.mark.parametrize(("from_", "searches"), [(12, True), (13, False)])
def test_the_fastest_convolution_is_searched_for_where_a_training_is_long(
    tmp_path, monkeypatch, from_, searches
):
    """Three epochs of four batches."""
    monkeypatch.setattr(epochs, "SEARCH_PAYS_FROM", from_)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not searches)
    run(tmp_path, epochs=3)
    assert torch.backends.cudnn.benchmark is searches


@pytest.mark.parametrize(
    ("name", "kind", "momentum"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.8}),
        ("adam", torch.optim.Adam, {"betas": (0.8, 0.999)}),
        ("adamw", torch.optim.AdamW, {"betas": (0.8, 0.999)}),
    ],
)
def test_settings_reach_the_optimizer_of_their_name(name, kind, momentum):
    settings = LoopSettings(
        epochs=1, learning_rate=0.05, optimizer=name, momentum=0.8, weight_decay=0.3
    )
    line = Line()
    loaders = epochs.DataLoaders(*line.loaders("cpu"), device="cpu")
    learner = epochs.learner_of(network().model, line, settings, loaders, [])
    learner.create_opt()
    optimizer = learner.opt.opt
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == 0.3
    assert {setting: group[setting] for setting in momentum} == momentum


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
