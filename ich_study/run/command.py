"""Runs one notebook strictly: `python -m ich_study.run 01_backbones -f
params/phantom/01_backbones.yaml -p seed 1`.

The run folder is the notebook's `output_dir` parameter. It receives the executed notebook and
`run.json`: parameters, versions, git commit, hashes of data, split and weights, hardware, seconds,
peak memory and outputs. `run.log` holds what notebook and kernel say meanwhile. Exit codes: 0 done,
1 the notebook failed (its partial copy is kept), 2 something that you gave is wrong, in a sentence
(unknown notebook or parameter, missing file, damaged run, folder in use, full disk).
"""

from __future__ import annotations

import argparse
import difflib
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ich_study import errors, manifest, params, paths, sources
from ich_study.atomic import locked, write_json
from ich_study.errors import ParameterError, StudyError
from ich_study.hashing import sha256_file
from ich_study.manifest import FAILED_NAME, LOG_NAME, RUN_NAME
from ich_study.run import before, progress

TRACEBACK_LINES = 40
INPUT_ERRORS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.InputError)
}
"""Names of the errors of a notebook that are of what the user gave."""
FULL_DISK = ("No space left on device", "is full", "Disk quota exceeded")
RESERVE_BYTES = 2**20
"""Room that is kept for the record of a run whose disk becomes full."""


@dataclass(frozen=True)
class Plan:
    """One run, checked and not yet started: `values` are injected, `parameters` are all it runs
    with; `command` is the command line that asks for it."""

    notebook: Path
    folder: Path
    values: dict[str, Any]
    parameters: dict[str, Any]
    files: Sequence[Path]
    timeout: float | None
    command: str


def find_notebook(name: str) -> Path:
    """The notebook that `name` means: a path to an .ipynb file, or the name of one in `notebooks/`,
    with or without suffix.

    Raises ParameterError with the closest name when there is none.
    """
    folder = paths.project_root() / "notebooks"
    known = sorted(path.stem for path in folder.glob("*.ipynb"))
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name).resolve()
    stem = name.removesuffix(".ipynb")
    if stem in known:
        return folder / f"{stem}.ipynb"
    close = difflib.get_close_matches(stem, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known) or 'none'}"
    raise ParameterError(f"no notebook {name!r} in {folder}; {advice}")


def plan(
    name: str,
    files: Sequence[Path],
    pairs: Sequence[tuple[str, str]],
    output_dir: str | None = None,
    timeout: float | None = None,
) -> Plan:
    """The run that a command line asks for, or ParameterError saying what is wrong with it.

    `output_dir` sets the parameter of that name; like every path in a parameter, it is relative to
    the project root.
    """
    notebook = find_notebook(name)
    if output_dir is not None:
        pairs = [*pairs, ("output_dir", json.dumps(output_dir))]
    values = params.load(notebook, files, pairs)
    parameters = params.complete(notebook, values)
    if not isinstance(parameters.get("output_dir"), str):
        raise ParameterError(
            f"{notebook} needs a parameter `output_dir: str`, the folder of the run, and has none"
        )
    if timeout is not None and timeout <= 0:
        raise ParameterError(f"--timeout must be more than 0 seconds, found {timeout:g}")
    folder = paths.resolve(parameters["output_dir"])
    command = ["python", "-m", "ich_study.run", name]
    for file in files:
        command += ["-f", str(file)]
    for pair in pairs:
        command += ["-p", *pair]
    return Plan(notebook, folder, values, parameters, files, timeout, shlex.join(command))


def run(this: Plan) -> dict[str, Any]:
    """Run it, write the executed notebook and `run.json` into its folder, and return what
    `run.json` holds.

    Raises StudyError, before anything is touched, when another run is writing into the folder.
    """
    from ich_study.run.execute import execute  # slow to import

    with _alone_in(this.folder):
        partial = this.folder / f"{this.notebook.stem}.running.ipynb"
        for stale in (RUN_NAME, manifest.EARLIER_NAME, manifest.RECORD_NAME):
            (this.folder / stale).unlink(missing_ok=True)
        started = datetime.now(UTC)
        begun = {**_provenance(this), "started": started.isoformat(timespec="seconds")}
        # what a kill leaves behind
        content = manifest.anonymous({**begun, "status": "begun"}, paths.project_root())
        write_json(this.folder / FAILED_NAME, content)
        told = progress.Progress(this.notebook.stem, this.folder)
        told.say(f"started; what it prints goes to {told.log}")
        # A file without a name: its room is free again when it is closed, or the run is killed.
        with TemporaryFile(dir=this.folder) as reserve:
            reserve.write(bytes(RESERVE_BYTES))
            ended = execute(this.notebook, partial, this.values, told, this.timeout)
        if partial.exists():
            partial.replace(this.folder / this.notebook.name)
        content = {**begun, **ended, "hashes": manifest.recorded(this.folder)}
        skip = frozenset({RUN_NAME, FAILED_NAME, LOG_NAME, manifest.RECORD_NAME})
        content["outputs"] = manifest.outputs(this.folder, skip, since=started.timestamp() - 1)
        content = manifest.anonymous(content, paths.project_root())
        if content["status"] != "ok":
            write_json(this.folder / FAILED_NAME, content)
        write_json(this.folder / RUN_NAME, content)
        if content["status"] == "ok":
            (this.folder / FAILED_NAME).unlink(missing_ok=True)
    return content


