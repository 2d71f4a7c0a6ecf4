"""What the Makefile does beside running Python: `make lab` opens copies."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def make(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`make test VENV=...` hands its variables to every make below it; this one is a user's own."""
    own = {
        name: each for name, each in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    own.pop("VENV", None)
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=own, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("scale", ["smoke", "phantom"])
def test_a_study_ends_with_its_report(scale):
    said = make("-n", "study", f"SCALE={scale}", folder=ROOT).stdout.splitlines()
    assert f"--config scale={scale}" in said[-2]
    assert said[-1].endswith(f"-m tools.report runs/{scale}")


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
    done = make("lab", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "said").read_text().startswith("-m jupyterlab --notebook-dir=.")
    assert (tmp_path / "lab" / "00_data.ipynb").read_text() == "run and edited"
    assert (tmp_path / "lab" / "01_backbones.ipynb").read_text() == "committed"
    assert (tmp_path / "notebooks" / "00_data.ipynb").read_text() == "committed"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/lab/" in ignored


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_a_release_is_tagged_where_all_files_say_its_version(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text('name = "x"\nversion = "1.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("version: 1.2.0\n")
    (tmp_path / "CHANGELOG.md").write_text("## Unreleased\n\n## 1.1.0\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    own = {name: each for name, each in os.environ.items() if not name.startswith("MAKE")}
    own |= {"GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    command = ["make", "release", "-o", "lint"]

    def release():
        return subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)

    assert "heading '## 1.2.0' in CHANGELOG.md" in release().stderr
    (tmp_path / "CHANGELOG.md").write_text("## 1.2.0\n")
    assert "commit them first" in release().stderr
    git(tmp_path, "commit", "-aqm", "two")
    assert release().returncode == 0
    assert git(tmp_path, "tag").split() == ["v1.2.0"]
