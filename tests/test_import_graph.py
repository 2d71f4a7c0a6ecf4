"""Which parts of the package may know which others."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ich_study import sources

PACKAGE = Path(__file__).parents[1] / "ich_study"
KNOW_NO_TRAINING = ("evaluate", "models", "metrics", "inputs", "ct")
MOST_IN_ROOT = 11


# What a module imports by name; `new_scan` asks methods by a name that it is told.
WRITTEN = {name: sources.imports_of(path.read_text()) for name, path in sources.modules().items()}
GRAPH = {name: (used & WRITTEN.keys()) - {name} for name, used in WRITTEN.items()}


def room(module: str) -> str:
    """`methods.mil` of a method's module, else the first folder; empty for the root."""
    parts = module.split(".")[1:]
    if parts[:1] == ["methods"]:
        return ".".join(parts[:2])
    return parts[0] if parts and (PACKAGE / parts[0]).is_dir() else ""


EDGES = [(user, used) for user, all_used in GRAPH.items() for used in sorted(all_used)]


def test_the_graph_is_read_from_the_sources():
    assert "ich_study.models.backbones" in GRAPH["ich_study.training.learner"]
    assert room("ich_study.methods.mil.network") == "methods.mil"
    assert room("ich_study.ct.windows") == "ct" and room("ich_study.errors") == ""


def test_no_method_imports_another():
    wrong = [
        edge
        for edge in EDGES
        if all(room(end).startswith("methods.") for end in edge) and room(edge[0]) != room(edge[1])
    ]
    assert not wrong


def test_nothing_but_methods_imports_a_method():
    wrong = [
        edge
        for edge in EDGES
        if room(edge[1]).startswith("methods.") and not room(edge[0]).startswith("methods.")
    ]
    assert not wrong


@pytest.mark.parametrize("folder", KNOW_NO_TRAINING)
def test_what_scores_and_feeds_networks_knows_no_training(folder):
    users = [name for name in GRAPH if room(name) == folder]
    assert users
    assert not [edge for edge in EDGES if edge[0] in users and room(edge[1]) == "training"]


def test_no_module_imports_itself_by_a_detour():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_the_root_stays_small():
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_IN_ROOT, modules
