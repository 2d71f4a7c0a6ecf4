"""Runs every notebook of the `paper` scale on a small phantom: `python -m tools.paper_scale_check
[--only NAME ...] [--work DIR]`.

Its real data are not part of this repository, so this shows, before a release of the parameters,
that
they name what exists: data roots, splits, networks in full size at full resolution, arms that the
figures ask for. It shows nothing about results: the networks are untrained and the patients
synthetic. `paper_scale_plan.OVERRIDES` and, without a CUDA device, `CPU_OVERRIDES` are all that
differs from `params/paper`, and each run's are printed with both values. On a CPU core 00 and 01
take about 25 minutes, 02 and 03 about half an hour each, 04 18 minutes, 05 one, 06 half an hour to
its last check. Up to 12 GB of memory (04). A failing run stops only what
reads it. Runs that succeeded with the same notebook, parameters and data, and read nothing that was
run anew,
are kept, with the commit they ran at: the same command goes on after a kill, and before a release
the work
folder is to be deleted. Exit codes: 0 all ok, 1 a run failed, 2 not started.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ich_study import manifest, paths
from ich_study.atomic import write_csv, write_json
from ich_study.errors import ParameterError, StudyError
from ich_study.hashing import sha256_file
from ich_study.params import read_file
from ich_study.phantom.cohort import write_cohort
from ich_study.run import command
from tools.paper_scale_plan import DATA_NOTEBOOK, OVERRIDES, Job, plan_jobs, planned

DATA_VARIABLE = "ICH_DATA"
"""Environment variable that the paths of `data_roots` in params/paper/00_data.yaml begin with."""
DEFAULT_WORK = "runs/paper-check"
PATIENTS: dict[str, int] = {
    "rsna": 56,
    "bhsd": 3,
    "physionet": 5,
    "cq500": 5,
    "instance2022": 9,
    "hemorica": 20,
}
"""The fewest with which each fold of the scale's splits has a patient and each test part two, under
which there is no interval."""
PHANTOM: dict[str, Any] = {
    "seed": 2203,
    "matrix": 128,
    "slices": 8,
    "shared_with_rsna": 2,
    "positive_fraction": 1.0,
}
"""All have hemorrhage, so that a part of two patients has slices of both kinds; few slices, as
full-size networks score them all."""

GOOD = ("ok", "kept")
_MARKER = "paper-check.json"


def write_data(scale: Path, work: Path, workers: int) -> Path:
    """The phantom under `work/phantom`, and `work/data`, the value for ICH_DATA, with the scale's
    folder names for it.

    Raises ParameterError where a data root of the scale is not a folder of $ICH_DATA, or has no
    phantom.
    """
    folders = write_cohort(work / "phantom", PATIENTS, workers=workers, **PHANTOM)
    data = work / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, leaf in data_leaves(scale).items():
        link = data / leaf
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(folders[name], data), target_is_directory=True)
    return data


def data_leaves(scale: Path) -> dict[str, str]:
    """Data set -> name of its folder in $ICH_DATA, from the scale's 00_data.yaml; ParameterError as
    `write_data`."""
    roots: Mapping[str, str] = read_file(scale / "00_data.yaml")["data_roots"].value
    leaves = {name: root.removeprefix(f"${DATA_VARIABLE}/") for name, root in roots.items()}
    wrong = sorted(
        name
        for name, leaf in leaves.items()
        if leaf == roots[name] or "/" in leaf or name not in PATIENTS
    )
    if wrong:
        raise ParameterError(
            f"data_roots of {scale / '00_data.yaml'}: {wrong}; expected ${DATA_VARIABLE}/<folder>"
            f" for {sorted(PATIENTS)}"
        )
    return leaves


def earlier(plan: command.Plan, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `run.json` holds where this very run has succeeded before on the same data and splits,
    else None.

    data: the hashes that the run of 00_data recorded. Splits that a notebook makes itself are not
    among them.
    """
    record = plan.folder / command.RUN_NAME
    if not record.is_file():
        return None
    content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    same_code = content["notebook_sha256"] == sha256_file(plan.notebook)
    same_parameters = content["parameters"] == manifest.anonymous(
        plan.parameters, paths.project_root()
    )
    same_data = content["hashes"].get("data", {}).items() <= data.get("data", {}).items()
    splits, made = data.get("split", {}), content["hashes"].get("split", {})
    same_splits = all(splits[name] == value for name, value in made.items() if name in splits)
    return (
        content
        if content["status"] == "ok" and same_code and same_parameters and same_data and same_splits
        else None
    )


