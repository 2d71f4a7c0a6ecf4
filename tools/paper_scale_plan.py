"""What `paper_scale_check` runs: every run of the `paper` scale, what is reduced in it, and which
other runs it reads.

The scale's own files are the base. `OVERRIDES` and, without a CUDA device, `CPU_OVERRIDES` go over
them entry by entry, into dictionaries too, so that what they do not name stays as the scale has it.
Paths into the scale's runs are moved into the check's folder, and say what a run needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ich_study.errors import ParameterError
from ich_study.run import command
from ich_study.run.before import EVERY

DATA_NOTEBOOK = "00_data"
VARIANTS = "variants"
"""Folder of the scale whose `<notebook>.<name>.yaml` goes over `<notebook>.yaml`."""
OVERRIDES: dict[str, dict[str, Any]] = {
    "00_data": {
        "splits": {"rsna": {"scans": {"train": 40, "validation": 5, "test": 5}}},
        "workers": 2,
    },
    "01_backbones": {
        "backbone": {"weights": None},
        # one: 01 asks that a second epoch's loss lies lower, which two batches decide by chance
        "training": {"epochs": 1, "max_train_batches": 2, "max_validation_batches": 3},
        "minimum_auroc": None,
    },
    "02_lse_unet": {
        "training": {"epochs": 2, "max_train_batches": 2, "max_validation_batches": 3},
        "bootstrap_replicates": 50,
    },
    "03_resnet_lstm": {
        "folds": [0],
        "backbone": {"weights": None},
        "classifier": {"epochs": 2, "max_train_batches": 2, "max_validation_batches": 3},
        "sequence_training": {"epochs": 1},
        "head_training": {"epochs": 2},
        "unet_training": {"epochs": 2},
        "bootstrap_replicates": 50,
        "minimum_auroc": None,
    },
    "04_swin_hgi_sam": {
        "weights": None,
        "overrides": {"epochs": 1, "max_train_batches": 2, "max_validation_batches": 3},
        "mask_free_slices": 8,
        "timing_repeats": 3,
        "bootstrap_replicates": 50,
        "minimum_auroc": None,
    },
    "05_mil_detector": {
        "training": {"epochs": 2, "max_train_batches": 2},
        "tuning_initial": 2,
        "tuning_iterations": 2,
        "bootstrap_replicates": 50,
        "minimum_auroc": None,
    },
    "06_cam_benchmark": {
        "max_positives": 2,
        "max_negatives": 2,
        "trust_slices": 1,
        "faithfulness_steps": 2,
        "road_shares": [0.5],
        "sanity_slices": 1,
        "bootstrap_replicates": 50,
        "pointing_above": [],
    },
    # RSNA's test part has two patients here, too few for the intervals that the notebook wants
    "07_figures": {
        "data_label": "synthetic phantom, check of the paper scale, untrained",
        "main_part": "bhsd",
    },
    "08_cross_benchmark": {
        "data_label": "synthetic phantom, check of the paper scale, untrained",
        "bootstrap_replicates": 50,
    },
}
"""Per notebook of the scale. A notebook that is not here is an error: what to reduce in it has to
be decided."""
_CPU_TRAINING: dict[str, Any] = {"precision": "fp32", "num_workers": 0, "batch_size": 2}
CPU_OVERRIDES: dict[str, dict[str, Any]] = {
    "01_backbones": {"device": "cpu", "training": _CPU_TRAINING},
    "02_lse_unet": {"training": {"device": "cpu", **_CPU_TRAINING}},
    "03_resnet_lstm": {
        "device": "cpu",
        "classifier": _CPU_TRAINING,
        "sequence_training": {"precision": "fp32"},
        "unet": {"batch_size": 1},
        "unet_training": {"precision": "fp32"},
    },
    "04_swin_hgi_sam": {"device": "cpu", "overrides": _CPU_TRAINING, "map_batch_size": 2},
    "05_mil_detector": {"device": "cpu", "training": _CPU_TRAINING},
    "06_cam_benchmark": {"device": "cpu", "batch_size": 2},
    "08_cross_benchmark": {"device": "cpu"},
}
"""What a CPU needs besides; batch sizes for memory and time."""


@dataclass(frozen=True)
class Job:
    """One run. overrides: the reduced parameters; places: those that name runs, moved; needs: the
    runs that those name."""

    name: str
    notebook: str
    files: tuple[Path, ...]
    folder: Path
    overrides: dict[str, Any]
    places: dict[str, Any]
    needs: tuple[str, ...] = ()


def plan_jobs(scale: Path, work: Path, only: Sequence[str] = (), cuda: bool = False) -> list[Job]:
    """The runs of `scale` (the folder params/paper) in their order, into `work`.

    only: names of runs, or of notebooks for all runs of theirs but variants, which are planned with
    what they need (default: all). cuda: leave the device's parameters as they are. Raises
    ParameterError for an unknown name, a notebook that `OVERRIDES` does not know, or a parameter
    that names a run which is not the scale's.
    """
    names = sorted(
        {path.stem for path in scale.glob("*.yaml")}
        | {path.parent.name for path in scale.glob("*/*.yaml")}
    )
    names = [name for name in names if name[0].isdigit()]
    if not names or set(names) - set(OVERRIDES):
        known = f"paper_scale_plan.OVERRIDES knows what to reduce in {sorted(OVERRIDES)}"
        raise ParameterError(f"{scale} has the notebooks {names}; {known}")
    jobs: list[Job] = []
    for notebook in names:
        before, common = tuple(job.name for job in jobs), tuple(scale.glob(f"{notebook}.yaml"))
        overrides = merged(OVERRIDES[notebook], {} if cuda else CPU_OVERRIDES.get(notebook, {}))
        arms = {
            f"{notebook}/{file.stem}": (*common, file)
            for file in sorted((scale / notebook).glob("*.yaml"))
        }
        variants = {
            f"{VARIANTS}/{file.stem}": (*common, file)
            for file in sorted((scale / VARIANTS).glob(f"{notebook}.*.yaml"))
        }
        for name, files in ((arms or {notebook: common}) | variants).items():
            places, needs = _places(
                name,
                command.plan(notebook, files, []).parameters,
                f"runs/{scale.name}",
                work,
                before,
            )
            jobs.append(Job(name, notebook, files, work / name, overrides, places, needs))
    return _chosen(jobs, only)


def _chosen(jobs: Sequence[Job], only: Sequence[str]) -> list[Job]:
    known = {job.name for job in jobs} | {job.notebook for job in jobs}
    if unknown := sorted(set(only) - known):
        raise ParameterError(
            f"no runs {unknown} in the scale; there are {', '.join(sorted(known))}"
        )
    wanted = set()
    for job in jobs:
        of_notebook = job.notebook in only and not job.name.startswith(f"{VARIANTS}/")
        if not only or job.name in only or of_notebook:
            wanted.add(job.name)
    for job in reversed(jobs):
        wanted |= set(job.needs) if job.name in wanted else set()
    return [job for job in jobs if job.name in wanted]


def _places(
    name: str, parameters: Mapping[str, Any], runs: str, work: Path, before: Sequence[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parameters that name runs, moved into `work`, and which of the runs `before` they name;
    `runs` itself names all."""
    needs: set[str] = set()
    places = {}
    for parameter, value in parameters.items():
        named = (
            [text for text in _texts(value) if text.startswith("runs/")]
            if parameter != "output_dir"
            else []
        )
        for text in named:
            all_runs = {each for each in before if not each.startswith(f"{VARIANTS}/")}
            wanted = all_runs if text == runs else {text.removeprefix(f"{runs}/")}
            if not wanted <= set(before):
                raise ParameterError(
                    f"{parameter} of {name} names {text}; the scale's runs before it are"
                    f" {', '.join(before) or 'none'}"
                )
            needs |= wanted
        if named:
            places[parameter] = _moved(value, runs, str(work))
    return places, tuple(each for each in before if each in needs)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a parameter's value."""
    if isinstance(value, str):
        yield value.removeprefix(EVERY)
    elif isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(entry)


