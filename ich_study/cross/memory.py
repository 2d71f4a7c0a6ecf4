"""What a computation takes of memory, beyond what the process held before it."""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Self

import psutil
import torch

SECONDS_BETWEEN_LOOKS = 0.005
"""Torch frees what a layer needed after milliseconds; a shorter peak than this may be missed."""


class PeakMemory:
    """The most memory that its `with` blocks took, each beyond what was held before it; `mib`.

    Of the GPU's allocator where this process uses one as a block begins, else resident memory,
    looked at every SECONDS_BETWEEN_LOOKS. What freed memory the allocator still held is given back
    first (glibc), so that a method is not cheaper because another ran before it.
    """

    mib: float = 0.0

    def __enter__(self) -> Self:
        self._ended, self._process = threading.Event(), psutil.Process()
        # a block that begins on the CPU is measured there, even where it then turns to a GPU
        self._on_gpu = torch.cuda.is_initialized()
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        self._most = self._before = self._process.memory_info().rss
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._on_gpu:
            self._most = torch.cuda.max_memory_allocated()
        else:
            self._ended.set()
            self._watch.join()
        self.mib = max(self.mib, (self._most - self._before) / 2**20)

    def _look(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(SECONDS_BETWEEN_LOOKS)
            self._most = max(self._most, self._process.memory_info().rss)
