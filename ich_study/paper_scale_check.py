"""Runs every notebook of the `paper` scale on a small phantom: `python -m ich_study.paper_scale_check [--arms NAME ...] [--work DIR]`.

Its real data are not part of this repository, so this shows, before a release of the parameters, that
they name what exists: data roots, splits, networks in full size at full resolution, arms that the
figures ask for. It shows nothing about results: the networks are untrained and the patients synthetic.
`OVERRIDES` and, without a CUDA device, `CPU_OVERRIDES` are all that differs from `params/paper`, and
each run's are printed with both values. Half an hour on a CPU core, at most 6.5 GB of memory, 7 GB of
disk. A failing run does not stop the others; arms that succeeded with the same notebook, parameters
and data are kept, with the commit they ran at, so delete the work folder before a release. Exit
codes: 0 all ok, 1 a run failed, 2 not started.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ich_study import manifest, paths, run
from ich_study.atomic import write_csv, write_json
from ich_study.errors import ParameterError, StudyError
from ich_study.hashing import sha256_file
from ich_study.params import read_file
from ich_study.phantom.cohort import write_cohort

DATA_VARIABLE = "ICH_DATA"
"""Environment variable that the paths of `data_roots` in params/paper/00_data.yaml begin with."""
DEFAULT_WORK = "runs/paper-check"
PATIENTS: dict[str, int] = {"rsna": 56, "bhsd": 2, "physionet": 5, "cq500": 2, "instance2022": 9, "hemorica": 9}
"""The fewest with which each fold of the scale's splits has a patient and each test part two, under which there is no interval."""
PHANTOM: dict[str, Any] = {"seed": 2019, "matrix": 128, "slices": 10, "shared_with_rsna": 1, "positive_fraction": 1.0}
"""All have hemorrhage, so that a part of two patients has slices of both kinds; few slices, as full-size networks score them all."""

OVERRIDES: dict[str, dict[str, Any]] = {
    "00_data": {"workers": 2},
    "01_backbones": {"pretrained": False, "epochs": 2, "max_train_batches": 2, "max_validation_batches": 3, "minimum_auroc": -1.0},
    "07_figures": {"data_label": "synthetic phantom, check of the paper scale, untrained"},
}
"""Per notebook of the scale. A notebook that is not here is an error: what to reduce in it has to be decided."""
NOT_CHECKED: tuple[str, ...] = ("02_lse_unet", "03_resnet_lstm", "04_swin_hgi_sam", "05_mil_detector", "06_cam_benchmark")
"""Notebooks whose parameters of this scale have never been run; the summary says so."""
CPU_OVERRIDES: dict[str, dict[str, Any]] = {
    "01_backbones": {"device": "cpu", "precision": "fp32", "num_workers": 0, "batch_size": 2},
}
"""What a CPU needs besides; `batch_size` for memory and time."""
GOOD = ("ok", "kept")
_MARKER = "paper-check.json"


@dataclass(frozen=True)
class Job:
    """One run: `overrides` are the parameters, places included, that differ from the scale's files."""

    name: str
    notebook: str
    files: tuple[Path, ...]
    folder: Path
    overrides: dict[str, Any]
    needs: tuple[str, ...] = ()


