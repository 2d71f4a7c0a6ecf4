"""One notebook in a kernel of its own, through papermill: progress, peak memory, time limit, and
how it ended.

The kernel is always this interpreter and imports this `ich_study`, whatever kernels are installed
on the machine and whatever name a notebook carries. Memory is the sum of the resident memory of the
kernel and of all its children, in MB of 2**20 bytes, so pages they share count more than once.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
from traitlets.config import Config

from ich_study.errors import RUN_LOG
from ich_study.manifest import HEADLESS
from ich_study.run.progress import Progress, without_bars


@contextmanager
def _unknown(package: str) -> Iterator[None]:
    """Inside, `package` cannot be imported."""
    absent = package not in sys.modules
    sys.modules.setdefault(package, None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if absent:
            del sys.modules[package]


# jsonschema, which checks notebooks for papermill, takes three seconds to build a grammar of
# addresses with this package; it does without, and no notebook's format asks for the check
with _unknown("rfc3987_syntax"):
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
    from papermill.exceptions import PapermillExecutionError

KERNEL_NAME = "python3"
ENGINE_NAME = "ich_study"
SAMPLE_SECONDS = 0.25
OUTPUT_SECONDS = 300
"""How long a finished cell's last output may take to arrive; nbclient's own 4 seconds end good runs
on a machine that is busy with others."""
LONGEST_TMPDIR = 60
FULL_BYTES = 2**24
"""With less space left a kernel that dies has died of that: writing into a mapped file has no other
way to fail."""
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def _heading(cells: list[Any], index: int) -> str:
    """The last markdown heading above a cell, or the cell's first line."""
    texts = [cell.source for cell in cells[:index] if cell.cell_type == "markdown"]
    for line in reversed("\n".join(texts).splitlines()):
        if line.startswith("#"):
            return line.lstrip("# ")
    return next(iter(cells[index].source.splitlines()), "")


@dataclass
class _Where:
    """The cell that runs, for the record of a run that ends in it."""

    progress: Progress
    cell: int | None = None
    source: str = ""

    def start(self, cells: list[Any], index: int) -> None:
        self.cell, self.source = index, cells[index].source
        if cells[index].cell_type == "code":
            self.progress.say(f"cell {index + 1}/{len(cells)}: {_heading(cells, index)}")

    def error(self, kind: str, message: str) -> dict[str, Any]:
        place = {"cell": self.cell, "source": self.source}
        return {**place, "type": kind, "message": message, "traceback": []}


class _Client(PapermillNotebookClient):
    """papermill's own client; progress bars go to the log and not into the executed notebook."""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        content = msg["content"]
        if msg["msg_type"] == "stream" and content["name"] == "stderr":
            kept = without_bars(content["text"])
            if kept != content["text"]:
                self.stderr_file.write(content["text"])
                content["text"] = kept
            if not kept:
                return None
        return super().process_message(msg, cell, cell_index)


class _Engine(NBClientEngine):
    """papermill's own engine, which also says which cell runs, and lets the kernel itself write
    into the log."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **kwargs: Any
    ) -> Any:
        where: _Where = kwargs.pop("where")
        start = nb_man.cell_start

        def cell_start(cell: Any, cell_index: int, **options: Any) -> None:
            where.start(nb_man.nb.cells, cell_index)
            start(cell, cell_index, **options)

        nb_man.cell_start = cell_start
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            log=logging.getLogger("papermill"),
            config=kwargs["config"],
            startup_timeout=kwargs["start_timeout"],
            iopub_timeout=OUTPUT_SECONDS,
            stdout_file=where.progress,
            stderr_file=where.progress,
        )
        with where.progress.log.open("ab") as log:
            return client.execute(stdout=log, stderr=log)


papermill_engines.register(ENGINE_NAME, _Engine)


class _Watch(threading.Thread):
    """Samples the memory of the processes below this one, and ends them when `stopped` says why."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.stopped: str | None = None
        self._deadline = time.monotonic() + timeout if timeout else None
        self._before = {*psutil.Process().children(recursive=True)}
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(
                self.peak_bytes, sum(_resident(child) for child in self._kernels())
            )
            if self._deadline and time.monotonic() > self._deadline:
                self.stopped = self.stopped or "timeout"
            if self.stopped:
                self.end_kernels()

    def finish(self) -> None:
        self._done.set()
        self.join()

    def end_kernels(self) -> None:
        for child in self._kernels():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def _kernels(self) -> set[psutil.Process]:
        return {*psutil.Process().children(recursive=True)} - self._before


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


