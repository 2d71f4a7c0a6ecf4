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
        ["make", *arguments], cwd=folder, env=own, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("scale", ["smoke", "phantom"])
def test_a_study_ends_with_its_report(scale):
    said = make("-n", "study", f"SCALE={scale}", folder=ROOT).stdout.splitlines()
    assert f"--config scale={scale}" in said[-2]
    assert said[-1].endswith(f"-m tools.report runs/{scale}")


@pytest.fixture
def checkout(tmp_path):
    """The Makefile in a folder with a blank, and an environment that only writes down its words."""
    folder = tmp_path / "a checkout"
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    python.write_text('#!/bin/sh\necho "$@" >> said\ncommand -v python >> found\n')
    python.chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    return folder


def test_a_blank_in_the_checkouts_path_parts_no_command(checkout):
    done = make("smoke", "CORES=2", folder=checkout)
    assert done.returncode == 0, done.stderr
    study, report = (checkout / "said").read_text().splitlines()
    assert study.startswith("-m snakemake -c 2 ") and study.endswith(" --config scale=smoke")
    assert report == "-m tools.report runs/smoke"
    # what snakemake starts finds the environment first
    assert set((checkout / "found").read_text().splitlines()) == {
        str(checkout / ".venv" / "bin" / "python")
    }


def test_make_lab_opens_copies_and_keeps_those_that_are_there(checkout):
    (checkout / "notebooks").mkdir()
    (checkout / "lab").mkdir()
    for name in ("00_data", "01_backbones"):
        (checkout / "notebooks" / f"{name}.ipynb").write_text("committed")
    (checkout / "lab" / "00_data.ipynb").write_text("run and edited")
    done = make("lab", folder=checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout / "said").read_text().startswith("-m jupyterlab --notebook-dir=.")
    assert (checkout / "lab" / "00_data.ipynb").read_text() == "run and edited"
    assert (checkout / "lab" / "01_backbones.ipynb").read_text() == "committed"
    assert (checkout / "notebooks" / "00_data.ipynb").read_text() == "committed"
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
    (tmp_path / "CITATION.cff").write_text("version: 1.2.0\n# repository-code: https://...\n")
    (tmp_path / "README.md").write_text("git clone <address of this repository> ich_study\n")
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
    assert "repository's address" in release().stderr
    address = "https://example.org/study"
    (tmp_path / "CITATION.cff").write_text(f"version: 1.2.0\nrepository-code: {address}\n")
    git(tmp_path, "commit", "-aqm", "three")
    assert "repository's address" in release().stderr, "README's first command still has none"
    (tmp_path / "README.md").write_text(f"git clone {address} ich_study\n")
    git(tmp_path, "commit", "-aqm", "four")
    assert release().returncode == 0
    assert git(tmp_path, "tag").split() == ["v1.2.0"]
