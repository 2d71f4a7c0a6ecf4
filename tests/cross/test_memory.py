"""What a block takes counts, also what it gives back before its end; what was there does not."""

from __future__ import annotations

import time

import numpy as np
import torch

from ich_study.cross.memory import PeakMemory


def test_what_a_block_takes_counts_and_what_was_there_does_not():
    there = np.ones(200 * 2**17)  # 200 MiB
    peak = PeakMemory()
    with peak:
        time.sleep(0.02)
    assert peak.mib < 50
    with peak:
        taken = np.ones(100 * 2**17)
        time.sleep(0.02)
        del taken
    assert 80 < peak.mib < 150
    with peak:  # the most of all blocks stays
        time.sleep(0.02)
    assert 80 < peak.mib < 150 and there[0] == 1


def test_a_block_that_turns_to_a_gpu_on_its_way_ends_as_it_began(monkeypatch):
    peak = PeakMemory()
    with peak:
        taken = np.ones(100 * 2**17)
        time.sleep(0.02)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert 80 < peak.mib < 150 and taken[0] == 1
    assert not peak._watch.is_alive()
