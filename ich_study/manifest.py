"""What a run leaves behind for the next reader: hashes of what went in, versions, hardware,
outputs.

A notebook calls `record` with the hashes it checked; the runner folds them, with everything below,
into `run.json`. Nothing here names the machine or its user: no host name, no home folder.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ich_study.atomic import write_json
from ich_study.errors import RunError, StudyError, first_of
from ich_study.hashing import sha256_file
from ich_study.paths import resolve

RECORD_NAME = "recorded.json"
RUN_NAME = "run.json"
FAILED_NAME = "run-failed.json"
"""What `run.json` would be of a run that has begun and not ended, or failed: Snakemake deletes the
output of a failed job, and this is not one."""
EARLIER_NAME = "run-earlier.json"
LOG_NAME = "run.log"
"""What notebook, kernel and papermill say while a run runs, and tracebacks."""
HEADLESS = "ICH_STUDY_HEADLESS"
"""Set by the runner, which keeps the record; then an executed copy holds pictures, not sliders that
nobody can move."""
UNCHECKED = frozenset({".ipynb", ".npy"})
"""Outputs whose change is none of the run's results: an executed notebook, which JupyterLab saves
when someone looks at it, and arrays, which store and map archive check on their own."""
HASH_LIMIT_BYTES = 256 * 2**20
"""Larger outputs are listed with their size and without a hash; the store has content hashes of its
own."""
FOLDER_LIMIT = 100
"""A folder with more files than this is listed as one output, with their number and their bytes."""
KEY_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "fastai",
    "accelerate",
    "safetensors",
    "monai",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "scikit-image",
    "scikit-learn",
    "pydicom",
    "python-gdcm",
    "nibabel",
    "matplotlib",
    "papermill",
    "ipykernel",
)

Hashes = Mapping[str, str | Path]


def record(
    output_dir: str | os.PathLike[str],
    *,
    data: Hashes | None = None,
    split: Hashes | None = None,
    weights: Hashes | None = None,
    licences: Mapping[str, str] | None = None,
) -> None:
    """Note the hashes of what a notebook reads or writes, for its `run.json`; may be called several
    times.

    licences: of published weights, by their source. Each other argument holds by name hashes (64
    hexadecimal digits), or Paths to hash, relative to the project's folder. What several calls give
    is merged. Raises StudyError on anything else.
    """
    folder = Path(output_dir)
    known = recorded(folder)
    for kind, content in (("data", data), ("split", split), ("weights", weights)):
        if content is not None:
            hashes = {name: _hash(each, kind) for name, each in content.items()}
            known[kind] = {**known.get(kind, {}), **hashes}
    if licences:
        known["licences"] = {**known.get("licences", {}), **licences}
    write_json(folder / RECORD_NAME, known)


def begin(output_dir: Path) -> None:
    """Set an earlier run's record aside, as `EARLIER_NAME`, before its outputs are written over.

    The runner has done so already; a notebook under plain papermill or in JupyterLab does it by
    this, so that no record speaks of what nobody recorded.
    """
    if HEADLESS in os.environ:
        return
    for name in (FAILED_NAME, RUN_NAME):
        if (output_dir / name).is_file():
            (output_dir / name).replace(output_dir / EARLIER_NAME)


def recorded(output_dir: Path) -> dict[str, Any]:
    """Hashes that the notebook of `output_dir` has recorded so far: `data`, `split`, `weights`,
    where known."""
    source = output_dir / RECORD_NAME
    return json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}


def _hash(content: str | Path, kind: str) -> str:
    if isinstance(content, Path):
        content = resolve(content)
        if not content.is_file():
            raise StudyError(f"cannot hash {kind}: {content} is not a file")
        return sha256_file(content)
    if not re.fullmatch(r"[0-9a-f]{64}", content):
        raise StudyError(
            f"{kind} hash must be 64 hexadecimal digits or a Path, found {content!r:.80}"
        )
    return content


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a run: `run.json`, else what a run that did not end well left, else empty."""
    for name in (RUN_NAME, FAILED_NAME):
        with suppress(OSError, ValueError):
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            return content if isinstance(content, dict) else {}
    return {}


