"""Parameters of a notebook: the tagged cell declares them, YAML files and `-p` pairs set them, and
nothing else may.

A notebook has one cell tagged `parameters` that holds only assignments of literals, each preferably
annotated: `epochs: int = 3`, `windows: list[str] = ["brain"]`, `limit: int | None = None`. The
annotation is the type; without one, the type of the default is. A parameter is required when it has
no value to run with: `root: str`, `root: str = ...`, or `root: str = None` (None that the
annotation does not allow). YAML is read as papermill reads it.
The range of a number that has one is `inputs.shared`'s, by name.

A comment above a parameter, or behind it, may name the model of what a mapping holds:

    # The slice classifier: settings of ich_study.training.config.TrainingConfig
    classifier: dict = {"size": 96, "epochs": 5}

Then its names and values are checked before the notebook starts, and it merges: what a file or `-p`
gives stands over the earlier files and the notebook's default, setting by setting. Every other
mapping is data and is replaced as a whole. So is a collection, `recipes: dict[str, dict] = ...`
with such a comment: each of its entries is settings of the model, but which there are, the last to
give it decides.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

from ich_study.errors import ParameterError
from ich_study.inputs.settings import Settings, closest
from ich_study.inputs.shared import SharedNumbers
from ich_study.sources import is_text

PARAMETERS_TAG = "parameters"
TYPES: dict[str, type] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "list": list,
    "dict": dict,
}
_MODEL = re.compile(r"\bsettings of ([A-Za-z_][\w.]*\w)")


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: `annotation` is its type as Python source, `default` a literal (None
    when required), `model` the import path of the settings that it holds, if any, `meaning` the
    comment above or behind it."""

    name: str
    annotation: str
    default: Any
    required: bool
    model: str | None = None
    meaning: str = ""

    @property
    def collection(self) -> bool:
        """Whether it holds several settings by name."""
        return self.annotation.startswith("dict[")

    @property
    def settings(self) -> type[Settings] | None:
        """The model of the settings that it holds; ParameterError where there is no such."""
        return None if self.model is None else _settings_model(self.model)

    def holds(self, name: str) -> bool:
        """Whether `name` is one of its settings."""
        return not (self.collection or self.settings is None) and name in self.settings.model_fields

    def problems(self, value: Any) -> list[str]:
        """What is wrong with a number out of its range, or with the settings that `value` holds, a
        sentence each."""
        model = self.settings
        if value is None:
            return []
        if model is None:
            shared = self.name in SharedNumbers.model_fields
            return SharedNumbers.problems({self.name: value}) if shared else []
        if not self.collection:
            return model.problems(value, self.name)
        found: list[str] = []
        for name, entries in value.items():
            found += model.problems(entries, f"{self.name}.{name}")
        return found

    def merged(self, earlier: Any, given: Any) -> Any:
        """`given` over what the earlier files and the notebook's default hold."""
        model = self.settings
        if model is None or self.collection or earlier is None or given is None:
            return given
        return model.merged(earlier, given)


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


class _PairLoader(_StrictLoader):
    """What a person types behind `-p`: 1e-4 is a number there too, inside a mapping as well."""


_PairLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789")
)


def declared(notebook: Path) -> dict[str, Parameter]:
    """Parameters that `notebook` declares, in their order.

    Raises ParameterError when there is not exactly one cell tagged `parameters`, or when that cell
    holds anything but assignments of literals.
    """
    # nbformat, whose import takes seconds, would say no more of a notebook in its present format
    cells = [
        "".join(cell["source"])
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        if PARAMETERS_TAG in cell["metadata"].get("tags", [])
    ]
    if len(cells) != 1:
        raise ParameterError(
            f"{notebook}: expected one cell tagged {PARAMETERS_TAG!r}, found {len(cells)}"
        )
    return declared_in(cells[0], str(notebook))