def plan_jobs(scale: Path, work: Path, arms: Sequence[str] = (), cuda: bool = False) -> list[Job]:
    """The runs of `scale` (the folder params/paper) in their order, into `work`.

    arms: the only ones to run of a notebook with arms (default: all); notebooks that need the others
    are then left out. cuda: leave the device's parameters as they are. Raises ParameterError for an
    unknown arm, or a notebook that `OVERRIDES` does not know.
    """
    names = sorted({path.stem for path in scale.glob("*.yaml")} | {path.parent.name for path in scale.glob("*/*.yaml")})
    names = [name for name in names if name[0].isdigit() and name not in NOT_CHECKED]
    if not names or set(names) - set(OVERRIDES):
        known = f"paper_scale_check.OVERRIDES knows what to reduce in {sorted(OVERRIDES)}"
        raise ParameterError(f"{scale} has the notebooks {names}; {known}")
    all_arms = {path.stem for path in scale.glob("*/*.yaml")}
    if unknown := sorted(set(arms) - all_arms):
        raise ParameterError(f"no arms {unknown} in {scale}; there are {', '.join(sorted(all_arms))}")
    jobs: list[Job] = []
    for notebook in names:
        before, common = tuple(job.name for job in jobs), tuple(scale.glob(f"{notebook}.yaml"))
        overrides = OVERRIDES[notebook] | ({} if cuda else CPU_OVERRIDES.get(notebook, {})) | _places(notebook, work)
        for file in sorted((scale / notebook).glob("*.yaml")):
            needs = tuple(name for name in before if "/" not in name)
            jobs.append(Job(f"{notebook}/{file.stem}", notebook, (*common, file), work / notebook / file.stem, overrides, needs))
        if not (scale / notebook).is_dir():
            jobs.append(Job(notebook, notebook, common, work / notebook, overrides, before))
    asked = {job.name for job in jobs if not arms or "/" not in job.name or job.name.rpartition("/")[2] in arms}
    return [job for job in jobs if job.name in asked and set(job.needs) <= asked]


def _places(notebook: str, work: Path) -> dict[str, str]:
    """Parameters of a notebook that say where other runs lie."""
    return {"01_backbones": {"data_dir": str(work / "00_data")}, "07_figures": {"runs_dir": str(work)}}.get(notebook, {})


def planned(job: Job) -> tuple[run.Plan, dict[str, tuple[Any, Any]]]:
    """The runner's plan of a job, and every override that changes a value: name -> (the scale's value, ours).

    Raises ParameterError where the scale's files or the overrides do not fit the notebook.
    """
    pairs = [(name, json.dumps(value)) for name, value in job.overrides.items()]
    original = run.plan(job.notebook, job.files, []).parameters
    plan = run.plan(job.notebook, job.files, pairs, str(job.folder))
    changed = {name: (original[name], value) for name, value in plan.parameters.items() if original[name] != value}
    return plan, {name: values for name, values in changed.items() if name not in ("output_dir", "data_dir", "runs_dir")}


def write_data(scale: Path, work: Path, workers: int) -> Path:
    """The phantom under `work/phantom`, and `work/data`, the value for ICH_DATA, with the scale's folder names for it.

    Raises ParameterError where a data root of the scale is not a folder of $ICH_DATA, or has no phantom.
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
    """Data set -> name of its folder in $ICH_DATA, from the scale's 00_data.yaml; ParameterError as `write_data`."""
    roots: Mapping[str, str] = read_file(scale / "00_data.yaml")["data_roots"].value
    leaves = {name: root.removeprefix(f"${DATA_VARIABLE}/") for name, root in roots.items()}
    wrong = sorted(name for name, leaf in leaves.items() if leaf == roots[name] or "/" in leaf or name not in PATIENTS)
    if wrong:
        raise ParameterError(f"data_roots of {scale / '00_data.yaml'}: {wrong}; expected ${DATA_VARIABLE}/<folder> for {sorted(PATIENTS)}")
    return leaves


