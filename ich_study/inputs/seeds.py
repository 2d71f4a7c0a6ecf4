"""Random streams named by numbers: the same numbers, the same stream, in any process.

The count of numbers is part of the name, because NumPy's SeedSequence reads (1, 2) and (1, 2, 0)
alike.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seeded_generator(*key: int) -> torch.Generator:
    """CPU generator whose stream depends on all numbers of `key`."""
    high, low = _words(key)
    return torch.Generator().manual_seed(high << 32 | low)


def seed_everything(*key: int) -> None:
    """Python's, NumPy's and PyTorch's global generators from all numbers of `key`."""
    high, low = _words(key)
    random.seed(low)
    np.random.seed(low)  # noqa: NPY002  (networks and libraries may draw from the global stream)
    torch.manual_seed(high << 32 | low)


@contextmanager
def first_weights_from(seed: int) -> Iterator[None]:
    """Weights that a network draws inside depend on `seed` alone; PyTorch's global stream stays
    where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _words(key: tuple[int, ...]) -> tuple[int, int]:
    high, low = np.random.SeedSequence((len(key), *key)).generate_state(2, np.uint32)
    return int(high), int(low)
