"""What a run needs and has not: looked for before it starts, so that nobody waits for an error that
was there from the beginning."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ich_study.errors import InputError, ParameterError
from ich_study.manifest import missing_run
from ich_study.paths import resolve, unset_variables

RUNS: dict[str, str | None] = {
    "data_dir": "00_data",
    **dict.fromkeys(("encoder_run", "baseline_runs", "repeat_runs"), "01_backbones"),
    **dict.fromkeys(("classifier_run", "classifier_runs"), "01_backbones"),
    **dict.fromkeys(("runs_dir", "pointing_runs")),
}
"""Parameters that name folders of runs, each with the notebook whose they are, None for any."""
PUBLISHED = "published_"
"""Sources of `methods` that begin so name a file behind a colon."""
EVERY = "every:"
"""Sources of `methods` that begin so are a run with all that its paper compares."""
IF_SET = "if_set:"
"""Sources of `methods` that begin so are left out where a variable in them is not set."""


def check(
    notebook: str, parameters: Mapping[str, Any], made: Collection[Path] = (), devices: bool = True
) -> None:
    """Raise ParameterError, a sentence each, where something that `parameters` name is not there:
    folders of data sets, finished runs, files and packages of weights, the scan, the device.

    made: run folders that will be there by then. devices: whether the run is for this machine.
    """
    problems = []
    for name, value in _named("", parameters):
        try:
            problem = _problem(name, value, made, devices)
        except InputError as error:
            problem = str(error)
        if problem is not None:
            problems.append(f"{notebook}, {name}: {problem}")
    if problems:
        raise ParameterError("\n".join(problems))


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every value of nested parameters by its full name, such as `backbone.weights`."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _named(f"{name}.{key}" if name else str(key), each)
    elif isinstance(value, list):
        for each in value:
            yield from _named(name, each)
    elif value is not None:
        yield name, value


def _problem(name: str, value: Any, made: Collection[Path], devices: bool) -> str | None:
    first, last = name.split(".")[0], name.split(".")[-1]
    if last == "device" and devices and value not in ("cpu", "auto"):
        from ich_study.inputs.devices import resolve_device  # slow to import

        resolve_device(value)
    if first == "data_roots":
        return _absent_data(resolve(value))
    if first in RUNS:
        return _absent_run(resolve(value), made, RUNS[first])
    if last == "weights" and isinstance(value, str):
        return _absent_weights(value, made)
    if "first_weights" in (first, last):
        path = resolve(value)
        return None if any(path.is_relative_to(each) for each in made) else _absent_file(path)
    if first == "methods":
        return _absent_method(value, made)
    if first == "scan" or (first == "published_weights" and last == "path"):
        return _absent_file(resolve(value))
    return None


def _absent_method(source: str, made: Collection[Path]) -> str | None:
    if source.startswith(IF_SET) and unset_variables(source):
        return None
    source = source.removeprefix(IF_SET)
    if source.startswith(PUBLISHED) and ":" in source:
        return _absent_file(resolve(source.split(":", 1)[1]))
    if "/" not in source:
        return None
    path = resolve(source.removeprefix(EVERY))
    return None if path.is_file() else _absent_run(path, made)


def _absent_data(folder: Path) -> str | None:
    if folder.is_dir() and any(folder.iterdir()):
        return None
    found = "an empty folder" if folder.is_dir() else "nothing"
    return (
        f"expected a data set in {folder}, found {found}; docs/how_to.md says how to get each"
        " data set; name the folder where yours lies in `data_roots`"
    )


def _absent_run(folder: Path, made: Collection[Path], notebook: str | None = None) -> str | None:
    below = any(each.is_relative_to(folder) for each in made)
    return None if below or folder.is_dir() else missing_run(folder, notebook)


def _absent_weights(weights: str, made: Collection[Path]) -> str | None:
    kind, _, place = weights.partition(":")
    if kind == "file":
        return _absent_file(resolve(place))
    if kind == "run":
        return _absent_run(resolve(place), made)
    if kind == "package":
        from ich_study.models.sources import read_source  # slow to import

        read_source(weights)
    return None


def _absent_file(path: Path) -> str | None:
    return None if path.exists() else f"expected {path}, found nothing; correct the path"