def declared_in(source: str, notebook: str) -> dict[str, Parameter]:
    """Parameters of the source of a parameters cell, see `declared`; messages name `notebook`."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise ParameterError(
            f"{notebook}: line {error.lineno} of the parameters cell is not Python: {error.msg}"
        ) from None
    parameters: dict[str, Parameter] = {}
    comments, end = _comments(source), 0
    for statement in statements:
        # a statement's comments stand behind it or after the statement before it; those inside a
        # mapping are of its entries
        lines = [*range(end + 1, statement.lineno + 1), statement.end_lineno]
        said = " ".join(comments[line] for line in dict.fromkeys(lines) if line in comments)
        named = _MODEL.search(said)
        end = statement.end_lineno
        if is_text(statement):
            continue
        parameter = _parameter(statement, notebook)
        if parameter.name in parameters:
            raise ParameterError(
                f"{notebook}: parameter {parameter.name!r} is assigned twice in the parameters cell"
            )
        parameters[parameter.name] = replace(
            parameter, model=named[1] if named else None, meaning=said
        )
    return parameters


def described(notebook: Path) -> str:
    """Every parameter for a person: name, type, default, meaning; of settings each one's too."""
    lines = []
    for parameter in declared(notebook).values():
        default = "required" if parameter.required else f"default {parameter.default!r:.60}"
        lines.append(f"{parameter.name}: {parameter.annotation} ({default})")
        if parameter.meaning:
            lines.append(f"    {parameter.meaning}")
        if parameter.settings and not parameter.collection:
            lines += _settings_lines(parameter.settings, parameter.default or {})
    return "\n".join(lines)


