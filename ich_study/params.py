"""Parameters of a notebook: the tagged cell declares them, YAML files and `-p` pairs set them, and
nothing else may.

A notebook has one cell tagged `parameters` that holds only assignments of literals, each preferably
annotated: `epochs: int = 3`, `windows: list[str] = ["brain"]`, `limit: int | None = None`. The
annotation is the type; without one, the type of the default is. A parameter is required when it has
no value to run with: `root: str`, `root: str = ...`, or `root: str = None` (None that the
annotation does not allow). YAML is read as papermill reads it, so that plain papermill runs the
same study.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml

from ich_study.errors import ParameterError

PARAMETERS_TAG = "parameters"
SCALARS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: `annotation` is its type as Python source, `default` a literal (None
    when required)."""

    name: str
    annotation: str
    default: Any
    required: bool


@dataclass(frozen=True)
class Setting:
    """A value given to a parameter, and where it was given: a file's path or `-p`; `text` is the
    raw `-p` text."""

    value: Any
    source: str
    text: str | None = None


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.1 as papermill reads it (dates stay text), but a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ParameterError(
                    f"{node.start_mark.name}: {key!r} stands twice, in lines {seen[key]} and"
                    f" {line}; keep one of them"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


def declared(notebook: Path) -> dict[str, Parameter]:
    """Parameters that `notebook` declares, in their order.

    Raises ParameterError when there is not exactly one cell tagged `parameters`, or when that cell
    holds anything but assignments of literals.
    """
    cells = [
        cell
        for cell in nbformat.read(notebook, as_version=4).cells
        if PARAMETERS_TAG in cell.metadata.get("tags", [])
    ]
    if len(cells) != 1:
        raise ParameterError(
            f"{notebook}: expected one cell tagged {PARAMETERS_TAG!r}, found {len(cells)}"
        )
    try:
        statements = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise ParameterError(
            f"{notebook}: line {error.lineno} of the parameters cell is not Python: {error.msg}"
        ) from None
    parameters: dict[str, Parameter] = {}
    for statement in statements:
        if (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        ):
            continue
        parameter = _parameter(statement, notebook)
        if parameter.name in parameters:
            raise ParameterError(
                f"{notebook}: parameter {parameter.name!r} is assigned twice in the parameters cell"
            )
        parameters[parameter.name] = parameter
    return parameters


def _parameter(statement: ast.stmt, notebook: Path) -> Parameter:
    where = (
        f"{notebook}: line {statement.lineno} of the parameters cell, `{ast.unparse(statement)}`,"
    )
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        name, annotation, value = (
            statement.target.id,
            ast.unparse(statement.annotation),
            statement.value,
        )
    elif (
        isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
    ):
        name, annotation, value = statement.targets[0].id, None, statement.value
    else:
        raise ParameterError(
            f"{where} is not the assignment of a literal to a name; derived values belong in the"
            " next cell"
        )
    try:
        default = ... if value is None else ast.literal_eval(value)
    except ValueError:
        raise ParameterError(
            f"{where} is not a literal; derived values belong in the next cell"
        ) from None
    if annotation is None:
        annotation = type(default).__name__
        if annotation not in (*SCALARS, "list", "dict"):
            raise ParameterError(
                f"{where} does not say its type; annotate it, for example `{name}: int | None ="
                " None`"
            )
    _check_annotation(annotation, where)
    required = default is ... or (default is None and not _fits(None, annotation))
    if not required and not _fits(default, annotation):
        raise ParameterError(f"{where} has a default that is no {annotation}")
    return Parameter(name, annotation, None if required else default, required)


def _check_annotation(annotation: str, where: str) -> None:
    """ParameterError unless `annotation` is built of int, float, str, bool, None, list, dict and
    `|`."""
    tree = ast.parse(annotation, mode="eval").body
    for node in ast.walk(tree):
        known_name = isinstance(node, ast.Name) and node.id in (*SCALARS, "list", "dict")
        known_none = isinstance(node, ast.Constant) and node.value is None
        if not (
            known_name
            or known_none
            or isinstance(
                node, ast.Subscript | ast.BinOp | ast.BitOr | ast.Tuple | ast.expr_context
            )
        ):
            raise ParameterError(
                f"{where} has type {annotation!r}; use int, float, str, bool, list[...], dict[str,"
                " ...] and `| None`"
            )


def _fits(value: object, annotation: str) -> bool:
    return _matches(value, ast.parse(annotation, mode="eval").body)


def _matches(value: object, node: ast.expr) -> bool:
    match node:
        case ast.BinOp(left=left, right=right):
            return _matches(value, left) or _matches(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="float"):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Name(id="int"):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.Name(id=name):
            return isinstance(value, {**SCALARS, "list": list, "dict": dict}[name])
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return isinstance(value, list) and all(_matches(entry, item) for entry in value)
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, item])):
            return isinstance(value, dict) and all(
                _matches(k, key) and _matches(v, item) for k, v in value.items()
            )
    return False


