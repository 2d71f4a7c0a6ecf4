"""Training in several processes through accelerate and fastai's `distrib_ctx`."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate.utils import PrepareForLaunch, patch_environment
from torch.multiprocessing import start_processes

from ich_study.errors import ParameterError
from ich_study.training.config import LoopSettings

if TYPE_CHECKING:
    from ich_study.training.fastai_api import Learner

Item = TypeVar("Item")


def world_size() -> int:
    """Processes that train together: `WORLD_SIZE` of the launcher, else 1."""
    return max(int(os.environ.get("WORLD_SIZE", "1")), 1)


def rank() -> int:
    """Number of this process among them: `RANK` of the launcher, else 0."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Number of this process on its machine: `LOCAL_RANK` of the launcher, else 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def launched() -> bool:
    """Whether a launcher (accelerate, torchrun, or `launch` below) started this process."""
    return "WORLD_SIZE" in os.environ


def launch(function: Callable[..., None], arguments: tuple[Any, ...], config: LoopSettings) -> None:
    """`function(*arguments)`, pickled, in `config.processes` processes of accelerate's, from a
    notebook or a script: on CUDA one per GPU, on the CPU over gloo."""
    on_cpu = config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available())
    visible = 1 if on_cpu else torch.cuda.device_count()
    processes = config.processes or visible
    if not on_cpu and not 0 < processes <= visible:
        raise ParameterError(
            f"distributed training with {processes} processes, but {visible} GPUs are visible; give"
            " each process one"
        )
    with tempfile.TemporaryDirectory() as folder:
        ready = PrepareForLaunch(_numbered, "NO" if on_cpu else "MULTI_GPU", debug=on_cpu)
        more = {"nproc": processes}
        if on_cpu:  # what accelerate's `debug_launcher` says
            more = {
                "accelerate_debug_rdv_file": str(Path(folder) / "rendezvous"),
                "accelerate_use_cpu": "yes",
                "gloo_socket_ifname": "lo",
            }
        _spawn(ready, (function, *arguments), processes, more)


def _spawn(
    ready: PrepareForLaunch, arguments: tuple[Any, ...], processes: int, more: dict[str, Any]
) -> None:
    """Processes that start anew. Those that accelerate forks inherit the locks of the parent's
    threads, and CUDA where an earlier training used it: neither works there. Their port is one that
    no other job of the machine has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with patch_environment(
        world_size=processes,
        master_addr="127.0.0.1",
        master_port=port,
        accelerate_mixed_precision="no",
        **more,
    ):
        start_processes(ready, args=arguments, nprocs=processes, start_method="spawn")


def _numbered(function: Callable[..., None], *arguments: Any) -> None:
    """`function` with `RANK` and `LOCAL_RANK` set, which accelerate's CPU launcher leaves out and
    fastai reads."""
    if torch.distributed.is_initialized():
        os.environ.setdefault("RANK", str(torch.distributed.get_rank()))
        os.environ.setdefault("LOCAL_RANK", os.environ["RANK"])
    function(*arguments)


@contextmanager
def distributed_context(
    learner: Learner, config: LoopSettings, device: torch.device
) -> Iterator[None]:
    """The learner inside fastai's `distrib_ctx` where `config.distributed`, else as it is.

    Our batch samplers already give each process its share in the order of (seed, epoch), so the
    loaders stay as they are: fastai's wrapper would rebuild them without the sampler. Batch
    statistics are synchronised on CUDA; PyTorch has no synchronised batch norm on the CPU.
    """
    if not config.distributed or not launched():
        yield
        return
    with learner.distrib_ctx(sync_bn=device.type == "cuda", cpu=device.type == "cpu"):
        learner.distributed_trainer._wrap_dl = lambda loader: loader
        yield


def gathered(batches: list[Item]) -> list[Item]:
    """What all processes hold, of batches that they took in turns, in the order of the batches."""
    if world_size() == 1 or not torch.distributed.is_initialized():
        return batches
    received: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(received, batches)
    return in_turns(received)


def in_turns(shares: Sequence[Sequence[Item]]) -> list[Item]:
    """The first of each share, then the second of each, until all are empty."""
    longest = max(map(len, shares))
    return [share[turn] for turn in range(longest) for share in shares if turn < len(share)]
