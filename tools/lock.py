"""Writes requirements.lock: the exact version, in this environment, of all that pyproject.toml
needs, extras included.

`python tools/lock.py` (or `make lock`) after the environment has been changed and tested. Names and
versions only: no hosts, no paths. Packages that only Linux needs (CUDA) carry a marker; what only
another system needs (appnope on macOS) is left to pip.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "darwin": {
        "sys_platform": "darwin",
        "platform_system": "Darwin",
        "os_name": "posix",
        "platform_machine": "arm64",
    },
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
HEADER = """\
# The exact environment of the study: pyproject.toml's dependencies and its extras test and cluster.
# Written by `make lock`; tests/test_environment.py fails when it, pyproject.toml and
# environment.yml disagree.
"""


NOT_LOCKED = "ct"
"""An extra of 235 MB that few runs need; its files are known by their SHA-256."""


def declared(root: Path = ROOT) -> list[Requirement]:
    """Dependencies that pyproject.toml declares, with those of its extras but NOT_LOCKED."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = [line for name, lines in optional.items() if name != NOT_LOCKED for line in lines]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


def closure(requirements: list[Requirement], environment: dict[str, str]) -> set[str]:
    """Canonical names of all installed packages that `requirements` lead to where `environment`'s
    markers hold."""
    found: set[str] = set()
    done: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            needs = [Requirement(line) for line in distribution(name).requires or []]
        except PackageNotFoundError:
            continue
        found.add(name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in done:
                done.add((name, wanted))
                waiting += [(need, wanted) for need in needs]
    return found


def lines(root: Path = ROOT) -> list[str]:
    """The lock's lines, sorted by name: `name==version`, with a marker where only Linux needs the
    package."""
    requirements = declared(root)
    per_system = {
        system: (
            set().union(
                *(
                    closure(
                        requirements,
                        {
                            **markers,
                            "python_version": f"{python}",
                            "python_full_version": f"{python}.0",
                        },
                    )
                    for python in PYTHONS
                )
            )
        )
        for system, markers in SYSTEMS.items()
    }
    missing = sorted(
        r.name for r in requirements if canonicalize_name(r.name) not in per_system["linux"]
    )
    if missing:
        raise SystemExit(
            f"not installed in {sys.prefix}: {', '.join(missing)}; install `.[test,cluster]` first"
        )
    result = []
    for name in sorted(set().union(*per_system.values())):
        marker = "" if name in per_system["darwin"] else ' ; sys_platform == "linux"'
        result.append(f"{name}=={distribution(name).version.split('+')[0]}{marker}")
    return result


if __name__ == "__main__":
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines()) + "\n", encoding="utf-8")
