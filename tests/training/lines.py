"""A training of seconds: a line, learnt from batches that are a function of the epoch."""

from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

import torch
from torch import nn
from torch.nn import functional

from ich_study.inputs.seeds import seeded_generator
from ich_study.models.registry import Network, register
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
