"""One notebook in a kernel of its own: how it ended, and what is said of a cell."""

import os
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from ich_study.run import execute as module
from ich_study.run.execute import execute
from ich_study.run.progress import Progress


def notebook(path, *cells):
    """A notebook: text that starts with `#` is a heading, the rest is code."""
    made = [
        nbformat.v4.new_markdown_cell(text)
        if text.startswith("#")
        else nbformat.v4.new_code_cell(text)
        for text in cells
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


def test_a_cell_goes_by_the_heading_above_it_or_its_own_first_line():
    markdown, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [code("import os\nos"), markdown("# One\ntext\n## Two"), code("a = 1"), code("b = 2")]
    headings = [module._heading(cells, number) for number in (0, 2, 3)]
    assert headings == ["import os", "Two", "Two"]


def test_the_kernels_environment_is_taken_back_whatever_happens(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    before = dict(os.environ)
    with (
        pytest.raises(ZeroDivisionError),
        module._kernel_environment(tmp_path / "run.log") as settings,
    ):
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        assert paths[1] == "/elsewhere" and (Path(paths[0]) / "ich_study").is_dir()
        assert settings.KernelManager.transport == "ipc"
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_a_user_whom_the_system_does_not_know_gets_a_home_for_the_run(monkeypatch, tmp_path):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.delenv("HOME")
    with module._kernel_environment(tmp_path / "run.log"):
        assert Path(os.environ["HOME"]).is_dir() and Path.home().is_dir()
    assert "HOME" not in os.environ
    monkeypatch.setenv("HOME", str(tmp_path))
    with module._kernel_environment(tmp_path / "run.log"):
        assert os.environ["HOME"] == str(tmp_path)


def test_a_finished_a_failed_and_a_dead_kernel(tmp_path):
    good = execute(
        notebook(tmp_path / "a.ipynb", "2 + 2"), tmp_path / "out.ipynb", {}, Progress("n", tmp_path)
    )
    assert (good["status"], good["error"]) == ("ok", None)
    assert good["seconds"] > 0 and good["peak_memory_mb"] > 10
    assert "4" in str(nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs)

    broken = notebook(tmp_path / "b.ipynb", "# Start", "x = 1", "raise KeyError('mask')")
    found = execute(broken, tmp_path / "out_b.ipynb", {}, Progress("n", tmp_path))
    assert found["status"] == "failed" and found["error"]["type"] == "KeyError"
    assert "'mask'" in found["error"]["message"] and "KeyError('mask')" in found["error"]["source"]
    assert not any("\x1b" in line for line in found["error"]["traceback"])

    killed = notebook(tmp_path / "c.ipynb", "import os, signal", "os.kill(os.getpid(), 9)")
    found = execute(killed, tmp_path / "out_c.ipynb", {}, Progress("n", tmp_path))
    assert found["status"] == "failed" and found["error"]["type"] == "DeadKernel"
    assert found["error"]["source"] == "os.kill(os.getpid(), 9)"
    assert "killed, crashed or out of memory" in found["error"]["message"]


def test_the_time_limit_ends_the_kernel_and_what_it_started(tmp_path):
    code = "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    started = time.monotonic()
    found = execute(
        notebook(tmp_path / "a.ipynb", code),
        tmp_path / "out.ipynb",
        {},
        Progress("n", tmp_path),
        timeout=8,
    )
    assert found["status"] == "timeout" and "not finished after 8 s" in found["error"]["message"]
    assert time.monotonic() - started < 60
    left = [each.name() for each in psutil.Process().children(recursive=True)]
    assert "sleep" not in left


SPEAKS = """import logging, sys, time
from tqdm import tqdm
for _ in tqdm(range(3), "maps", leave=False):
    time.sleep(0.05)
for _ in tqdm(range(3), "scans"):
    pass
print("a number")
sys.__stderr__.write("from below\\n")
limit"""


def test_no_progress_bar_and_no_word_of_papermill_is_kept(tmp_path, capfd):
    made = nbformat.read(notebook(tmp_path / "a.ipynb", "limit: int | None = None", SPEAKS), 4)
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, tmp_path / "a.ipynb")
    progress = Progress("a", tmp_path)
    found = execute(tmp_path / "a.ipynb", tmp_path / "out.ipynb", {"limit": 3}, progress)
    assert found["status"] == "ok"
    outputs = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs
    assert [each.get("name") for each in outputs] == ["stdout", None], outputs
    log = (tmp_path / "run.log").read_text()
    assert "maps:   0%" in log and "scans: 100%" in log and "a number" in log
    assert "Passed unknown parameter" not in log
    printed = capfd.readouterr()
    assert all(line.startswith("[a/") for line in printed.err.splitlines()) and not printed.out


def test_a_warning_is_no_progress_bar_and_is_kept(tmp_path):
    code = "import warnings; warnings.warn('half of the labels are unknown')"
    execute(notebook(tmp_path / "a.ipynb", code), tmp_path / "o.ipynb", {}, Progress("a", tmp_path))
    (kept,) = nbformat.read(tmp_path / "o.ipynb", 4).cells[-1].outputs
    assert kept.name == "stderr" and "half of the labels" in kept.text
    assert "half of the labels" in (tmp_path / "run.log").read_text()