def earlier(plan: run.Plan, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `run.json` holds where this very run has succeeded before on the same data and splits, else None.

    data: the hashes that the run of 00_data recorded.
    """
    record = plan.folder / run.RUN_NAME
    if not record.is_file():
        return None
    content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    same_code = content["notebook_sha256"] == sha256_file(plan.notebook)
    same_parameters = content["parameters"] == manifest.anonymous(plan.parameters, paths.project_root())
    same_data = all(content["hashes"].get(kind, {}).items() <= data.get(kind, {}).items() for kind in ("data", "split"))
    return content if content["status"] == "ok" and same_code and same_parameters and same_data else None


def run_jobs(jobs: Iterable[Job], report: Callable[[str], None]) -> pd.DataFrame:
    """Runs the jobs one after the other, whatever fails; a row per job as `_row` makes it.

    Only arms are kept from an earlier check. A job that needs one that is not ok is not run.
    """
    rows: list[dict[str, Any]] = []
    data: dict[str, Any] = {}
    for job in jobs:
        ok = {row["run"] for row in rows if row["state"] in GOOD}
        missing = sorted(set(job.needs) - ok)
        row, hashes = (_row(job, "not run", {}, f"needs {', '.join(missing)}"), {}) if missing else _attempt(job, data, report)
        data = hashes if job.notebook == "00_data" else data
        rows.append(row)
        report(f"{job.name}: {row['state']} {row['error']}".rstrip())
        if row["state"] == "interrupted":
            break
    return pd.DataFrame(rows)


def _attempt(job: Job, data: Mapping[str, Any], report: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One job's row, and the hashes that it recorded."""
    try:
        plan, changed = planned(job)
        shown = "; ".join(f"{name}: {before} -> {after}" for name, (before, after) in changed.items())
        report(f"{job.name} overrides: {shown}")
        content = earlier(plan, data) if "/" in job.name else None
        if content is not None:
            return _row(job, "kept", content, overrides=shown), content["hashes"]
        shutil.rmtree(plan.folder, ignore_errors=True)
        content = run.run(plan)
    except StudyError as error:
        return _row(job, "failed", {}, str(error)), {}
    error = content["error"] or {}
    message = f"{error['type']}: {error['message']}" if error else ""
    return _row(job, content["status"], content, message, shown), content["hashes"]


def _row(job: Job, state: str, content: Mapping[str, Any], error: str = "", overrides: str = "") -> dict[str, Any]:
    git = content.get("git", {})
    commit = f"{(git.get('commit') or '?')[:7]}{'+' if git.get('dirty') else ''}" if content else ""
    return {
        "run": job.name, "state": state, "seconds": content.get("seconds"), "peak_memory_mb": content.get("peak_memory_mb"),
        "commit": commit, "overrides": overrides, "error": error,
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
        raise ParameterError(f"{work} is not empty and no work folder of this check, which deletes runs in it; choose another --work")
    write_json(work / _MARKER, {"synthetic": True, "phantom": PHANTOM, "patients": PATIENTS})


def summary(table: pd.DataFrame, whole: int, cuda: bool) -> str:
    """The table for a person, and in how far it is a check of the scale, which has `whole` runs."""
    columns = table[["run", "state", "seconds", "peak_memory_mb", "commit"]]
    shown = columns.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.0f}")
    good = int(table["state"].isin(GOOD).sum())
    device = "CUDA" if cuda else "a CPU (not checked: the papers' device, precision, workers and batch size)"
    failures = [f"{row.run}: {row.error}" for row in table.itertuples() if row.error]
    scope = f"{good} of the scale's {whole} runs ok, on a synthetic phantom and {device}; pretrained weights and results are not checked."
    left_out = f"Not checked at all: {', '.join(NOT_CHECKED)}."
    return "\n".join([shown, *failures, scope, left_out])


def check(work: Path, arms: Sequence[str] = (), report: Callable[[str], None] = print) -> bool:
    """The whole check into `work`, with its table in `work/table.csv`; True when all that was asked for is ok.

    Raises ParameterError, before anything is run, where the scale or the arms cannot be planned.
    """
    scale, cuda = paths.project_root() / "params" / "paper", torch.cuda.is_available()
    jobs, whole = plan_jobs(scale, work, arms, cuda), len(plan_jobs(scale, work))
    data_leaves(scale)
    _claim(work)
    with _environment(DATA_VARIABLE, str(write_data(scale, work, OVERRIDES["00_data"]["workers"]))):
        table = run_jobs(jobs, report)
    write_csv(work / "table.csv", table)
    report(summary(table, whole, cuda))
    return len(table) == len(jobs) and bool(table["state"].isin(GOOD).all())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ich_study.paper_scale_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", metavar="NAME", default=[], help="only these arms, and no notebook that needs the others")
    parser.add_argument("--work", default=DEFAULT_WORK, help=f"folder for phantom and runs, relative to the project root ({DEFAULT_WORK})")
    options = parser.parse_args(arguments)
    try:
        return 0 if check(paths.resolve(options.work), options.arms, lambda line: print(line, flush=True)) else 1
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
