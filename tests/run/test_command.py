"""The runner: exit codes, what it leaves in the run folder, and every way a notebook can end, on
tiny notebooks."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest

from ich_study import atomic, manifest
from ich_study.errors import ParameterError, StudyError
from ich_study.run import command as runner

PARAMETERS = 'output_dir: str = "runs/default"\nepochs: int = 3\nlimit: int | None = None\n'
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A project of its own in a temporary folder; returns a function that adds a notebook to it."""
    monkeypatch.setenv("ICH_STUDY_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").mkdir()

    def add(name: str, *code: str, parameters: str = PARAMETERS) -> Path:
        cells = [
            nbformat.v4.new_markdown_cell("# A heading"),
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            *map(nbformat.v4.new_code_cell, code),
        ]
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}),
            path,
        )
        return path

    return add


def record_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_a_run_leaves_the_notebook_and_its_record(study, tmp_path, capsys):
    study(
        "01_good",
        "import sys\nfrom pathlib import Path\nfrom ich_study import manifest, paths\nfolder ="
        " paths.resolve(output_dir)",
        "print('training', epochs)",
        "(folder / 'table.csv').write_text('a')\n(folder / 'who.txt').write_text(sys.executable)\n"
        "manifest.record(folder, data={'phantom': 'a' * 64}, split={'a': folder / 'table.csv'})",
        "block = bytearray(400 * 2**20)\nimport time\ntime.sleep(1)",
    )
    (tmp_path / "p.yaml").write_text("epochs: 5\n")
    assert (
        runner.main(["01_good", "-f", "p.yaml", "-p", "limit", "7", "--output-dir", "runs/a"]) == 0
    )
    folder = tmp_path / "runs" / "a"
    found = record_of(folder)
    assert found["status"] == "ok" and found["error"] is None
    assert found["parameters"] == {"output_dir": "runs/a", "epochs": 5, "limit": 7}
    assert found["parameter_files"][0]["path"] == "p.yaml"
    assert found["hashes"]["data"] == {"phantom": "a" * 64}
    assert (
        found["hashes"]["split"]["a"]
        == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    )
    assert {entry["path"] for entry in found["outputs"]} == {
        "01_good.ipynb",
        "table.csv",
        "who.txt",
    }
    assert 400 < found["peak_memory_mb"] < 2000 and 1 < found["seconds"] < 60
    assert (
        found["versions"]["torch"]
        and found["hardware"]["cores"] >= 1
        and set(found["git"]) == {"commit", "dirty", "unknown"}
    )
    assert (folder / "who.txt").read_text() == sys.executable
    executed = nbformat.read(folder / "01_good.ipynb", as_version=4)
    assert any("training 5" in str(cell.get("outputs")) for cell in executed.cells)
    assert not list(folder.glob("*.running.ipynb")) and not (folder / "run-failed.json").exists()
    printed = capsys.readouterr().err
    assert "training 5" in (folder / "run.log").read_text() and "training 5" not in printed
    assert printed.count("[01/a ") == len(printed.splitlines())