def _moved(value: Any, runs: str, work: str) -> Any:
    if isinstance(value, str):
        mark = EVERY if value.startswith(EVERY) else ""
        path = value.removeprefix(EVERY)
        return mark + work + path.removeprefix(runs) if path.startswith(runs) else value
    if isinstance(value, Mapping):
        return {key: _moved(entry, runs, work) for key, entry in value.items()}
    return [_moved(entry, runs, work) for entry in value] if isinstance(value, list) else value


def merged(base: Any, over: Any) -> Any:
    """`over` in place of `base`; of two dictionaries the entries of both, `over` winning."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    return {
        **base,
        **{key: merged(base[key], value) if key in base else value for key, value in over.items()},
    }


def planned(job: Job) -> tuple[command.Plan, dict[str, tuple[Any, Any]]]:
    """The runner's plan of a job, and every override that changes a value: name -> (the scale's
    value, ours).

    Entries of dictionaries are named with a point, as classifier.epochs. Raises ParameterError
    where the scale's files or the overrides do not fit the notebook.
    """
    original = command.plan(job.notebook, job.files, []).parameters
    values = {name: merged(original.get(name), value) for name, value in job.overrides.items()}
    # Written as YAML, which would read the 2e-05 of JSON as a text.
    texts = {name: yaml.safe_dump(value) for name, value in (values | job.places).items()}
    plan = command.plan(job.notebook, job.files, list(texts.items()), str(job.folder))
    ours = {
        name: value
        for name, value in plan.parameters.items()
        if name not in (*job.places, "output_dir")
    }
    return plan, dict(_differences({name: original[name] for name in ours}, ours))


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in {**before, **after}:
        pair = before.get(name), after.get(name)
        if all(isinstance(value, Mapping) for value in pair):
            yield from _differences(*pair, prefix=f"{prefix}{name}.")
        elif pair[0] != pair[1]:
            yield f"{prefix}{name}", pair
