"""What is asked of a file before it is opened, and of a size before it is unpacked."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pandas import DataFrame
from pyarrow import csv

from ich_study.errors import DataError
from ich_study.hashing import sha256_file

MAX_BYTES = 2**30
"""Largest content of one file, unpacked: 2,048 slices of 512 x 512 in 16 bits. A small compressed
file can state any size."""
SUMS_NAME = "SHA256SUMS.txt"
"""Checksums beside tables, as PhysioNet ships them and `sha256sum *.csv` writes them."""
_MOST_COLUMNS = 512


def require_file(path: Path, expected: str) -> None:
    """Raises DataError where `path` is absent, no regular file (reading a named pipe never ends),
    or too large."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path} does not exist ({error.strerror}); expected {expected}") from error
    if not stat.S_ISREG(state.st_mode):
        raise DataError(f"{path}: is a folder, pipe or device; expected {expected}. Move it away")
    require_room(path, state.st_size)


def require_room(path: Path, size: float, limit: int | None = None) -> None:
    """Raises DataError where what `path` holds is `size` bytes, unpacked, and that is more than
    `limit` (default: `MAX_BYTES`)."""
    most = MAX_BYTES if limit is None else limit
    if size > most:
        raise DataError(
            f"{path}: unpacked it is {size / 2**20:.5g} MiB or more; expected at most"
            f" {most / 2**20:g} MiB for a head CT. Fetch it again; if it is one, crop or resample"
            " it"
        )


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """The object of a JSON file. Raises DataError where there is none."""
    require_file(path, expected)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); expected {expected}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; expected {expected}")
    return content


def stated_sum(path: Path) -> str | None:
    """SHA-256 of a file by the checksums beside it; None where there are none of it."""
    sums = path.parent / SUMS_NAME
    if not sums.is_file():
        return None
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        stated, _, name = line.partition(" ")
        if name.lstrip(" *").removeprefix("./") == path.name:
            return stated.lower()
    return None


def read_table(path: Path, columns: Sequence[str], remedy: str) -> DataFrame:
    """A CSV as text without blanks around it; an empty cell is missing. Row i is line i + 2, blank
    lines not counted.

    Raises DataError with the `remedy` for a file that is absent, empty, not UTF-8, binary or
    ragged, lacks one of `columns` or has it twice, or holds no row, as one cut short may, and for
    one that is not as the checksums beside it say: a table cut at the end of a line shows by
    nothing else.
    """
    expected = f"a CSV in UTF-8 with the columns {', '.join(columns)}"
    require_file(path, f"{expected}. {remedy}")
    stated = stated_sum(path)
    if stated not in (None, sha256_file(path)):
        raise DataError(
            f"{path} is not the file of {path.parent / SUMS_NAME}, whose SHA-256 begins with"
            f" {stated[:12]}; was it cut short or edited? {remedy}"
        )
    # Every row must have as many cells as the first; no cell is guessed to be a number.
    texts = {f"f{column}": pa.string() for column in range(_MOST_COLUMNS)}
    try:
        table = csv.read_csv(
            path,
            csv.ReadOptions(autogenerate_column_names=True),
            convert_options=csv.ConvertOptions(column_types=texts),
        )
        if any(pc.any(pc.match_substring(column, "\n")).as_py() for column in table.columns):
            raise ValueError("a quotation mark is not closed")
    except (pa.ArrowException, ValueError, OSError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected {expected}. {remedy}"
        ) from error
    cells = [pc.utf8_trim_whitespace(column) for column in table.columns]
    header = [column[0].as_py() for column in cells]
    missing = [column for column in columns if header.count(column) != 1]
    if missing:
        raise DataError(
            f"{path} has no columns {missing}, or has them twice; it has {header[:20]}. Expected"
            f" {expected}. {remedy}"
        )
    if len(table) == 1:
        raise DataError(f"{path} holds no row below its header; was it cut short? {remedy}")
    filled = [pc.if_else(pc.equal(column, ""), None, column).slice(1) for column in cells]
    frame = pa.table(filled, list(texts)[: len(filled)]).to_pandas()
    return frame.set_axis(header, axis=1)
