"""Which parts of the package may know which others."""

import ast
import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ich_study import sources

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ich_study"
KNOW_NO_TRAINING = ("evaluate", "models", "metrics", "inputs", "ct")
MOST_IN_ROOT = 11
SLOW = {
    *("torchvision", "timm", "fastai", "monai", "pytorch_grad_cam"),
    *("sklearn", "skimage", "bayes_opt", "highdicom", "papermill", "nbformat"),
    *("scipy.stats", "scipy.optimize"),
}
"""Half a second to five each: imported in the function that uses them."""
HAVE_SLOW = {
    "ich_study.run.execute",  # papermill; imported by `run` when it starts a kernel
    "ich_study.run.papermill_plugin",  # papermill; imported by papermill itself
    "ich_study.training.fastai_api",  # fastai; imported by `training.loop` when it trains
}


# Written imports, and modules that are asked for by name.
GRAPH = {name: sources.imported(name) & sources.modules().keys() for name in sources.modules()}
ASKS_METHODS = {"ich_study.new_scan.apply"}
"""By the name that a source of trained weights has; it knows none of them."""


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
    users = {
        user
        for user, used in EDGES
        if room(used).startswith("methods.") and not room(user).startswith("methods.")
    }
    assert users == ASKS_METHODS


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


def on_import(module: str) -> set[str]:
    """What importing a module imports: its statements outside functions and type checks."""
    found = set()
    waiting = list(ast.parse(sources.modules()[module].read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.With | ast.ClassDef | ast.Try):
            waiting += node.body
    return found


def test_what_is_slow_to_import_is_imported_where_it_is_used():
    found = {
        module
        for module in sources.modules()
        for name in on_import(module)
        if {name, name.split(".")[0]} & SLOW
    }
    assert found == HAVE_SLOW
    users = {user for user in GRAPH if on_import(user) & HAVE_SLOW}
    allowed = {"callbacks", "epochs", "schedules"}
    assert {user.rpartition(".")[2] for user in users} == allowed
    late = {f"ich_study.training.{name}" for name in allowed}
    assert not [user for user in set(GRAPH) - late if on_import(user) & late]


def test_data_and_figures_start_without_torch():
    code = "\n".join(
        statement
        for name in ("00_data", "07_figures")
        for cell in json.loads((ROOT / f"notebooks/{name}.ipynb").read_text())["cells"]
        if cell["cell_type"] == "code"
        for statement in map(ast.unparse, ast.parse("".join(cell["source"])).body)
        if statement.startswith(("import ", "from "))
    )
    wanted = sorted(SLOW | {"torch"})
    asked = f"{code}\nimport sys\nprint([each for each in {wanted} if each in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['scipy.optimize']", "the phantom's splines have that one"


def test_the_root_stays_small():
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_IN_ROOT, modules
