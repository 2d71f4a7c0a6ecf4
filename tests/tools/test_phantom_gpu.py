import json
import sys
import time

import pytest
import torch

from tools import phantom_gpu


def test_throughput_has_each_finished_run_and_how_busy_the_gpu_was(tmp_path):
    for name, seconds in (("00_data", 170.5), ("01_backbones/a", 60.0)):
        (tmp_path / name).mkdir(parents=True)
        content = {"seconds": seconds, "peak_memory_mb": 900.0}
        (tmp_path / name / "run.json").write_text(json.dumps(content))
    found = phantom_gpu.throughput(tmp_path, [40.0, 90.0]).set_index(["what", "unit"])["value"]
    assert found["01_backbones/a", "s"] == 60.0 and found["00_data", "MB of main memory"] == 900.0
    assert found["GPU busy after 00_data", "% of the time"] == 65.0
    assert len(phantom_gpu.throughput(tmp_path, [])) == 4


def test_without_a_gpu_nothing_is_started(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(phantom_gpu.subprocess, "run", None)
    assert phantom_gpu.main([]) == 2 and "no CUDA device" in capsys.readouterr().err


def test_a_failed_step_is_told_and_the_next_begins(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(phantom_gpu, "TARGET", tmp_path)
    begun = []
    for step in phantom_gpu.STEPS:
        monkeypatch.setattr(
            phantom_gpu, f"run_{step}", lambda *_, step=step: begun.append(step) or step != "tests"
        )
    assert phantom_gpu.main([]) == 1 and begun == list(phantom_gpu.STEPS)
    assert "failed: tests" in capsys.readouterr().err
    assert phantom_gpu.main(["--only", "publish"]) == 0


RUNS_ON = """import pathlib, subprocess, sys, time
try:
    if sys.argv[2:]:
        subprocess.run([sys.executable, sys.argv[0], sys.argv[1]])
    pathlib.Path(sys.argv[1], "begun").touch()
    time.sleep(100)
except KeyboardInterrupt:
    tables = list(pathlib.Path(sys.argv[1]).glob("throughput_*.csv"))
    pathlib.Path(sys.argv[1], "ended" + "".join(sys.argv[2:])).write_text(str(len(tables)))
"""


@pytest.fixture
def lent(monkeypatch, tmp_path):
    """A machine with a GPU that is 40 % busy, 00 done on it; figures go to the folder given."""
    (tmp_path / "runs" / "00_data").mkdir(parents=True)
    record = {"seconds": 1.0, "peak_memory_mb": 2.0}
    (tmp_path / "runs" / "00_data" / "run.json").write_text(json.dumps(record))
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 40\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name, value in (("RUNS", tmp_path / "runs"), ("TARGET", tmp_path), ("SAMPLE_S", 0.1)):
        monkeypatch.setattr(phantom_gpu, name, value)
    monkeypatch.setattr(phantom_gpu, "hardware", lambda: "GPU")
    (tmp_path / "study.py").write_text(RUNS_ON)
    return tmp_path


def test_minutes_end_the_study_and_its_runs_in_order_and_the_table_is_there_before(
    lent, monkeypatch, capsys
):
    study = (sys.executable, str(lent / "study.py"), str(lent), "_study")
    monkeypatch.setattr(phantom_gpu, "STUDY", study)
    started = time.monotonic()
    assert phantom_gpu.run_study(minutes=4 / 60)
    assert time.monotonic() - started < 50 and "goes on" in capsys.readouterr().out
    assert (lent / "begun").is_file()
    assert (lent / "ended").read_text() == "1", "the run beneath, with a table before the end"
    assert (lent / "ended_study").is_file()
    assert "GPU busy after 00_data,40.0" in (lent / "throughput_GPU.csv").read_text()


def test_a_study_that_does_not_end_is_killed_and_one_that_fails_is_told(lent, monkeypatch):
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(100)"
    monkeypatch.setattr(phantom_gpu, "STUDY", (sys.executable, "-c", deaf))
    monkeypatch.setattr(phantom_gpu, "ENDS_S", 0.5)
    started = time.monotonic()
    assert phantom_gpu.run_study(minutes=2 / 60) and time.monotonic() - started < 50
    monkeypatch.setattr(phantom_gpu, "STUDY", (sys.executable, "-c", "raise SystemExit(1)"))
    assert not phantom_gpu.run_study()


def test_what_a_study_that_was_ended_left_is_published_without_07(lent, monkeypatch):
    asked = []
    monkeypatch.setattr(phantom_gpu, "publish_small", lambda *folders: asked.append(folders) or [1])
    monkeypatch.setattr(phantom_gpu, "_python", lambda *command: command[2] == "07_figures")
    assert phantom_gpu.run_publish() and asked == [(lent / "runs", lent / "runs/07_figures", lent)]
    (lent / "runs" / "07_figures").mkdir()
    (lent / "runs" / "07_figures" / "run.json").touch()
    assert phantom_gpu.run_publish() and len(asked) == 1