def run_problem(folder: Path) -> str | None:
    """What is wrong with the run in `folder`, a sentence with the file, or None.

    A run is sound whose `run.json` says ok and whose outputs are what it wrote. None, too, for a
    folder without any record, as plain papermill and JupyterLab leave it.
    """
    path, failed = folder / RUN_NAME, folder / FAILED_NAME
    if not path.is_file():
        if not failed.is_file():
            return None
        path = failed
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        status, entries = content["status"], content.get("outputs", [])
        if status != "ok":
            return f"{path}: the run is not finished, its status is {status!r}"
        changed = [entry["path"] for entry in entries if _changed(folder, entry)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{path} is damaged ({type(error).__name__}: {error})"
    if changed:
        return f"{path}: changed since the run: {first_of(changed, 3)}"
    return None


def _changed(folder: Path, entry: Mapping[str, Any]) -> bool:
    """Whether an output is gone or has another content than the run wrote."""
    path = folder / entry["path"]
    if path.suffix in UNCHECKED or entry.get("sha256") is None:
        return not path.exists()
    same_size = path.is_file() and path.stat().st_size == entry["bytes"]
    return not same_size or sha256_file(path) != entry["sha256"]


def check_run(folder: Path, notebook: str | None = None) -> None:
    """RunError with the command that makes the run where there is none, or anew where
    `run_problem` finds one, or where it is of another notebook than is wanted."""
    if not folder.is_dir():
        raise RunError(missing_run(folder))
    problem = run_problem(folder)
    if problem is not None:
        raise RunError(f"{problem}. Make it anew: {repeat_command(folder)}")
    found = read_record(folder).get("notebook")
    if None not in (notebook, found) and found != notebook:
        raise RunError(
            f"expected a run of {notebook} in {folder}, found one of {found}; correct the path"
        )


def missing_run(folder: Path, notebook: str | None = None) -> str:
    """The sentence for a run, of this notebook where one knows, that is to be read and is not
    there."""
    command = repeat_command(folder, notebook)
    return f"expected a finished run in {folder}, found nothing; make it: {command}"


def repeat_command(folder: Path, notebook: str | None = None) -> str:
    """The command that made the run in `folder`, or that the names of the folders speak of; else
    one of the notebook's defaults, which says what to fill in where that is not known either."""
    command = read_record(folder).get("command")
    if command is not None:
        return str(command)
    names = [bool(re.fullmatch(r"\d\d_\w+", part)) for part in folder.parts]
    for place, part in enumerate(folder.parts[:-2]):
        if part == "runs" and names[place + 2]:
            scale, notebook, *arms = folder.parts[place + 1 :]
            arm = "".join(f" -f params/{scale}/{notebook}/{each}.yaml" for each in arms[:1])
            return f"python -m ich_study.run {notebook} -f params/{scale}/{notebook}.yaml{arm}"
    named = [part for part, known in zip(folder.parts, names) if known]
    notebook = named[-1] if named else notebook or "<notebook>"
    return f"python -m ich_study.run {notebook} -p output_dir {folder}"


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the packages that numbers depend on, where
    installed."""
    found = {"python": platform.python_version()}
    for name in ("ich_study", *KEY_PACKAGES):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_state(root: Path) -> dict[str, Any]:
    """Commit of the checkout at `root` and whether tracked or unignored files differ from it; where
    they are unknown None, with the reason under `unknown`."""
    # a checkout of another user's is read as well: nothing of it is run
    git = ("git", "-c", f"safe.directory={root}", "-C", str(root))
    commit, why = _answer(*git, "rev-parse", "HEAD")
    changes, _ = _answer(*git, "status", "--porcelain")
    state = {"commit": commit, "dirty": None if changes is None else bool(changes)}
    return state if commit else {**state, "unknown": why}


def _answer(*command: str) -> tuple[str | None, str]:
    """Standard output of a command, stripped, or None where it is not installed or fails, and
    why."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{command[0]} does not run: {error}"
    failure = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
    return (done.stdout.strip(), "") if done.returncode == 0 else (None, failure)


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory (MB, 2**20 bytes), graphics cards (name,
    memory), system."""
    affinity = getattr(os, "sched_getaffinity", None)
    cards, _ = _answer("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return {
        "cpu": _cpu_name(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "memory_mb": round(psutil.virtual_memory().total / 2**20),
        "gpus": cards.splitlines() if cards else [],
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def outputs(
    folder: Path, skip: frozenset[str] = frozenset(), since: float = 0.0
) -> list[dict[str, Any]]:
    """Files under `folder`, sorted: path (relative), bytes, sha256; temporary (dot) files and
    `skip` left out.

    `reused` says that a file was last written before `since` (seconds since the epoch), by an
    earlier run. A folder of more than `FOLDER_LIMIT` files is one entry with `files` and `bytes`; a
    file over `HASH_LIMIT_BYTES` has `sha256` None.
    """
    entries: list[dict[str, Any]] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [Path(parent) / name for name in sorted(names) if not name.startswith(".")]
        named = {path.relative_to(folder).as_posix(): path for path in files}
        sizes = {name: path.stat().st_size for name, path in named.items() if name not in skip}
        reused = {name: named[name].stat().st_mtime < since for name in sizes}
        if len(sizes) > FOLDER_LIMIT and Path(parent) != folder:
            name, size = f"{Path(parent).relative_to(folder).as_posix()}/", sum(sizes.values())
            whole = {"files": len(sizes), "bytes": size, "reused": all(reused.values())}
            entries.append({"path": name, **whole})
            continue
        for name, size in sizes.items():
            sha256 = sha256_file(named[name]) if size <= HASH_LIMIT_BYTES else None
            entry = {"path": name, "bytes": size, "sha256": sha256, "reused": reused[name]}
            entries.append(entry)
    return sorted(entries, key=lambda entry: entry["path"])


def anonymous(content: Any, root: Path) -> Any:
    """`content` with paths under `root` made relative and the home folder, which names the user, as
    `~`, in every text."""
    if isinstance(content, dict):
        return {key: anonymous(each, root) for key, each in content.items()}
    if isinstance(content, list | tuple):
        return [anonymous(each, root) for each in content]
    if not isinstance(content, str):
        return content
    text = content.replace(f"{root}{os.sep}", "")
    home = os.path.expanduser("~")  # noqa: PTH111 - `Path.home` fails where the user has none
    return re.sub(rf"{re.escape(home)}(?=$|[^\w.-])", "~", text) if len(home) > 1 else text
