"""Which code makes a stage: its modules, the tables that ship with them, the packages they import.

A stage starts from some modules (a reader, a training loop, a notebook's imports) and is made by
all that these import, in turn. Its marks name each of them with a hash, or with a version, so that
what was made by other code is known, and is made anew.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from ich_study.hashing import sha256_bytes, sha256_file

PACKAGE = Path(__file__).resolve().parent
DRAWS = "ich_study.figures"
"""The room that only draws: no number comes from it."""
PLUGINS = {"pydicom": "python-gdcm"}
"""Packages that decode for another one and that nobody imports by name."""
NO_NUMBERS = frozenset({"tqdm"})
"""Packages that only show how far something is."""
MARK_LENGTH = 16


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, `ich_study.store.read`, and its file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str) -> set[str]:
    r"""What a source imports, anywhere in it: modules of the package, and the names of others.

    >>> sorted(imports_of("import numpy\nfrom ich_study.store import Store, build_store"))
    ['ich_study.store.build', 'ich_study.store.read', 'numpy']
    >>> imports_of("late = import_module('ich_study.cross.figures')")
    {'ich_study.cross.figures'}
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(_known(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(_origin(node.module, alias.name) for alias in node.names)
        elif isinstance(asked := _asked(node), ast.Constant):
            found.add(_known(asked.value))
    return found


def _asked(node: ast.AST) -> ast.AST | None:
    """What a call of `import_module` asks for; None of anything else."""
    called = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    return node.args[0] if called else None


def _known(name: str) -> str:
    """A module of the package as it is; of another package its first name."""
    return name if name in modules() else name.split(".")[0]


def _origin(module: str, name: str) -> str:
    """The module that `from module import name` means: a module below it, the one that its
    `__init__` has the name from, or itself."""
    if f"{module}.{name}" in modules():
        return f"{module}.{name}"
    for node in _tree(module).body if module in modules() else ():
        passed_on = isinstance(node, ast.ImportFrom) and node.module in modules()
        if passed_on and name in {alias.asname or alias.name for alias in node.names}:
            return _origin(node.module, name)
    return _known(module)


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


@cache
def imported(module: str) -> frozenset[str]:
    """What one module of the package imports, by name or by a name that it puts together."""
    found = imports_of(modules()[module].read_text(encoding="utf-8"))
    for node in ast.walk(_tree(module)):
        if isinstance(asked := _asked(node), ast.JoinedStr):
            found |= _fitting(asked, module)
    return frozenset(found - {module})


def _fitting(name: ast.JoinedStr, module: str) -> set[str]:
    """Modules that `import_module(f"ich_study.methods.{room}.scan")` may mean."""
    pattern = ""
    for part in name.values:
        if isinstance(part, ast.Constant):
            pattern += re.escape(part.value)
        else:
            own = isinstance(part.value, ast.Name) and part.value.id == "__name__"
            pattern += re.escape(module) if own else r"\w+"
    return {each for each in modules() if re.fullmatch(pattern, each)}


def made_by(starts: Iterable[str], without: str | None = None) -> set[str]:
    """`starts` and all they import, in turn: modules of the package, and names of other packages.

    without: a room that is left out, with what it alone imports.
    """
    found: set[str] = set()
    waiting = [start if start in sys.modules else _known(start) for start in starts]
    while waiting:
        name = waiting.pop()
        skipped = without is not None and f"{name}.".startswith(f"{without}.")
        if name not in found and not skipped:
            found.add(name)
            waiting += imported(name) if name in modules() else ()
    return found


def notebook_imports(notebook: Path) -> set[str]:
    """What the code cells of a notebook import."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return imports_of("\n".join(code))


def files_of(names: Iterable[str]) -> list[Path]:
    """The files of some modules of the package, and the tables that ship beside those that read
    one."""
    found: set[Path] = set()
    for name in set(names) & modules().keys():
        path = modules()[name]
        found.add(path)
        if _reads_tables(name):
            found.update(path.parent.rglob("*.csv"))
    return sorted(found)


def _reads_tables(module: str) -> bool:
    """Whether it opens files that ship with the package, by `importlib.resources`."""
    return any(
        isinstance(node, ast.ImportFrom) and (node.module or "").startswith("importlib.resources")
        for node in ast.walk(_tree(module))
    )


def code_marks(
    starts: Iterable[str], *, without: str | None = None, exact: bool = True
) -> dict[str, str]:
    """A hash of each module and table, and the version of each package, that `starts` are made by.

    exact: every letter of a module counts; else only what it does, so that a comment or a docstring
    costs nobody a training. A module that is not of the package, such as a reader of one's own, is
    hashed as a file.
    """
    names = made_by(starts, without)
    marks = {}
    for path in files_of(names):
        of_syntax = path.suffix == ".py" and not exact
        mark = _syntax_hash(path) if of_syntax else sha256_file(path)
        marks[path.relative_to(PACKAGE.parent).as_posix()] = mark[:MARK_LENGTH]
    for name in sorted(names - modules().keys() - sys.stdlib_module_names - NO_NUMBERS):
        marks[name] = _version(name) or _loaded_mark(name)
        if name in PLUGINS:
            marks[PLUGINS[name]] = _version(PLUGINS[name]) or "absent"
    return marks


def code_hash(*starts: str, exact: bool = True) -> str:
    """One hash of all `code_marks`."""
    return sha256_bytes(json.dumps(code_marks(starts, exact=exact), sort_keys=True).encode())


@cache
def _syntax_hash(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [line for line in node.body if not is_text(line)]
    return sha256_bytes(ast.dump(tree).encode())


def is_text(line: ast.AST) -> bool:
    """Whether a statement is a text and nothing else, such as a docstring."""
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


@cache
def _version(name: str) -> str | None:
    """Versions of the distributions that an import name comes from; None where there is none."""
    distributions = _distributions().get(name, [name])
    try:
        return ", ".join(importlib.metadata.version(each) for each in sorted(set(distributions)))
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _loaded_mark(name: str) -> str:
    file = getattr(sys.modules.get(name), "__file__", None)
    return "unknown" if file is None else sha256_file(Path(file))[:MARK_LENGTH]
