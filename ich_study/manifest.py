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
from pathlib import Path
from typing import Any

import psutil

from ich_study.atomic import write_json
from ich_study.errors import StudyError
from ich_study.hashing import sha256_file

RECORD_NAME = "recorded.json"
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

Hash = str | Path | Mapping[str, str | Path]


def record(
    output_dir: str | os.PathLike[str],
    *,
    data: Hash | None = None,
    split: Hash | None = None,
    weights: Hash | None = None,
    licences: Mapping[str, str] | None = None,
) -> None:
    """Note the hashes of what a notebook reads or writes, for its `run.json`; may be called several
    times.

    licences: of published weights, by their source. Each other argument is a hash (64 hexadecimal
    digits), a file to hash, or a mapping of names to those. Mappings of several calls are merged.
    Raises StudyError on anything else.
    """
    target = Path(output_dir) / RECORD_NAME
    known = recorded(Path(output_dir))
    for kind, content in (("data", data), ("split", split), ("weights", weights)):
        if content is None:
            continue
        if isinstance(content, Mapping):
            earlier = known.get(kind)
            named = {str(name): _hash(each, kind) for name, each in content.items()}
            known[kind] = {**(earlier if isinstance(earlier, dict) else {}), **named}
        else:
            known[kind] = _hash(content, kind)
    if licences:
        known["licences"] = {**known.get("licences", {}), **licences}
    write_json(target, known)


def recorded(output_dir: Path) -> dict[str, Any]:
    """Hashes that the notebook of `output_dir` has recorded so far: `data`, `split`, `weights`,
    where known."""
    source = output_dir / RECORD_NAME
    return json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}


def _hash(content: str | Path, kind: str) -> str:
    if isinstance(content, Path):
        if not content.is_file():
            raise StudyError(f"cannot hash {kind}: {content} is not a file")
        return sha256_file(content)
    if not re.fullmatch(r"[0-9a-f]{64}", content):
        raise StudyError(
            f"{kind} hash must be 64 hexadecimal digits or a Path, found {content!r:.80}"
        )
    return content


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the packages that numbers depend on, where
    installed."""
    found = {"python": platform.python_version()}
    for name in ("ich_study", *KEY_PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(root: Path) -> dict[str, Any]:
    """Commit of the checkout at `root` and whether tracked or unignored files differ from it; None
    where unknown."""
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    return _answer("git", "-C", str(root), *arguments)


def _answer(*command: str) -> str | None:
    """Standard output of a command, stripped, or None where it is not installed or fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory (MB, 2**20 bytes), graphics cards (name,
    memory), system."""
    affinity = getattr(os, "sched_getaffinity", None)
    cards = _answer("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
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
        files = [path for path in files if path.relative_to(folder).as_posix() not in skip]
        relative = Path(parent).relative_to(folder).as_posix()
        if len(files) > FOLDER_LIMIT and relative != ".":
            entries.append(_folder(files, f"{relative}/", since))
        else:
            entries += [_output(path, folder, since) for path in files]
    return sorted(entries, key=lambda entry: entry["path"])


def _folder(files: list[Path], name: str, since: float) -> dict[str, Any]:
    states = [path.stat() for path in files]
    reused = all(state.st_mtime < since for state in states)
    return {
        "path": name,
        "files": len(files),
        "bytes": sum(state.st_size for state in states),
        "reused": reused,
    }


def _output(path: Path, folder: Path, since: float) -> dict[str, Any]:
    state = path.stat()
    sha256 = sha256_file(path) if state.st_size <= HASH_LIMIT_BYTES else None
    return {
        "path": path.relative_to(folder).as_posix(),
        "bytes": state.st_size,
        "sha256": sha256,
        "reused": state.st_mtime < since,
    }


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
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=$|[^\w.-])", "~", text) if len(home) > 1 else text