def _provenance(this: Plan) -> dict[str, Any]:
    """What is known before the run; read before it, so that an edit during the run does not change
    the record."""
    return {
        "notebook": this.notebook.stem,
        "command": this.command,
        "notebook_sha256": sha256_file(this.notebook),
        "parameters": this.parameters,
        "parameter_files": [
            {"path": str(file), "sha256": sha256_file(file)} for file in this.files
        ],
        "versions": manifest.versions(),
        "code": sources.code_marks(sources.notebook_imports(this.notebook)),
        "git": manifest.git_state(paths.project_root()),
        "hardware": manifest.hardware(),
    }


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system gives back when a run is killed; where the run's own
    files cannot be written, say what to do."""
    busy = StudyError(f"another run is writing into {folder}; wait for it or end it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", busy):
            yield
    except OSError as error:
        raise StudyError(
            f"cannot write into {folder}: {error.strerror or error}. Free space on its disk or"
            " make it writable, or choose another output_dir, and run again; what is finished is"
            " kept"
        ) from error


def wrong_input(content: dict[str, Any]) -> bool:
    """Whether a run ended by what its user gave it, room on the disk included."""
    error = content["error"]
    return error is not None and (error["type"] in INPUT_ERRORS or _full(error))


def _full(error: dict[str, Any]) -> bool:
    return any(sign in error["message"] for sign in FULL_DISK)


def explain(content: dict[str, Any], folder: Path, schedule: Path | None = None) -> str:
    """For a person: how a run ended, the failing cell and its error, and where the rest is.

    schedule: of the runs that this is one of, see `progress.write_schedule`.
    """
    name, status, error = content["notebook"], content["status"], content["error"]
    begin = f"[{progress.title(name, folder)} {content['seconds']:.0f} s]"
    if error is None:
        others = f"; {progress.remaining(schedule)}" if schedule else ""
        return f"{begin} done, at most {content['peak_memory_mb']:.0f} MB, see {folder}{others}"
    where = f"in cell {error['cell'] + 1}" if error["cell"] is not None else "before its first cell"
    if wrong_input(content):
        again = ". Free space there and run the same command again; what is finished is kept"
        told = f"{error['message']}{again if _full(error) else ''}"
        return f"{begin} error {where}: {told} (traceback: {folder / LOG_NAME})"
    lines = [f"{begin} {status} {where}"]
    lines += [f"    | {line}" for line in error["source"].splitlines()]
    lines += error["traceback"][-TRACEBACK_LINES:] or [f"{error['type']}: {error['message']}"]
    return "\n".join([*lines, f"kept: {folder / (name + '.ipynb')}"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ich_study.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument(
        "notebook", nargs="?", help="name of a notebook in notebooks/, or path of an .ipynb file"
    )
    parser.add_argument(
        "-h", "--help", action="store_true", help="this; behind a notebook's name, its parameters"
    )
    parser.add_argument(
        "-f",
        dest="files",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="YAML of parameters; later files win",
    )
    parser.add_argument(
        "-p",
        dest="pairs",
        metavar=("NAME", "VALUE"),
        nargs=2,
        action="append",
        default=[],
        help="one parameter; wins over files",
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="sets the parameter output_dir: relative to the project root",
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, help="end the whole run after this long"
    )
    parser.add_argument("--schedule", metavar="FILE", type=Path, help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.notebook is None:
        if not options.help:
            parser.error("name a notebook")
        parser.print_help()
        return 0
    try:
        if options.help:
            print(params.described(find_notebook(options.notebook)))
            return 0
        this = plan(
            options.notebook,
            options.files,
            options.pairs,
            options.output_dir,
            options.timeout,
        )
        before.check(this.notebook.stem, this.parameters)
        content = run(this)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(explain(content, this.folder, options.schedule), file=sys.stderr)
    if content["status"] == "ok":
        return 0
    return 2 if wrong_input(content) else 1
