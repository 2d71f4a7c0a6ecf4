import json

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
            phantom_gpu, f"run_{step}", lambda step=step: begun.append(step) or step != "tests"
        )
    assert phantom_gpu.main([]) == 1 and begun == list(phantom_gpu.STEPS)
    assert "failed: tests" in capsys.readouterr().err
    assert phantom_gpu.main(["--only", "publish"]) == 0
