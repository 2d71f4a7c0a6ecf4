import random

import numpy as np
import torch

from ich_study.inputs.seeds import seed_everything, seeded_generator


def test_streams_depend_on_every_number_and_on_how_many():
    keys = [(0,), (0, 0), (0, 1), (1, 0), (0, 1, 0), (0, 1, 1), (1,)]
    draws = {
        torch.rand(1, generator=seeded_generator(*key), dtype=torch.float64).item() for key in keys
    }
    assert len(draws) == len(keys)
    assert torch.equal(
        torch.rand(3, generator=seeded_generator(4, 2)),
        torch.rand(3, generator=seeded_generator(4, 2)),
    )


def test_seeding_reaches_all_three_streams():
    draws = []
    for key in ((1, 2), (1, 2), (2, 1)):
        seed_everything(*key)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
    assert draws[0] == draws[1] and all(one != two for one, two in zip(draws[0], draws[2]))
