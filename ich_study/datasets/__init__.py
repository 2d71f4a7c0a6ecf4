"""One module per data set; every reader keeps to `contract.Reader`.

`READERS` maps a data set, and with it the module of its reader, to the name of the reader's class;
the module is imported only when asked for.
"""

from __future__ import annotations

import os
from dataclasses import fields
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import create_model

from ich_study.datasets.contract import Reader
from ich_study.errors import require_known
from ich_study.inputs.settings import Settings
from ich_study.paths import resolve

READERS: dict[str, str] = {
    "rsna": "RsnaReader",
    "bhsd": "BhsdReader",
    "physionet": "PhysionetReader",
    "cq500": "Cq500Reader",
    "instance2022": "Instance2022Reader",
    "hemorica": "HemoricaReader",
    "phe_sich": "PheSichReader",
}


def reader_class(name: str) -> type:
    """The reader of a data set of `READERS`."""
    return getattr(import_module(f"{__name__}.{name}"), READERS[name])


def open_dataset(name: str, root: str | os.PathLike[str], **options: Any) -> Reader:
    """Reader of data set `name` at `root` (a parameter's path, see `paths.resolve`).

    options: the reader's own parameters. Raises ParameterError that lists the known names for an
    unknown data set or option, and for an option of the wrong type.
    """
    require_known("data set", name, READERS)
    reader = reader_class(name)
    given = _options(reader).read(options, f"reader_options.{name}")
    return reader(resolve(root), **{option: getattr(given, option) for option in options})


def _options(reader: type) -> type[Settings]:
    """The fields of a reader but its root, as settings; what is not given keeps its default."""
    hints = get_type_hints(reader)
    names = [option.name for option in fields(reader) if option.init and option.name != "root"]
    options: dict[str, Any] = {name: (hints[name], None) for name in names}
    return create_model(f"{reader.__name__}Options", __base__=Settings, **options)
