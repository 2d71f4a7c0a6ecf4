import math

import torch

from ich_study.inputs.samplers import in_order
from ich_study.training import task as task_module
from ich_study.training.task import BatchLoader, Task


class Weighed(Task):
    """Batches of values, weighed by how many there are."""

    def loaders(self, device):
        raise NotImplementedError

    def marks(self):
        return {}

    def weight(self, targets):
        return len(targets)


def test_validation_is_the_mean_over_what_batches_count_for():
    weighed = Weighed()
    batches = [
        weighed.kept(None, torch.zeros(count), torch.tensor(loss))
        for count, loss in ((3, 1.0), (1, 5.0))
    ]
    assert weighed.scores(batches) == {"valid_loss": 2.0}
    nothing = weighed.kept(None, torch.zeros(0), torch.tensor(1.0))
    assert math.isnan(weighed.scores([nothing])["valid_loss"])


def test_a_batch_is_read_by_its_numbers_its_epoch_and_a_number_of_its_own(monkeypatch):
    seen = []

    def read(chosen, epoch, number):
        seen.append((chosen, epoch, number))
        return (torch.tensor(chosen),)

    assert len(list(BatchLoader(in_order(5, 2), read))) == 3
    assert seen == [([0, 1], 0, 0), ([2, 3], 0, 1), ([4], 0, 2)]
    monkeypatch.setattr(task_module, "rank", lambda: 1)
    monkeypatch.setattr(task_module, "world_size", lambda: 2)
    seen.clear()
    list(BatchLoader(in_order(8, 2, rank=1, world=2), read))
    assert seen == [([2, 3], 0, 1), ([6, 7], 0, 3)]
