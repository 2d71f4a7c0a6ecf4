"""Work side by side on the cores that a run may use.

In threads: NumPy, SciPy, OpenCV and PyTorch let go of Python's lock while they compute, and nothing
has to be copied to another process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")


def cores() -> int:
    """How many: `OMP_NUM_THREADS` where it is set, as the Snakefile sets it for each run, else what
    the system gives this process."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdigit() and int(said) > 0:
        return int(said)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of every item, in the order of the items, as `map` gives it.

    What it writes must be each item's own. The first error ends it; what has not begun then never
    does.

    >>> list(side_by_side(abs, [-3, 2, -1]))
    [3, 2, 1]
    """
    if cores() == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(cores())
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
