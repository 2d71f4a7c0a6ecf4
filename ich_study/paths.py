"""Where the study's files lie: one place that turns a path in a parameter into a path on disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ich_study.errors import DataError, ParameterError

VARIABLE = re.compile(r"\$\{?(\w+)\}?")
"""An environment variable in a path."""


def project_root() -> Path:
    """The checkout the package was installed from, or `ICH_STUDY_ROOT` where that is set."""
    override = os.environ.get("ICH_STUDY_ROOT")
    return Path(override).resolve() if override else Path(__file__).resolve().parents[1]


def resolve(path: str | os.PathLike[str]) -> Path:
    """A parameter's path: `~` and environment variables expanded, relative to the project root.

    The same parameters therefore mean the same files from JupyterLab, papermill, nbval and the
    shell. `$ICH_REAL_DATA` has the default of `real_data_root`. Raises ParameterError when a
    variable in the path is not set.
    """
    text = os.fspath(path)
    for name in unset_variables(text):
        raise ParameterError(f"path {text!r} uses ${name}, which is not set in the environment")
    expanded = VARIABLE.sub(lambda found: _variable(found.group(1)), text)
    return (project_root() / Path(expanded).expanduser()).resolve()


def unset_variables(path: str) -> list[str]:
    """Environment variables in `path` that are not set, and have no default."""
    return [name for name in VARIABLE.findall(path) if not _variable(name)]


def _variable(name: str) -> str:
    default = real_data_root() if name == "ICH_REAL_DATA" else None
    return os.environ.get(name) or (str(default) if default else "")


def real_data_root() -> Path | None:
    """Folder of the real scans (`ICH_REAL_DATA`, else `../shared/real`), or None where absent."""
    candidate = Path(os.environ.get("ICH_REAL_DATA") or project_root().parent / "shared" / "real")
    return candidate.resolve() if candidate.is_dir() else None


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, refused with DataError when a name from a data file would leave the
    folder."""
    base = folder.resolve()
    path = (base / name).resolve()
    if path == base or not path.is_relative_to(base):
        raise DataError(
            f"{name!r}, read from a data file, points outside {base}; refusing to use it"
        )
    return path


def safe_name(identifier: str) -> str:
    """`identifier` as a file name: letters, digits, `.`, `-`, `_`; anything else becomes `_`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", identifier).lstrip(".")
    if not name:
        raise DataError(f"identifier {identifier!r} leaves nothing to name a file with")
    return name