def test_the_record_names_neither_home_nor_project_folder(study, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    study("bad", f"open({str(tmp_path / 'home' / 'x')!r})")
    assert runner.main(["bad", "-p", "output_dir", str(tmp_path / "home" / "out")]) == 1
    text = (tmp_path / "home" / "out" / "run.json").read_text()
    assert str(tmp_path) not in text


def test_a_failing_cell_is_exit_1_and_keeps_the_partial_notebook(study, tmp_path, capsys):
    study("02_bad", "print('before')", "numerator = 1\nnumerator / 0", "print('never')")
    assert runner.main(["02_bad"]) == 1
    printed = capsys.readouterr().err
    assert (
        "numerator / 0" in printed
        and "ZeroDivisionError" in printed
        and "site-packages" not in printed
    )
    folder = tmp_path / "runs" / "default"
    found = record_of(folder)
    assert found["status"] == "failed" and found["error"]["type"] == "ZeroDivisionError"
    assert json.loads((folder / "run-failed.json").read_text()) == found
    executed = (folder / "02_bad.ipynb").read_text()
    assert "before" in executed and '"never\\n"' not in executed


def test_a_failed_rerun_does_not_leave_the_earlier_success(study, tmp_path):
    study("n", "assert epochs != 13")
    assert runner.main(["n"]) == 0
    assert runner.main(["n", "-p", "epochs", "13"]) == 1
    assert record_of(tmp_path / "runs" / "default")["status"] == "failed"
    assert runner.main(["n"]) == 0
    assert record_of(tmp_path / "runs" / "default")["status"] == "ok"
    assert not (tmp_path / "runs" / "default" / "run-failed.json").exists()


def test_a_clean_exit_is_a_success(study, tmp_path):
    study("n", "import sys\nsys.exit(0)")
    assert runner.main(["n"]) == 0


def test_a_kernel_that_dies_is_exit_1_and_says_so(study, tmp_path, capsys):
    study("n", "import os\nos._exit(9)")
    assert runner.main(["n"]) == 1
    assert "kernel died" in capsys.readouterr().err
    found = record_of(tmp_path / "runs" / "default")
    assert found["error"]["type"] == "DeadKernel" and "os._exit" in found["error"]["source"]
    assert (tmp_path / "runs" / "default" / "n.ipynb").is_file()


def test_the_time_limit_ends_the_run(study, tmp_path):
    study("n", "import time\ntime.sleep(100)")
    assert runner.main(["n", "--timeout", "2.5"]) == 1
    found = record_of(tmp_path / "runs" / "default")
    assert found["status"] == "timeout" and found["seconds"] < 30


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["n", "-p", "epoch", "3"], "did you mean 'epochs'"),
        (["n", "-p", "epochs", "three"], "expected int"),
        (["n", "-f", "absent.yaml"], "absent.yaml does not exist"),
        (["nn"], "did you mean 'n'"),
        (["absent/n.ipynb"], "no notebook"),
        (["n", "--timeout", "0"], "--timeout"),
        (["n", "-p", "output_dir", "$ICH_NOT_SET_ANYWHERE/x"], "ICH_NOT_SET_ANYWHERE"),
        (["without"], "output_dir"),
    ],
)
def test_wrong_usage_is_exit_2_and_touches_nothing(study, tmp_path, capsys, arguments, says):
    study("n")
    study("without", parameters="epochs: int = 3")
    assert runner.main(arguments) == 2
    printed = capsys.readouterr().err
    assert says in printed and "Traceback" not in printed
    assert not (tmp_path / "runs").exists()


def test_help_names_the_options_and_behind_a_notebook_its_parameters(study, capsys):
    study("01_helped", parameters="# folder\n" + PARAMETERS)
    assert runner.main(["--help"]) == 0
    assert "--output-dir" in capsys.readouterr().out
    assert runner.main(["01_helped", "--help"]) == 0
    said = capsys.readouterr().out
    assert "output_dir: str (default 'runs/default')\n    folder" in said
    assert "epochs: int (default 3)" in said
    with pytest.raises(SystemExit) as ended:
        runner.main([])
    assert ended.value.code == 2


def test_an_unknown_option_is_exit_2():
    with pytest.raises(SystemExit) as caught:
        runner.main(["n", "--nonsense"])
    assert caught.value.code == 2


def test_two_runs_do_not_write_into_one_folder(study, tmp_path):
    study("n")
    this = runner.plan("n", [], [])
    with runner._alone_in(this.folder), pytest.raises(StudyError, match="another run"):
        runner.run(this)


def test_a_notebook_is_found_by_name_and_by_path(study, tmp_path):
    path = study("03_x")
    assert (
        runner.find_notebook("03_x")
        == runner.find_notebook("03_x.ipynb")
        == runner.find_notebook("notebooks/03_x.ipynb")
        == path
    )
    with pytest.raises(ParameterError):
        runner.find_notebook("03")


