import pytest
import torch

from ich_study.errors import ParameterError
from ich_study.inputs.devices import (
    autocast,
    check_precision,
    device_name,
    peak_memory_mib,
    resolve_device,
)

CPU = torch.device("cpu")


def test_cuda_without_cuda_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="sees no CUDA device"):
        resolve_device("cuda")
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    with pytest.raises(ParameterError, match="gpu"):
        resolve_device("gpu")


def test_a_process_without_its_own_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto", 1) == torch.device("cuda", 1)
    with pytest.raises(ParameterError, match="process 2 has no GPU: 2 visible"):
        resolve_device("cuda", 2)


def test_float16_needs_cuda():
    with pytest.raises(ParameterError, match="needs CUDA"):
        check_precision("amp", CPU)
    check_precision("bf16", CPU)


def test_autocast_computes_in_the_precision_asked_for():
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(precision, CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_what_a_run_records():
    assert device_name(CPU) == "cpu"
    assert 10 < peak_memory_mib(CPU) < 1e6
