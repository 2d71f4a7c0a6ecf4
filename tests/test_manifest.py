"""The manifest's parts: recorded hashes, outputs, git state, and texts without the machine in
them."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from ich_study import manifest
from ich_study.errors import StudyError


def test_recorded_hashes_are_merged(tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    manifest.record(tmp_path, data={"rsna": "0" * 64})
    manifest.record(tmp_path, data={"bhsd": "1" * 64}, split={"a": "2" * 64})
    manifest.record(tmp_path, data={"rsna": "3" * 64}, weights={"resnet": weights})
    assert manifest.recorded(tmp_path) == {
        "data": {"rsna": "3" * 64, "bhsd": "1" * 64},
        "split": {"a": "2" * 64},
        "weights": {"resnet": hashlib.sha256(b"weights").hexdigest()},
    }


def test_a_file_is_named_from_the_project_as_parameters_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    manifest.record(tmp_path, weights={"shipped": Path("w.safetensors")})
    expected = {"weights": {"shipped": hashlib.sha256(b"weights").hexdigest()}}
    assert manifest.recorded(tmp_path) == expected


def test_nothing_recorded_is_empty(tmp_path):
    assert manifest.recorded(tmp_path) == {}


@pytest.mark.parametrize("wrong", ["abc", "A" * 64, Path("absent.parquet")])
def test_what_is_no_hash_is_refused(tmp_path, wrong):
    with pytest.raises(StudyError, match="split"):
        manifest.record(tmp_path, split={"a": wrong})
    assert manifest.recorded(tmp_path) == {}


def test_outputs_list_sizes_and_hashes(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "many").mkdir()
    (tmp_path / "a.csv").write_text("abc")
    (tmp_path / "sub" / "big.npy").write_bytes(b"0" * 50)
    (tmp_path / ".lock").touch()
    (tmp_path / "run.json").touch()
    for i in range(4):
        (tmp_path / "many" / str(i)).write_text("12")
    monkeypatch.setattr(manifest, "FOLDER_LIMIT", 3)
    monkeypatch.setattr(manifest, "HASH_LIMIT_BYTES", 10)
    os.utime(tmp_path / "a.csv", (1000, 1000))
    found = manifest.outputs(tmp_path, frozenset({"run.json"}), since=2000)
    assert found == [
        {"path": "a.csv", "bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest(), "reused": True},
        {"path": "many/", "files": 4, "bytes": 8, "reused": False},
        {"path": "sub/big.npy", "bytes": 50, "sha256": None, "reused": False},
    ]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_state_sees_commit_and_changes(tmp_path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    outside = manifest.git_state(tmp_path)
    assert (outside["commit"], outside["dirty"]) == (None, None)
    assert "not a git repository" in outside["unknown"]
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "one", "--no-verify")
    assert manifest.git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "a").write_text("2")
    assert manifest.git_state(tmp_path)["dirty"] is True
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
        os.chown(tmp_path / ".git", 12345, 12345)
        assert manifest.git_state(tmp_path)["commit"] == git(
            "-c", f"safe.directory={tmp_path}", "rev-parse", "HEAD"
        )


def test_versions_and_hardware_say_what_is_here_and_not_where():
    assert manifest.versions()["python"] == platform.python_version()
    hardware = manifest.hardware()
    assert hardware["cores"] >= 1 and hardware["memory_mb"] > 100 and hardware["cpu"]
    assert platform.node() not in hardware.values()


def test_anonymous_takes_root_and_home_out(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/srv/people/jo")
    root = Path("/srv/people/jo/study")
    content = {
        "a": ["/srv/people/jo/study/runs/x", "/srv/people/jo/data", "/srv/people/johanna", 3, None]
    }
    assert manifest.anonymous(content, root) == {
        "a": ["runs/x", "~/data", "/srv/people/johanna", 3, None]
    }