def run_jobs(jobs: Iterable[Job], report: Callable[[str], None]) -> pd.DataFrame:
    """Runs the jobs one after the other, whatever fails; a row per job as `_row` makes it.

    The data are always made, everything else is kept where `earlier` finds it and it reads no run
    made anew. A job that needs one that is not ok is not run.
    """
    rows: list[dict[str, Any]] = []
    data: dict[str, Any] = {}
    for job in jobs:
        states = {row["run"]: row["state"] for row in rows}
        missing = [name for name in job.needs if states.get(name) not in GOOD]
        keep = job.notebook != DATA_NOTEBOOK and all(
            states.get(name) == "kept" for name in job.needs if name != DATA_NOTEBOOK
        )
        row, hashes = (
            (_row(job, "not run", {}, f"needs {', '.join(missing)}"), {})
            if missing
            else _attempt(job, data if keep else None, report)
        )
        data = hashes if job.name == DATA_NOTEBOOK else data
        rows.append(row)
        report(f"{job.name}: {row['state']} {row['error']}".rstrip())
        if row["state"] == "interrupted":
            break
    return pd.DataFrame(rows)


def _attempt(
    job: Job, data: Mapping[str, Any] | None, report: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One job's row, and the hashes that it recorded. data: as for `earlier`; None keeps
    nothing."""
    try:
        plan, changed = planned(job)
        shown = "; ".join(
            f"{name}: {before} -> {after}" for name, (before, after) in changed.items()
        )
        report(f"{job.name} overrides: {shown}")
        content = None if data is None else earlier(plan, data)
        if content is not None:
            return _row(job, "kept", content, overrides=shown), content["hashes"]
        shutil.rmtree(plan.folder, ignore_errors=True)
        content = command.run(plan)
    except StudyError as error:
        return _row(job, "failed", {}, str(error)), {}
    error = content["error"] or {}
    message = f"{error['type']}: {error['message']}" if error else ""
    return _row(job, content["status"], content, message, shown), content["hashes"]


def _row(
    job: Job, state: str, content: Mapping[str, Any], error: str = "", overrides: str = ""
) -> dict[str, Any]:
    git = content.get("git", {})
    commit = f"{(git.get('commit') or '?')[:7]}{'+' if git.get('dirty') else ''}" if content else ""
    return {
        "run": job.name,
        "state": state,
        "seconds": content.get("seconds"),
        "peak_memory_mb": content.get("peak_memory_mb"),
        "commit": commit,
        "overrides": overrides,
        "error": error,
    }


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def _claim(work: Path) -> None:
    """Marks `work` as this check's; ParameterError for a folder with other things in it."""
    if work.is_dir() and any(work.iterdir()) and not (work / _MARKER).is_file():
        raise ParameterError(
            f"{work} is not empty and no work folder of this check, which deletes runs in it;"
            " choose another --work"
        )
    write_json(work / _MARKER, {"synthetic": True, "phantom": PHANTOM, "patients": PATIENTS})


def summary(table: pd.DataFrame, whole: int, cuda: bool) -> str:
    """The table for a person, and in how far it is a check of the scale, which has `whole` runs."""
    columns = table[["run", "state", "seconds", "peak_memory_mb", "commit"]]
    shown = columns.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.0f}")
    good = int(table["state"].isin(GOOD).sum())
    device = (
        "CUDA"
        if cuda
        else "a CPU (not checked: the papers' device, precision, workers and batch size)"
    )
    failures = [f"{row.run}: {row.error}" for row in table.itertuples() if row.error]
    scope = (
        f"{good} of the scale's {whole} runs ok, on a synthetic phantom and {device}; pretrained"
        " weights and results are not checked."
    )
    return "\n".join([shown, *failures, scope])


def check(work: Path, only: Sequence[str] = (), report: Callable[[str], None] = print) -> bool:
    """The whole check into `work`, with its table in `work/table.csv`; True when all that was asked
    for is ok.

    only: as for `plan_jobs`. Raises ParameterError, before anything is run, where the scale cannot
    be planned.
    """
    scale, cuda = paths.project_root() / "params" / "paper", torch.cuda.is_available()
    jobs, whole = plan_jobs(scale, work, only, cuda), len(plan_jobs(scale, work))
    data_leaves(scale)
    _claim(work)
    with _environment(
        DATA_VARIABLE, str(write_data(scale, work, OVERRIDES[DATA_NOTEBOOK]["workers"]))
    ):
        table = run_jobs(jobs, report)
    write_csv(work / "table.csv", table)
    report(summary(table, whole, cuda))
    return len(table) == len(jobs) and bool(table["state"].isin(GOOD).all())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.paper_scale_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    only = (
        "only these runs or notebooks, as 01_backbones/cam_final 05_mil_detector, and what they"
        " read"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help=only)
    parser.add_argument(
        "--work",
        default=DEFAULT_WORK,
        help=f"folder for phantom and runs, relative to the project root ({DEFAULT_WORK})",
    )
    options = parser.parse_args(arguments)
    try:
        return (
            0
            if check(
                paths.resolve(options.work), options.only, lambda line: print(line, flush=True)
            )
            else 1
        )
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
