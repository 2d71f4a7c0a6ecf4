"""Processes that work beside a notebook, and end with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any


def worker_pool(count: int, start: Callable[..., None], *args: Any) -> ProcessPoolExecutor:
    """A pool of `count` new processes; each calls `start(*args)` before its first task.

    A worker ends when the process that made the pool does, also where that is killed: nothing is
    left that holds memory or a lock.
    """
    context = get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=_start, initargs=(start, *args))


def _start(start: Callable[..., None], *args: Any) -> None:
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    start(*args)
