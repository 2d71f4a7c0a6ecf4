"""Every benchmark runs, at its smallest size: its numbers mean nothing there, its calls do."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SMALLEST = {
    "bench_cams": "--device cpu --size 64 --threads 1 --repeats 1 --library-channels 1 --bf16",
    "bench_hgi_sam": "--device cpu --network swin_tiny_patch4_window7_224 --batches 1"
    " --precisions fp32 --repeats 1",
    "bench_joint_thresholds": "--scans 2 --slices 8 --size 16 --small-slices 1 --small-size 16",
    "bench_lse_unet": "--slices 1 --batch 1 --size 64",
    "bench_mil": "--slices 2 --repeats 1 --threads 1",
    "bench_scoring": "--cores 1 --slices 4 --size 32 --repeats 1",
    "bench_store": "--scans 1 --slices 2 --copies 2 --repeats 1",
    "bench_training": "--device cpu --size 32 --batch-size 2 --batches 1 --repeats 1 --epochs 2",
}
SAYS = {
    "bench_cams": "27 maps, ours in bfloat16: library",
    "bench_store": "JPEG Lossless: whole build, 1 worker",
    "bench_training": "cuDNN's search on: epochs of",
}


@pytest.fixture
def as_before(monkeypatch):
    """What a benchmark sets for its whole process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    searched = torch.backends.cudnn.benchmark
    exact = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.benchmark = searched
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = exact


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_runs(path, monkeypatch, as_before, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), *SMALLEST[path.stem].split()])
    runpy.run_path(str(path), run_name="__main__")
    assert SAYS.get(path.stem, torch.__version__.split("+")[0]) in capsys.readouterr().out
