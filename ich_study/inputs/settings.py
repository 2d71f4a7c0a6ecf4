"""Settings: what a person may set, each said once, in a pydantic model a concept.

A field gives the name, the type, the range, the default and, as `Field(description=...)`, the
meaning of a setting. A wrong value is a ParameterError that names the setting, what was expected
and what was found. Models are light to import (no network, no torch beyond what their choices
need), so that a run is refused before it starts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from ich_study.errors import ParameterError

EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
}
"""pydantic's names of errors, in words that end "expected ..."."""
Path = tuple[str | int, ...]
Detail = Mapping[str, Any]
"""One of pydantic's errors: `type`, `loc`, `msg`, `input`, `ctx`."""


class Settings(BaseModel):
    """Base of every class of settings: frozen, no unknown names, no silent conversion.

    A whole number stands for a float and a list for a tuple, as YAML writes them; nothing else is
    converted. Raises ParameterError naming every setting that is wrong. A validator of one setting
    raises ValueError with the words that follow "expected".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    named_by: ClassVar[str | None] = None
    """A setting that says what the others belong to: whoever sets it starts from the defaults."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ParameterError("\n".join(_problems(type(self), error, values))) from None

    # pydantic calls an __init__ of one's own where it validates; marked as its own, it does not
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="before")
    @classmethod
    def _lists_as_tuples(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }

    @model_validator(mode="after")
    def _combination(self) -> Self:
        try:
            self.check()
        except ParameterError as error:
            raise ValueError(str(error)) from None
        return self

    def check(self) -> None:
        """Raise ParameterError where settings that are right alone do not go together."""

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """The settings that a mapping out of YAML gives; errors name them `where.setting`."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ParameterError("\n".join(_problems(cls, error, values, where))) from None

    @classmethod
    def problems(cls, values: Mapping[str, Any], where: str = "") -> list[str]:
        """What is wrong with some of the settings, a sentence each; what is not there may be given
        elsewhere, so combinations of settings are not looked at."""
        try:
            cls.model_validate(dict(values))
        except ValidationError as error:
            return _problems(cls, error, values, where, complete=False)
        return []

    @classmethod
    def merged(cls, earlier: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """`given` over `earlier`, setting by setting; alone where it sets `named_by`."""
        return dict(given) if cls.named_by in given else {**earlier, **given}

    def changed(self, **changes: Any) -> Self:
        """The same settings with some replaced, checked again."""
        return type(self)(**{**dict(self), **changes})

    def describe(self) -> dict[str, Any]:
        """JSON-able settings, as `read` takes them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.model_dump().items()
        }


def one_of(choices: Iterable[str]) -> AfterValidator:
    """Validator of a text that is one of `choices`, for `Annotated[str, ...]`."""
    known = tuple(choices)

    def checked(value: str) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return value

    return AfterValidator(checked)


def _problems(
    model: type[Settings],
    error: ValidationError,
    values: Mapping[str, Any],
    where: str = "",
    complete: bool = True,
) -> list[str]:
    """A sentence for each setting that is wrong; one that may be a number or a list is one."""
    found: dict[Path, list[Detail]] = {}
    for detail in error.errors(include_url=False):
        if complete or (detail["loc"] and detail["type"] != "missing"):
            found.setdefault(_path(detail, values), []).append(detail)
    # of a list with a wrong entry the entry is named, not that the list is no number either
    inner = [
        path
        for path in found
        if not any(len(path) < len(other) and other[: len(path)] == path for other in found)
    ]
    return [_sentence(model, path, found[path], where) for path in inner]


def _path(detail: Detail, values: Any) -> Path:
    """Where in `values` an error stands: pydantic's location without its names of union members."""
    path: list[str | int] = []
    for step in detail["loc"]:
        inside = step in values if isinstance(values, Mapping) else False
        if isinstance(values, Sequence) and isinstance(step, int):
            inside = step < len(values)
        if inside:
            values = values[step]
        if inside or detail["type"] == "missing":
            path.append(step)
    return tuple(path)


def _sentence(model: type[Settings], path: Path, details: Sequence[Detail], where: str) -> str:
    first = details[0]
    name = where
    for step in path:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    if first["type"] == "extra_forbidden":
        return f"unknown setting {name!r}; {closest(str(path[-1]), model.model_fields)}"
    if not path:  # settings that do not go together
        return f"{name}: {_words(first)}" if name else _words(first)
    if first["type"] == "missing":
        return f"{name} is missing"
    value = list(first["input"]) if isinstance(first["input"], tuple) else first["input"]
    words = [_words(each) for each in details]
    hint = ""
    if isinstance(value, str) and "a number" in words and _is_number(value):
        hint = (
            "; write numbers without quotes, and with a point before the exponent (1.0e-4), or YAML"
            " reads them as text"
        )
    mistyped = any(each["type"].endswith("_type") for each in details)
    kind = f" ({type(value).__name__})" if mistyped else ""
    return f"{name} is {value!r}{kind}; expected {' or '.join(words)}{hint}"


def _words(detail: Detail) -> str:
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    return EXPECTED.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {}))


def closest(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is not known: the closest one, else all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
