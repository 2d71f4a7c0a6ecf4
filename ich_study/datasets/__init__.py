"""One module per data set; every reader keeps to `contract.Reader`.

`READERS` maps a data set's name to its reader class and imports the module only when asked for it.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ich_study.datasets.contract import Reader
from ich_study.errors import ParameterError
from ich_study.paths import resolve

_CLASSES: dict[str, tuple[str, str]] = {
    "rsna": ("rsna", "RsnaReader"),
    "bhsd": ("bhsd", "BhsdReader"),
    "physionet": ("physionet", "PhysionetReader"),
    "cq500": ("cq500", "Cq500Reader"),
    "instance2022": ("instance2022", "Instance2022Reader"),
    "hemorica": ("hemorica", "HemoricaReader"),
    "phe_sich": ("phe_sich", "PheSichReader"),
}


class _LazyReaders(Mapping[str, type]):
    def __getitem__(self, name: str) -> type:
        module, attribute = _CLASSES[name]
        return getattr(import_module(f"{__name__}.{module}"), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


READERS: Mapping[str, type] = _LazyReaders()


def open_dataset(name: str, root: str | os.PathLike[str], **options: Any) -> Reader:
    """Reader of data set `name` at `root` (a parameter's path, see `paths.resolve`).

    options: the reader's own parameters. Raises ParameterError that lists the known names for an
    unknown data set or option, and for an option of the wrong type.
    """
    if name not in READERS:
        raise ParameterError(f"unknown data set {name!r}; known: {', '.join(READERS)}")
    reader = READERS[name]
    known = [option for option in inspect.signature(reader).parameters if option != "root"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ParameterError(
            f"data set {name!r} has no options {unknown}; known: {', '.join(known) or 'none'}"
        )
    hints = get_type_hints(reader.__init__)
    for option, value in options.items():
        if not _fits(value, hints.get(option, Any)):
            raise ParameterError(
                f"option {option} of data set {name!r} is {value!r}; expected {hints[option]}"
            )
    return reader(resolve(root), **options)


def _fits(value: object, hint: Any) -> bool:
    """Whether a value out of YAML fits a hint of plain types; containers and literals are the
    reader's to check."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    return True