def start(tmp_path, *arguments):
    environment = {**os.environ, "ICH_STUDY_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ich_study.run", *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never appeared"
        time.sleep(0.05)


SLEEPER = """import os, time
from pathlib import Path
Path(os.environ["ICH_STUDY_ROOT"], "pid").write_text(str(os.getpid()))
time.sleep(100)"""


def gone(pid: int, seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if (
            Path(f"/proc/{pid}/stat").exists()
            and Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
        ):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_runner_takes_its_kernel_along_and_leaves_no_success(study, tmp_path, number):
    study("n", SLEEPER)
    process = start(tmp_path, "n")
    wait_for(tmp_path / "pid")
    time.sleep(0.3)
    process.send_signal(number)
    process.communicate(timeout=40)
    assert gone(int((tmp_path / "pid").read_text()))
    folder = tmp_path / "runs" / "default"
    if number != signal.SIGKILL:
        assert process.returncode == 1 and record_of(folder)["status"] == "interrupted"
    else:
        assert not (folder / "run.json").exists()
        assert "'begun'" in manifest.run_problem(folder)
        # nothing that only takes room stays: the largest file is the record of the begun run
        assert sum(path.stat().st_size for path in folder.iterdir()) < runner.RESERVE_BYTES
        with runner._alone_in(folder):
            pass


def test_two_runners_at_once_do_not_disturb_each_other(study, tmp_path):
    study("n", "import time\ntime.sleep(1)\nprint(epochs)")
    running = [
        start(tmp_path, "n", "--output-dir", f"runs/{i}", "-p", "epochs", str(i)) for i in range(2)
    ]
    for i, process in enumerate(running):
        _, printed = process.communicate(timeout=90)
        assert process.returncode == 0, printed
        assert record_of(tmp_path / "runs" / str(i))["parameters"]["epochs"] == i


def test_plain_papermill_runs_the_same_notebook(study, tmp_path):
    notebook = study("n", "assert epochs == 4 and limit == 2")
    (tmp_path / "p.yaml").write_text("epochs: 4\nlimit: 2\n")
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(notebook),
        "out.ipynb",
        "-f",
        "p.yaml",
        "-k",
        "python3",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("notebook", "name", "text", "says"),
    [
        (
            "03_resnet_lstm",
            "classifier",
            "{epoch: 2}",
            "'classifier.epoch'; did you mean 'epochs'?",
        ),
        ("03_resnet_lstm", "recipes", "{kmeans: {cluster: 5}}", "'recipes.kmeans.cluster'"),
        (
            "03_resnet_lstm",
            "backbone",
            "{option: {}}",
            "'backbone.option'; did you mean 'options'?",
        ),
        (
            "01_backbones",
            "training",
            "{epochs: 0}",
            "training.epochs is 0; expected a number above",
        ),
    ],
)
def test_a_wrong_setting_ends_with_2_before_anything_starts(
    tmp_path, capsys, notebook, name, text, says
):
    folder = tmp_path / "run"
    assert runner.main([notebook, "-p", name, text, "--output-dir", str(folder)]) == 2
    assert says in capsys.readouterr().err and not folder.exists()


def test_one_setting_of_a_notebook_changes_alone(tmp_path):
    before = runner.plan("03_resnet_lstm", [], []).parameters
    planned = runner.plan("03_resnet_lstm", [], [("classifier", "{epochs: 2}")])
    assert planned.values == {"classifier": {**before["classifier"], "epochs": 2}}
    assert (
        planned.parameters == {**before, **planned.values} and before["classifier"]["epochs"] != 2
    )


def test_pictures_reach_the_notebook_and_sockets_their_length_whatever_the_shell_says(
    study, tmp_path, monkeypatch
):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    long = tmp_path / ("long" * 25)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    study("n", "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert runner.main(["n"]) == 0
    assert '"image/png"' in (tmp_path / "runs" / "default" / "n.ipynb").read_text()


def test_an_output_folder_that_cannot_be_written_is_exit_2_and_a_sentence(study, tmp_path, capsys):
    study("n")
    (tmp_path / "file").write_text("")
    assert runner.main(["n", "--output-dir", "file/run"]) == 2
    printed = capsys.readouterr().err
    assert "cannot write into" in printed and "another output_dir" in printed


def test_a_disk_that_is_full_for_the_record_is_exit_2_and_a_sentence(
    study, tmp_path, capsys, monkeypatch
):
    def full(target, content):
        raise OSError(28, "No space left on device")

    study("n")
    monkeypatch.setattr(runner, "write_json", full)
    assert runner.main(["n"]) == 2
    printed = capsys.readouterr().err
    assert "No space left on device. Free space" in printed and "Traceback" not in printed


def test_a_full_disk_in_the_notebook_says_what_to_do(study, capsys):
    study("n", "raise OSError(28, 'No space left on device')")
    assert runner.main(["n"]) == 2
    assert "Free space there and run the same command again" in capsys.readouterr().err


FILLED = {
    "file by file": "for number in range(400):\n"
    "    (folder / str(number)).write_bytes(bytes(2**16))",
    "a memory map": "import numpy as np\nnp.lib.format.open_memmap(folder / 'a.npy', 'w+',"
    " np.uint8, (2**24,))[:] = 1",
}


@pytest.mark.parametrize("code", FILLED.values(), ids=FILLED)
def test_a_disk_that_is_really_full_leaves_a_record_and_says_what_to_do(study, tmp_path, code):
    study("n", f"from ich_study import paths\nfolder = paths.resolve(output_dir)\n{code}")
    disk = tmp_path / "disk"
    disk.mkdir()
    run = f"{sys.executable} -m ich_study.run n --output-dir {disk}/run; echo exit $?"
    # a disk of 12 MB in name spaces of its own: it is gone with the shell
    mounted = f"mount -t tmpfs -o size=12m tmpfs {disk} && cd {ROOT} &&"
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*words, f"{mounted} true"], capture_output=True).returncode:
        pytest.skip("this system mounts no disk for its users")
    ended = subprocess.run(
        [*words, f"{mounted} ({run}; cat {disk}/run/run.json)"], capture_output=True, text=True
    )
    status, _, record = ended.stdout.partition("\n")
    assert status == "exit 2" and "Traceback" not in ended.stderr
    assert "is full. Free" in ended.stderr or "left on device. Free" in ended.stderr
    found = json.loads(record)
    assert found["status"] == "failed" and found["error"]["cell"] == 3


