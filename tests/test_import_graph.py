"""Which parts of the package may know which others."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ich_study"
KNOW_NO_TRAINING = ("evaluate", "models", "metrics", "inputs", "ct")
MOST_IN_ROOT = 11


def module_name(path: Path) -> str:
    parts = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, modules: set[str]) -> set[str]:
    """Modules of the package that a source imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                # `from package import module` names the module, not the package that holds it
                deeper = f"{node.module}.{alias.name}"
                found.add(deeper if deeper in modules else str(node.module))
    return {name for name in found if name in modules}


PATHS = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
GRAPH = {name: imported(path.read_text(), set(PATHS)) for name, path in PATHS.items()}


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
    source = "from ich_study import ct\nfrom ich_study.ct import windows\nimport numpy\n"
    assert imported(source, {"ich_study", "ich_study.ct", "ich_study.ct.windows"}) == {
        "ich_study.ct",
        "ich_study.ct.windows",
    }


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
