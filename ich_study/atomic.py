"""Writing files so that a kill or a full disk leaves the old file or the new one, never half."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic_path(target: Path, sync: bool = True) -> Iterator[Path]:
    """A temporary path beside `target` that replaces it when the block ends without an error.

    The temporary name keeps the suffix of `target`, because savers choose a format by it. sync:
    wait until the content is on the disk, so that not even a loss of power leaves half of it;
    without, only kills and errors are covered, which is for files that tell themselves whether they
    are whole.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, busy: Exception) -> Iterator[None]:
    """Hold the lock of a file, which the system gives back when the process ends, however it does.

    Raises `busy` where another process holds it. A file system that has no locks is named on
    standard error, and the work goes on.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        except OSError as error:
            print(
                f"warning: the file system of {path} has no locks ({error.strerror}); start nothing"
                f" else that writes into {path.parent}",
                file=sys.stderr,
            )
        yield


def write_text(target: Path, text: str, sync: bool = True) -> None:
    """`text` as UTF-8 into `target`, atomically. sync: see `atomic_path`."""
    with atomic_path(target, sync) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, content: object) -> None:
    """`content` as readable, key-sorted JSON into `target`, atomically."""
    write_text(target, json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")


def write_csv(target: Path, frame: pd.DataFrame) -> None:
    """`frame` without its row index as CSV into `target`, atomically."""
    with atomic_path(target) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def write_parquet(target: Path, frame: pd.DataFrame) -> None:
    """`frame` without its row index as Parquet into `target`, atomically."""
    with atomic_path(target) as temporary:
        frame.to_parquet(temporary, index=False)