def read_file(path: Path) -> dict[str, Setting]:
    """Settings of one YAML file, which must hold a mapping of parameter names to values (or
    nothing).

    Raises ParameterError when the file is missing, is not YAML, holds a key twice or is no mapping.
    """
    if not path.is_file():
        raise ParameterError(f"parameters file {path} does not exist")
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, Loader=_StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"{path} is not readable as YAML: {' '.join(str(error).split())}"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ParameterError(
            f"{path} must hold `name: value` lines, with names as text; found"
            f" {type(content).__name__} {content!r:.80}"
        )
    return {name: Setting(value, str(path)) for name, value in content.items()}


def read_pair(name: str, text: str) -> tuple[str, Setting]:
    """Setting of one `-p name text`: the text is read as YAML, so that `3`, `true`, `[a, b]` and
    `null` mean what they do in a file."""
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError:
        value = text
    return name, Setting(value, "-p", text)


def check(
    parameters: Mapping[str, Parameter], settings: Mapping[str, Setting], notebook: str
) -> dict[str, Any]:
    """Values to inject: `settings` with whole numbers made float where a float is declared.

    Raises ParameterError that names every unknown, mistyped and missing parameter, where it stands,
    what was expected and, for an unknown one, the closest declared name.
    """
    problems, values = [], {}
    for name, setting in settings.items():
        if name not in parameters:
            problems.append(_unknown(name, setting, parameters, notebook))
        elif (fitting := _coerced(parameters[name].annotation, setting)) is None:
            problems.append(_mistyped(parameters[name], setting))
        else:
            values[name] = fitting[0]
    for parameter in parameters.values():
        if parameter.required and parameter.name not in settings:
            problems.append(
                f"missing parameter {parameter.name!r}: {notebook} needs it"
                f" ({parameter.annotation}) and has no default for it"
            )
    if problems:
        raise ParameterError("\n".join(problems))
    return values


def _unknown(name: str, setting: Setting, parameters: Iterable[str], notebook: str) -> str:
    close = difflib.get_close_matches(name, list(parameters), n=1)
    advice = (
        f"did you mean {close[0]!r}?"
        if close
        else f"it knows {', '.join(sorted(parameters)) or 'none'}"
    )
    return (
        f"unknown parameter {name!r} in {setting.source}: {notebook} does not declare it; {advice}"
    )


def _mistyped(parameter: Parameter, setting: Setting) -> str:
    found = f"found {type(setting.value).__name__} {setting.value!r:.80}"
    hint = ""
    if (
        isinstance(setting.value, str)
        and setting.text is None
        and _as_float(setting.value) is not None
    ):
        hint = (
            "; write numbers without quotes, and with a point before the exponent (1.0e-4), or YAML"
            " reads them as text"
        )
    return (
        f"mistyped parameter {parameter.name!r} in {setting.source}: expected"
        f" {parameter.annotation}, {found}{hint}"
    )


def _coerced(annotation: str, setting: Setting) -> tuple[Any] | None:
    """The setting's value as `annotation` asks, in a 1-tuple, or None where it does not fit."""
    candidates = [setting.value]
    if setting.text is not None:
        candidates += [setting.text, _as_float(setting.text)]
    for candidate in candidates:
        if _fits(candidate, annotation) and (candidate is not None or setting.value is None):
            return (_widened(candidate, ast.parse(annotation, mode="eval").body),)
    return None


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _widened(value: Any, node: ast.expr) -> Any:
    """`value` with int made float wherever the type says float and not int, in lists and dicts
    too."""
    if isinstance(node, ast.BinOp):
        exact = [side for side in (node.right, node.left) if _matches(value, side)]
        return value if len(exact) == 2 else _widened(value, exact[0])
    if isinstance(node, ast.Name) and node.id == "float":
        return float(value)
    if isinstance(node, ast.Subscript) and isinstance(value, list):
        return [_widened(entry, node.slice) for entry in value]
    if (
        isinstance(node, ast.Subscript)
        and isinstance(value, dict)
        and isinstance(node.slice, ast.Tuple)
    ):
        return {key: _widened(entry, node.slice.elts[1]) for key, entry in value.items()}
    return value


def load(
    notebook: Path, files: Iterable[Path] = (), pairs: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Values to inject into `notebook`: files in their order, later ones winning, then `-p` pairs.

    Every file is checked whole, so a wrong line is an error even where a later file overrides it.
    Raises ParameterError as `check` does.
    """
    parameters = declared(notebook)
    optional = {
        name: Parameter(name, each.annotation, each.default, False)
        for name, each in parameters.items()
    }
    layers = [read_file(Path(file)) for file in files]
    layers.append(dict(read_pair(name, text) for name, text in pairs))
    merged: dict[str, Setting] = {}
    for layer in layers:
        check(optional, layer, notebook.stem)
        merged.update(layer)
    return check(parameters, merged, notebook.stem)


def complete(notebook: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of `notebook` with the value it runs with: `values` over the defaults."""
    return {
        name: values.get(name, parameter.default) for name, parameter in declared(notebook).items()
    }