def test_a_file_system_without_locks_is_named_and_the_run_goes_on(
    study, tmp_path, capsys, monkeypatch
):
    def without(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    study("n")
    monkeypatch.setattr(atomic.fcntl, "flock", without)
    assert runner.main(["n"]) == 0
    assert "has no locks (No locks available)" in capsys.readouterr().err


def test_the_record_holds_the_command_that_makes_it_anew_and_the_code(study, tmp_path):
    study("n", "from ich_study.ct import windows")
    arguments = ["n", "-p", "epochs", "5", "--output-dir", "runs/a b"]
    assert runner.main(arguments) == 0
    found = record_of(tmp_path / "runs" / "a b")
    words = shlex.split(found["command"])
    assert words[:3] == ["python", "-m", "ich_study.run"]
    again = runner.plan(words[3], [], [tuple(words[5:7]), tuple(words[8:10])])
    assert again.parameters == found["parameters"] and words[4] == words[7] == "-p"
    assert found["code"]["ich_study/ct/windows.py"] and found["code"]["numpy"]


def test_a_run_is_sound_until_an_output_or_its_record_changes(study, tmp_path):
    study("n", "from ich_study import paths\n(paths.resolve(output_dir) / 't.csv').write_text('a')")
    assert runner.main(["n"]) == 0
    folder = tmp_path / "runs" / "default"
    (folder / "n.ipynb").write_text("looked at and saved")
    assert manifest.run_problem(folder) is None
    manifest.check_run(folder)
    (folder / "t.csv").write_text("b")
    assert manifest.run_problem(folder).endswith("changed since the run: t.csv")
    with pytest.raises(StudyError, match=r"Make it anew: python -m ich_study\.run n"):
        manifest.check_run(folder)
    (folder / "t.csv").unlink()
    assert "t.csv" in manifest.run_problem(folder)
    for broken in ("", "[]", "{", '{"status": "failed"}'):
        (folder / "run.json").write_text(broken)
        assert str(folder / "run.json") in manifest.run_problem(folder)
    (folder / "run.json").unlink()
    assert manifest.run_problem(folder) is None, "plain papermill leaves no record"


def test_a_wrong_input_in_a_cell_is_a_sentence_and_its_traceback_is_in_the_log(
    study, tmp_path, capsys
):
    study(
        "n",
        "from ich_study.errors import DataError\ndef read():\n    raise DataError('no index at x')",
        "read()",
    )
    assert runner.main(["n"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    folder = tmp_path / "runs" / "default"
    assert "error in cell" in last and "no index at x" in last and str(folder / "run.log") in last
    assert "in read" in (folder / "run.log").read_text()
    shown = nbformat.read(folder / "n.ipynb", 4).cells[-1].outputs[-1]
    assert shown.traceback == ["DataError: no index at x"]
    assert record_of(folder)["status"] == "failed"


def test_what_a_run_reads_and_is_not_there_is_told_before_it_starts(study, tmp_path, capsys):
    study("n", parameters=PARAMETERS + 'data_dir: str = "runs/x/00_data"\n')
    assert runner.main(["n"]) == 2
    printed = capsys.readouterr().err
    assert "make it: python -m ich_study.run 00_data -f params/x/00_data.yaml" in printed
    assert not (tmp_path / "runs").exists()