@contextmanager
def _kernel_environment(log: Path) -> Iterator[Config]:
    """Environment in which `python3` is this interpreter with this package, and no user's start-up
    files are read.

    Gives the kernel manager's settings: sockets in a private folder, so that there is no port for
    two jobs to fight over, and none that other users of the machine can reach.
    """
    with tempfile.TemporaryDirectory(prefix="ich-kernel-", dir=_short_folder()) as folder:
        spec = Path(folder) / "kernels" / KERNEL_NAME
        spec.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"})
        )
        package = str(Path(__file__).resolve().parents[2])
        changes = {
            "JUPYTER_PATH": _prepended(folder, "JUPYTER_PATH"),
            "PYTHONPATH": _prepended(package, "PYTHONPATH"),
            "JUPYTER_RUNTIME_DIR": str(Path(folder) / "runtime"),
            "IPYTHONDIR": str(Path(folder) / "ipython"),
            HEADLESS: "1",
            RUN_LOG: str(log),
            # a debugger that nobody attaches to says so at every start
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            # pictures belong into the executed notebook, whatever the shell asks for
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        if not _has_home():
            changes["HOME"] = folder
        with patch.dict(os.environ, changes):
            yield Config(
                {"KernelManager": {"transport": "ipc", "ip": str(Path(folder) / "kernel")}}
            )


def _has_home() -> bool:
    """Whether the user has a home folder; one whom the system does not know by name may have none,
    and Jupyter stops there."""
    return os.path.expanduser("~") != "~"  # noqa: PTH111 - `Path.home` raises where there is none


def _short_folder() -> str | None:
    """A folder whose sockets have names the system takes (some 100 letters): the usual one for
    temporary files where its name is short enough, else the system's."""
    return None if len(tempfile.gettempdir()) <= LONGEST_TMPDIR else "/tmp"


def _prepended(path: str, variable: str) -> str:
    return os.pathsep.join(filter(None, (path, os.environ.get(variable))))


@contextmanager
def _signals_stop(watch: _Watch) -> Iterator[None]:
    """Ctrl-C, a closed terminal, and SIGTERM as clusters and Snakemake send it, end the kernel, so
    that the run ends in order."""

    def stop(_signal: int, _frame: object) -> None:
        watch.stopped = watch.stopped or "interrupted"

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _papermills_log(progress: Progress) -> Iterator[None]:
    """What papermill and Jupyter's client report goes to the log, and not to the terminal."""
    logger, handler = logging.getLogger("papermill"), logging.StreamHandler(progress)
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def execute(
    notebook: Path,
    target: Path,
    values: dict[str, Any],
    progress: Progress,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Run `notebook` with parameters `values`, writing the executed notebook to `target` as it
    goes; how it ended: `status` (ok, failed, timeout or interrupted), `error` (where and why),
    `seconds` and `peak_memory_mb`.

    `timeout` is for the whole run, in seconds. Never raises for what the notebook does: a failing
    cell, a kernel that dies, the time limit and Ctrl-C are in its end, and `target` holds what
    had run until then. The kernel starts in the notebook's folder, as in JupyterLab.
    """
    where, watch, failure = _Where(progress), _Watch(timeout), None
    reasons = {
        "timeout": f"not finished after {timeout or 0:g} s (--timeout)",
        "interrupted": "ended by Ctrl-C, SIGTERM or a closed terminal",
    }
    with (
        _kernel_environment(progress.log) as settings,
        _signals_stop(watch),
        _papermills_log(progress),
    ):
        watch.start()
        try:
            papermill.execute_notebook(
                notebook,
                target,
                parameters=values,
                kernel_name=KERNEL_NAME,
                language="python",
                engine_name=ENGINE_NAME,
                progress_bar=False,
                where=where,
                config=settings,
                cwd=notebook.parent,
            )
        except PapermillExecutionError as error:
            failure = _cell_error(error)
        except DeadKernelError:
            failure = where.error("DeadKernel", _death(watch, target.parent))
        except Exception as error:
            failure = where.error(type(error).__name__, str(error))
        finally:
            watch.end_kernels()
            watch.finish()
    status = "failed" if failure else "ok"
    if failure and watch.stopped:
        status = watch.stopped
        failure = where.error(status.capitalize(), reasons[status])
    seconds = round(time.monotonic() - progress.started, 3)
    peak = round(watch.peak_bytes / 2**20, 1)
    return {"status": status, "error": failure, "seconds": seconds, "peak_memory_mb": peak}


def _cell_error(error: PapermillExecutionError) -> dict[str, Any]:
    where = {"cell": error.cell_index, "source": error.source, "type": error.ename}
    trace = _ANSI.sub("", "\n".join(error.traceback)).splitlines()
    return {**where, "message": _ANSI.sub("", error.evalue), "traceback": trace}


def _death(watch: _Watch, folder: Path) -> str:
    if shutil.disk_usage(folder).free < FULL_BYTES:
        return f"the kernel died: the disk of {folder} is full"
    peak, total = watch.peak_bytes / 2**20, psutil.virtual_memory().total / 2**20
    return (
        f"the kernel died: killed, crashed or out of memory (it held up to {peak:.0f} MB of this"
        f" machine's {total:.0f} MB)"
    )
