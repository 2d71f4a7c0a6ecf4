"""Where a model runs and in which precision: exactly as asked, or an error."""

from __future__ import annotations

import resource

import torch
from torch import nn

from ich_study.errors import ParameterError


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


def check_precision(precision: str, device: torch.device) -> None:
    """ParameterError when the device cannot compute in the precision asked for."""
    if precision == "amp" and device.type != "cuda":
        raise ParameterError(
            "precision amp is float16 with loss scaling and needs CUDA; on a CPU choose fp32 or"
            " bf16"
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ParameterError(
            f"precision bf16 is not supported by {torch.cuda.get_device_name(device)}; choose amp"
            " or fp32"
        )


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Context in which the forward pass runs in `precision`."""
    dtype = torch.float16 if precision == "amp" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def wait_for(device: torch.device) -> None:
    """Returns when the device has done all it was asked for, so that a clock tells its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_format(model: nn.Module) -> tuple[torch.memory_format, int]:
    """Channels last as networks over slices have it, or over volumes, and the axes of what it is
    for."""
    if any(parameter.dim() == 5 for parameter in model.parameters()):
        return torch.channels_last_3d, 5
    return torch.channels_last, 4


def placed(model: nn.Module, device: torch.device, channels_last: bool) -> nn.Module:
    """`model` on `device`, its weights laid out for training and for use alike: the memory format
    decides on the order of sums."""
    return model.to(
        device, memory_format=memory_format(model)[0] if channels_last else torch.contiguous_format
    )
