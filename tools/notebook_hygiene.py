"""What a committed notebook must be: runnable as it stands, free of outputs and machines, a
narrative and not a module.

`python -m tools.notebook_hygiene` lists what is wrong with the notebooks; `--fix` strips
outputs, execution counts and kernel names (tags stay), which is all that can be put right by rule.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import nbformat

from ich_study import params, paths
from ich_study.atomic import write_text
from ich_study.errors import ParameterError
from ich_study.sources import modules

MAX_CELLS = 36
MAX_STATEMENTS = 110
STUDIES = ("02_", "03_", "04_", "05_", "06_")
"""Beginnings of the notebooks of one method each: they show the method and wire a study."""
MAX_IMPORTED, MAX_FROM = 12, 6
"""Names of the package that the import statements of a notebook of STUDIES bind, and the modules
that stand in these statements."""
MAX_NAMES, MAX_MODULES = 60, 12
"""Of the package that such a notebook uses, attributes of a whole room or module among them. Each
step of a method that is called where a reader sees its arrays is one."""
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""The kernel that every Jupyter has; papermill reads no parameters of a notebook without one."""
FIRST_CELL_SAYS = ("question", "paper", "inputs", "outputs", "command", "time", "memory")
TOP = ("ich_study", "ich_study")
"""What `import ich_study.store` binds."""
_MACHINE_PATH = re.compile(
    r"(?<![\w./])(/(?:home|Users|mnt|lustre|projects|root|tmp|work|scratch)/|[A-Z]:\\)"
)


def problems(path: Path) -> list[str]:
    """Everything that keeps the notebook at `path` from being committed, a sentence each; empty
    when clean."""
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except Exception as error:
        return [f"is not a valid notebook: {' '.join(str(error).split())[:200]}"]
    return [
        *_remains(notebook),
        *_shape(notebook),
        *_first_cell(notebook),
        *_parameters(path),
        *_code(notebook),
        *(_borrowed(notebook) if path.name.startswith(STUDIES) else ()),
    ]


def _remains(notebook: nbformat.NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield f"cell {number} has outputs or an execution count; run with --fix"
        if set(cell.metadata) - {"tags"}:
            yield (
                f"cell {number} has metadata {sorted(set(cell.metadata) - {'tags'})}; run with"
                " --fix"
            )
        if found := _MACHINE_PATH.search(cell.source):
            yield f"cell {number} holds a path of one machine ({found[0]}...)"
    if notebook.metadata != METADATA:
        yield f"its metadata should be {METADATA} and no kernel of your own; run with --fix"


def _shape(notebook: nbformat.NotebookNode) -> Iterator[str]:
    if len(notebook.cells) > MAX_CELLS:
        yield f"has {len(notebook.cells)} cells, at most {MAX_CELLS} are allowed"
    statements = 0
    for cell in notebook.cells:
        if cell.cell_type == "code" and params.PARAMETERS_TAG not in cell.metadata.get("tags", []):
            statements += _statements(cell.source)
    if statements > MAX_STATEMENTS:
        yield (
            f"has {statements} statements, at most {MAX_STATEMENTS} are allowed: logic belongs in"
            " ich_study"
        )


def _statements(source: str) -> int:
    """Statements of a cell, nested ones too; 0 where it is not Python, which another rule says."""
    try:
        return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(source)))
    except SyntaxError:
        return 0


def _first_cell(notebook: nbformat.NotebookNode) -> Iterator[str]:
    if not notebook.cells or notebook.cells[0].cell_type != "markdown":
        yield "should begin with a markdown cell that says what it is for"
        return
    text = notebook.cells[0].source.lower()
    missing = [
        word for word in FIRST_CELL_SAYS if not re.search(rf"\b{word.removesuffix('s')}s?\b", text)
    ]
    if missing:
        yield f"its first cell does not say: {', '.join(missing)}"


