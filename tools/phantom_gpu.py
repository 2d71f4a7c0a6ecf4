"""The scale `phantom-gpu` on a machine with a GPU, in one command: `make phantom-gpu`.

In turn: the study with four runs on the card at once, with `throughput_<GPU>.csv`: seconds and
memory of each run, and the share of the time after 00 in which the GPU was busy; its small tables
and pictures into `figures/phantom-gpu`; the tests marked `gpu`; `benchmarks/`. A step that fails is
told, and the next one begins; called again, the study goes on where it was. For a machine that is
lent for minutes, `--minutes` ends the study in time, and what has finished is published; `--only`
names steps. Exit codes: 0 done, 1 a step failed, 2 no GPU here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from ich_study.atomic import write_csv
from ich_study.manifest import RUN_NAME
from ich_study.published.publish import publish_small

ROOT = Path(__file__).resolve().parents[1]
RUNS, TARGET = ROOT / "runs" / "phantom-gpu", ROOT / "figures" / "phantom-gpu"
CUDA = ("--device", "cuda")
BENCHMARKS = {
    "bench_cams": (*CUDA, "--bf16", "--images", "8"),
    "bench_hgi_sam": (*CUDA, "--batches", "1", "8", "32"),
    "bench_lse_unet": CUDA,
    "bench_training": (
        *(*CUDA, "--network", "tf_efficientnetv2_s", "--size", "512"),
        *("--batch-size", "32", "--epochs", "2", "--workers", "8"),
    ),
    "bench_scoring": CUDA,
}
"""Options that give a GPU enough to do."""
STEPS = ("study", "publish", "tests", "benchmarks")
AT_ONCE = 4
"""Runs that share the card; resources.yaml gives each four cores."""
CORES = str(torch.multiprocessing.cpu_count())
SHARED = ("--resources", f"gpu={AT_ONCE}", "--config", "scale=phantom-gpu")
STUDY = (sys.executable, "-m", "snakemake", "-c", CORES, *SHARED)
ENDS_S = 60.0
"""What the runs have to end in order before they are killed."""
SAMPLE_S = 2.0


class Utilisation(threading.Thread):
    """Shares of time in which the GPU was busy, per cent, since the end of 00, as nvidia-smi says
    them. At each the table is written anew, for a machine may be taken away."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self._done = threading.Event()

    def run(self) -> None:
        """Asks until `finish`."""
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._done.wait(SAMPLE_S):
            if (RUNS / "00_data" / "run.json").is_file():
                said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
                self.samples += [float(each) for each in said.split()[:1]]
                write_throughput(self.samples)

    def finish(self) -> None:
        """Ends the sampling."""
        self._done.set()
        self.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--minutes", type=float, help="after which the study is ended")
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no CUDA device: this scale needs one", file=sys.stderr)
        return 2
    TARGET.mkdir(parents=True, exist_ok=True)
    limit = {"study": (asked.minutes,)}
    failed = [step for step in asked.only if not globals()[f"run_{step}"](*limit.get(step, ()))]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def run_tests() -> bool:
    """The tests that need a GPU."""
    return _python("-m", "pytest", "-m", "gpu", "tests/gpu")


def run_benchmarks() -> bool:
    """Each benchmark, what it prints in `figures/phantom-gpu`."""
    done = []
    for name, options in BENCHMARKS.items():
        command = [sys.executable, f"benchmarks/{name}.py", *options]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(found.stdout + found.stderr)
        (TARGET / f"{name}_{hardware()}.txt").write_text(found.stdout)
        done.append(found.returncode == 0)
    return all(done)


def run_study(minutes: float | None = None) -> bool:
    """All notebooks of the scale, or as many as end within `minutes`, and how fast they were."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of nohup inherits that none is
    busy = Utilisation()
    busy.start()
    study = subprocess.Popen(STUDY, cwd=ROOT, start_new_session=True)
    try:
        return study.wait(minutes and 60 * minutes) == 0
    except subprocess.TimeoutExpired:
        print(f"the study was ended after {minutes:g} minutes; called again, it goes on")
        return True
    finally:
        _end(study)
        busy.finish()
        write_throughput(busy.samples)


def _end(study: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does: Snakemake starts nothing more, and each of its runs ends in order."""
    if study.poll() is not None:
        return
    os.killpg(study.pid, signal.SIGINT)
    try:
        study.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        os.killpg(study.pid, signal.SIGKILL)
        study.wait()


def run_publish() -> bool:
    """The small tables and pictures, by 07 as at every scale; of a study that has not come to its
    end, what its runs left."""
    if not (RUNS / "07_figures" / RUN_NAME).is_file():
        return bool(publish_small(RUNS, RUNS / "07_figures", TARGET))
    parameters = "params/phantom-gpu/07_figures.yaml"
    run = ("-m", "ich_study.run", "07_figures", "-f", parameters)
    return _python(*run, "-p", "publish_dir", "figures/phantom-gpu")


def write_throughput(busy: Sequence[float]) -> None:
    """The table of what has finished so far."""
    write_csv(TARGET / f"throughput_{hardware()}.csv", throughput(RUNS, busy))


def throughput(runs: Path, busy: Sequence[float]) -> pd.DataFrame:
    """What each finished run took: `what, value, unit`, and how busy the GPU was, where that is
    known."""
    rows = []
    for record in sorted(runs.rglob("run.json")):
        run, content = record.parent.relative_to(runs).as_posix(), json.loads(record.read_text())
        rows.append((run, content["seconds"], "s"))
        rows.append((run, content["peak_memory_mb"], "MB of main memory"))
    if busy:
        share = sum(busy) / len(busy)
        rows.append(("GPU busy after 00_data", round(share, 1), "% of the time"))
    return pd.DataFrame(rows, columns=["what", "value", "unit"])


def hardware() -> str:
    r"""The GPU as part of a file's name.

    >>> re.sub(r"\W+", "_", "NVIDIA H200")
    'NVIDIA_H200'
    """
    return re.sub(r"\W+", "_", torch.cuda.get_device_name(0))


def _python(*arguments: str) -> bool:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
