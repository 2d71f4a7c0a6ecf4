"""Content hashes that runs record and later runs check."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_lines(lines: Iterable[str]) -> str:
    """SHA-256 of text lines joined by newlines, for hashes of tables and of lists of hashes."""
    return sha256_bytes("\n".join(lines).encode())
