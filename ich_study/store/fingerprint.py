"""Fingerprint of what a scan is built from: it changes when the scan must be built anew."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_study.datasets.contract import Reader, ScanRef
from ich_study.errors import DataError
from ich_study.hashing import file_mark, sha256_bytes
from ich_study.sources import code_hash

LAYOUT = 3
"""Version of the store's layout on disk; scans of another version are built anew."""
NOT_CONTENT = frozenset({"root", "workers", "findings"})
"""Attributes of a reader that change no scan: where it reads, how fast, what it said."""
_SCALARS = (str, int, float, np.generic)


def plain(value: Any, root: Path) -> Any:
    """`value` as JSON-able content that is equal for equal content, whatever its identity.

    Paths become relative to `root`. Raises DataError for an object without a content of its own.
    """
    if value is None or value is pd.NA or isinstance(value, _SCALARS):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return [plain(item, root) for item in value]
    if isinstance(value, Path):
        try:
            return value.relative_to(root).as_posix()
        except ValueError:
            return value.as_posix()
    if isinstance(value, Mapping):
        return {str(key): plain(item, root) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item, root) for item in value), key=repr)
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.to_csv()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name), root) for item in fields(value)}
    raise DataError(
        f"cannot tell whether a {type(value).__name__} changed: a reader's options and a scan's"
        " details must be plain values"
    )


def reader_options(reader: Reader) -> str:
    """A reader's public attributes as text, apart from those that change no scan (`NOT_CONTENT`),
    and the code that makes scans with it: the reader's, the record's, and all they import."""
    public = {
        name: value
        for name, value in vars(reader).items()
        if not name.startswith("_") and name not in NOT_CONTENT
    }
    options = {name: plain(value, reader.root) for name, value in public.items()}
    kind = type(reader)
    code = code_hash(kind.__module__, "ich_study.store.record")
    content = [kind.__qualname__, reader.name, reader.intensity, options, code]
    return json.dumps(content, sort_keys=True)


def source_marks(
    ref: ScanRef, root: Path, known: Mapping[str, list[Any]] | None = None
) -> dict[str, list[Any]]:
    """Bytes, times and content hash of a scan's files, by their path.

    known: earlier marks. A file whose bytes and times are as they were keeps its hash; the time of
    its last change of any kind is among them, which no program can set back.
    """
    marks: dict[str, list[Any]] = {}
    for path in sorted(ref.files):
        name = plain(path, root)
        try:
            state = path.stat()
            stated = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
            earlier = (known or {}).get(name, [])
            marks[name] = earlier if earlier[:-1] == stated else [*stated, file_mark(path)]
        except OSError:
            marks[name] = ["missing"]
    return marks


def fingerprint(ref: ScanRef, options: str, root: Path, marks: Mapping[str, list[Any]]) -> str:
    """Hash of what a scan is built from: reader and its code, details, and its files' paths and
    content. marks: `source_marks`."""
    files = [[name, mark[-1]] for name, mark in sorted(marks.items())]
    content = [
        LAYOUT,
        options,
        ref.dataset,
        ref.patient_id,
        ref.scan_id,
        files,
        plain(ref.details, root),
    ]
    return sha256_bytes(json.dumps(content, sort_keys=True).encode())
