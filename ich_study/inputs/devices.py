"""Where a model runs and in which precision: exactly as asked, or an error."""

from __future__ import annotations

import resource

import torch

from ich_study.errors import ParameterError
from ich_study.training.config import TrainingConfig
from ich_study.training.fastai_api import MixedPrecision


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """Device "cpu", "cuda" or "auto"; ParameterError when CUDA is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if name != "cuda":
        raise ParameterError(f"device is {name!r}; expected cpu, cuda or auto")
    if not torch.cuda.is_available():
        raise ParameterError(
            "device is cuda, but PyTorch sees no CUDA device; set device to cpu, or to auto to take"
            " what there is"
        )
    if local_rank >= torch.cuda.device_count():
        raise ParameterError(
            f"process {local_rank} has no GPU: {torch.cuda.device_count()} visible; start fewer"
            " processes"
        )
    return torch.device("cuda", local_rank)


def device_name(device: torch.device) -> str:
    """What a run records of its device."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process in MiB: of the GPU's allocator, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def check_precision(config: TrainingConfig, device: torch.device) -> None:
    """ParameterError when the device cannot compute in the precision asked for."""
    if config.precision == "amp" and device.type != "cuda":
        raise ParameterError(
            "precision amp is float16 with loss scaling and needs CUDA; on a CPU choose fp32 or"
            " bf16"
        )
    if config.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ParameterError(
            f"precision bf16 is not supported by {torch.cuda.get_device_name(device)}; choose amp"
            " or fp32"
        )


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Context in which the forward pass runs in `precision`."""
    dtype = torch.float16 if precision == "amp" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


class Precision(MixedPrecision):
    """fastai's mixed precision on the model's own device; it autocasts for CUDA alone."""

    def __init__(self, precision: str, device: torch.device) -> None:
        super().__init__("fp16" if precision == "amp" else "bf16")
        self._precision, self._on = precision, device

    def before_fit(self) -> None:
        """Fresh autocast and, for float16, a fresh loss scaler (a resumed run then restores it)."""
        self.autocast, self.scales = autocast(self._precision, self._on), []
        self.learn.scaler = torch.amp.GradScaler(self._on.type, enabled=self._precision == "amp")
