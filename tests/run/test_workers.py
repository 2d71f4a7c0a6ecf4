"""Workers hold what they were started with, and end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from ich_study.run.workers import worker_pool

HELD = []


def hold(value):
    HELD.append(value)


def held(_):
    return HELD


def test_each_worker_is_started_before_its_first_task():
    with worker_pool(2, hold, "builder") as pool:
        assert list(pool.map(held, range(3))) == [["builder"]] * 3


CHILD = """
import time
from concurrent.futures import wait
from ich_study.run.workers import worker_pool
from tests.run.test_workers import hold
if __name__ == "__main__":
    pool = worker_pool(1, hold, 1)
    future = pool.submit(time.sleep, 600)
    while not future.running():
        time.sleep(0.05)
    print("working", flush=True)
    time.sleep(600)
"""


def test_no_worker_outlives_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout.readline() == b"working\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
    gone = time.monotonic() + 30
    while any(worker.is_running() for worker in workers) and time.monotonic() < gone:
        time.sleep(0.1)
    assert workers and not any(
        worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers
    )