def _settings_lines(model: type[Settings], defaults: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, entry in model.model_fields.items():
        own = entry.get_default(call_default_factory=True)
        value = "required" if entry.is_required() else f"default {own!r:.60}"
        if name in defaults:
            value = f"default {defaults[name]!r:.60}"
        lines.append(f"    .{name}: {type_name(entry.annotation)} ({value})")
        if entry.description:
            lines.append(f"        {entry.description}")
    return lines


def type_name(annotation: Any) -> str:
    """A type as YAML's writer thinks of it: a tuple is a list, limits are left out."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(inner[0])
    if origin is Literal:
        return " | ".join(str(choice) for choice in inner)
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(type_name(each) for each in inner))
    if origin is None:
        return "null" if annotation is NoneType else getattr(annotation, "__name__", "any")
    names = dict.fromkeys(type_name(each) for each in inner if each is not ...)
    return f"{'list' if origin is tuple else type_name(origin)}[{', '.join(names)}]"


def _comments(source: str) -> dict[int, str]:
    """The comment of each line that has one, without its `#`."""
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }


@cache
def _settings_model(path: str) -> type[Settings]:
    module, _, name = path.rpartition(".")
    try:
        model = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ParameterError(f"the parameters cell names {path!r}: {error}") from None
    if not (isinstance(model, type) and issubclass(model, Settings)):
        raise ParameterError(f"the parameters cell names {path!r}, which is no class of settings")
    return model


def _parameter(statement: ast.stmt, notebook: str) -> Parameter:
    where = (
        f"{notebook}: line {statement.lineno} of the parameters cell, `{ast.unparse(statement)}`,"
    )
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=said, value=value):
            annotation = ast.unparse(said)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            annotation = None
        case _:
            raise ParameterError(
                f"{where} is not the assignment of a literal to a name; derived values belong in"
                " the next cell"
            )
    try:
        default = ... if value is None else ast.literal_eval(value)
    except ValueError:
        raise ParameterError(
            f"{where} is not a literal; derived values belong in the next cell"
        ) from None
    if annotation is None:
        annotation = type(default).__name__
        if annotation not in TYPES:
            raise ParameterError(
                f"{where} does not say its type; annotate it, for example `{name}: int | None ="
                " None`"
            )
    _check_annotation(annotation, where)
    required = default is ... or (default is None and _fitting(None, annotation) is None)
    if not required and _fitting(default, annotation) is None:
        raise ParameterError(f"{where} has a default that is no {annotation}")
    return Parameter(name, annotation, None if required else default, required)


def _check_annotation(annotation: str, where: str) -> None:
    """ParameterError unless `annotation` is built of int, float, str, bool, None, list, dict and
    `|`."""
    built = ast.Subscript | ast.BinOp | ast.BitOr | ast.Tuple | ast.expr_context
    for node in ast.walk(ast.parse(annotation, mode="eval").body):
        match node:
            case ast.Name(id=name) if name in TYPES:
                continue
            case ast.Constant(value=None):
                continue
        if not isinstance(node, built):
            raise ParameterError(
                f"{where} has type {annotation!r}; use int, float, str, bool, list[...], dict[str,"
                " ...] and `| None`"
            )


@cache
def _adapter(annotation: str) -> TypeAdapter[Any]:
    # only what `_check_annotation` let through: names of TYPES, None, subscripts and `|`
    return TypeAdapter(eval(annotation, {"__builtins__": {}}, TYPES))


def _fitting(value: object, annotation: str) -> tuple[Any] | None:
    """`value` in a 1-tuple, whole numbers made float where the type says float; None where it does
    not fit."""
    try:
        return (_adapter(annotation).validate_python(value, strict=True),)
    except ValidationError:
        return None


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


def read_pair(text: str) -> Setting:
    """What stands behind `-p name`: the text is read as YAML, so that `3`, `true`, `[a, b]` and
    `null` mean what they do in a file."""
    try:
        value = yaml.load(text, Loader=_PairLoader)
    except yaml.YAMLError:
        value = text
    return Setting(value, "-p", text)


def check(
    parameters: Mapping[str, Parameter], settings: Mapping[str, Setting], notebook: str
) -> dict[str, Any]:
    """Values to inject: `settings` with whole numbers made float where a float is declared.

    Raises ParameterError that names every unknown, mistyped and missing parameter, and every wrong
    one of its settings, where it stands, what was expected and, for an unknown one, the closest
    declared name.
    """
    problems, values = [], {}
    for name, setting in settings.items():
        if name not in parameters:
            holders = [each.name for each in parameters.values() if each.holds(name)]
            inside = f"it is a setting of {' and '.join(holders)}: give it inside"
            problems.append(
                f"unknown parameter {name!r} in {setting.source}: {notebook} does not declare it;"
                f" {inside if holders else closest(name, parameters)}"
            )
        elif (fitting := _coerced(parameters[name].annotation, setting)) is None:
            problems.append(_mistyped(parameters[name], setting))
        else:
            values[name] = fitting[0]
            problems += [
                f"{sentence} (in {setting.source})"
                for sentence in parameters[name].problems(values[name])
            ]
    for parameter in parameters.values():
        if parameter.required and parameter.name not in settings:
            problems.append(
                f"missing parameter {parameter.name!r}: {notebook} needs it"
                f" ({parameter.annotation}) and has no default for it"
            )
    if problems:
        raise ParameterError("\n".join(problems))
    return values


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
        fitting = _fitting(candidate, annotation)
        if fitting is not None and (candidate is not None or setting.value is None):
            return fitting
    return None


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def load(
    notebook: Path, files: Iterable[Path] = (), pairs: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Values to inject into `notebook`: files in their order, later ones winning, then `-p` pairs;
    settings are merged over the notebook's defaults.

    Every file is checked whole, so a wrong line is an error even where a later file overrides it.
    Raises ParameterError as `check` does.
    """
    parameters = declared(notebook)
    optional = {name: replace(each, required=False) for name, each in parameters.items()}
    layers = [read_file(Path(file)) for file in files]
    layers.append({name: read_pair(text) for name, text in pairs})
    found: dict[str, Setting] = {}
    for layer in layers:
        for name, value in check(optional, layer, notebook.stem).items():
            earlier = found[name].value if name in found else parameters[name].default
            merged = parameters[name].merged(earlier, value)
            found[name] = Setting(merged, layer[name].source)
    return check(parameters, found, notebook.stem)


def complete(notebook: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of `notebook` with the value it runs with: `values` over the defaults."""
    return {
        name: values.get(name, parameter.default) for name, parameter in declared(notebook).items()
    }
