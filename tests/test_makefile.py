"""What the Makefile does beside running Python: `make lab` opens copies."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_lab_opens_copies_and_keeps_those_that_are_there(tmp_path):
    tmp_path = tmp_path / "a checkout"
    tmp_path.mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "lab").mkdir()
    for name in ("00_data", "01_backbones"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("committed")
    (tmp_path / "lab" / "00_data.ipynb").write_text("run and edited")
    for name in ("pyproject.toml", "requirements.lock"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" > said\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    # `make test VENV=...` hands its variables to every make below it; this one is a user's own.
    own = {
        name: each for name, each in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    own.pop("VENV", None)
    done = subprocess.run(
        ["make", "lab"], cwd=tmp_path, env=own, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said").read_text().startswith("-m jupyterlab --notebook-dir=.")
    assert (tmp_path / "lab" / "00_data.ipynb").read_text() == "run and edited"
    assert (tmp_path / "lab" / "01_backbones.ipynb").read_text() == "committed"
    assert (tmp_path / "notebooks" / "00_data.ipynb").read_text() == "committed"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/lab/" in ignored