def _parameters(path: Path) -> Iterator[str]:
    try:
        declared = params.declared(path)
    except ParameterError as error:
        yield str(error)
        return
    if "output_dir" not in declared:
        yield "declares no parameter output_dir, the folder of its run"


def _code(notebook: nbformat.NotebookNode) -> Iterator[str]:
    importing = []
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        try:
            nodes = list(ast.walk(ast.parse(cell.source)))
        except SyntaxError as error:
            yield (
                f"cell {number} is not plain Python (line {error.lineno}): no magics, no shell"
                " commands"
            )
            continue
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes):
            importing.append(number)
        if any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            for node in nodes
        ):
            yield f"cell {number} defines a function or class: it belongs in ich_study, with a test"
    if len(importing) != 1:
        yield f"should import in one cell, imports in {importing or 'none'}"


def _borrowed(notebook: nbformat.NotebookNode) -> Iterator[str]:
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    try:
        statements, names = import_statements(sources), package_names(sources)
    except SyntaxError:
        return  # which another rule says
    imported = sum(len(bound) for bound in statements.values())
    if imported > MAX_IMPORTED or len(statements) > MAX_FROM:
        yield (
            f"imports {imported} names from {len(statements)} modules of ich_study, at most"
            f" {MAX_IMPORTED} from {MAX_FROM} are allowed: import a room whole, move wiring there"
        )
    homes = {name.rpartition(".")[0] for name in names}
    if len(names) > MAX_NAMES or len(homes) > MAX_MODULES:
        yield (
            f"takes {len(names)} names from {len(homes)} modules of ich_study, at most {MAX_NAMES}"
            f" from {MAX_MODULES} are allowed: wiring belongs there"
        )


def import_statements(sources: Iterable[str]) -> dict[str, set[str]]:
    """Modules of the package in the import statements of cells of code, with the names that each
    statement binds.

    >>> import_statements(["from ich_study.methods import mil, cams as room"]) == {
    ...     "ich_study.methods": {"mil", "room"}
    ... }
    True
    """
    found: dict[str, set[str]] = {}
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ich_study"):
            names = {each.asname or each.name for each in node.names}
            found.setdefault(node.module, set()).update(names)
        elif isinstance(node, ast.Import):
            for each in node.names:
                if each.name.startswith("ich_study"):
                    found.setdefault(each.name, set()).add(each.asname or each.name)
    return found


def package_names(sources: Iterable[str]) -> set[str]:
    """Names of the package that cells of code use, with the module that each is taken from.

    Of a module that is imported whole every attribute that is used counts.

    >>> sorted(package_names(["from ich_study.methods import mil", "mil.spaced(mil.upsampled(x))"]))
    ['ich_study.methods.mil.spaced', 'ich_study.methods.mil.upsampled']
    """
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    bound = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ich_study"):
            bound |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            whole = [each for each in node.names if each.name.startswith("ich_study")]
            bound |= dict((each.asname, each.name) if each.asname else TOP for each in whole)
    used = {name for name in bound.values() if name not in modules()}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            name = f"{bound.get(first)}.{rest}"
            if name.rpartition(".")[0] in modules() and name not in modules():
                used.add(name)
    return used


def fix(path: Path) -> bool:
    """Strip outputs, execution counts, other kernels and all metadata but tags; True when that
    changed the file."""
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
        )
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    after = nbformat.writes(notebook) + "\n"
    if after == before:
        return False
    write_text(path, after)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0 when every notebook is clean, 1 when not, 2 when there is
    none."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebook_hygiene", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="strip outputs, execution counts and kernel names; keep tags",
    )
    options = parser.parse_args(arguments)
    notebooks = options.notebooks or sorted((paths.project_root() / "notebooks").glob("*.ipynb"))
    if not notebooks:
        print("no notebooks found", file=sys.stderr)
        return 2
    found = 0
    for notebook in notebooks:
        if options.fix and fix(notebook):
            print(f"{notebook.name}: stripped", file=sys.stderr)
        for problem in problems(notebook):
            print(f"{notebook.name}: {problem}", file=sys.stderr)
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
