"""Writes `docs/parameters.md`: every parameter of every notebook, every setting of the models that
they name and every option of the readers, from the parameters cells, models and readers themselves.

`python -m tools.parameters` after a change of either; a test fails while the page says otherwise.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from ich_study import datasets, params, paths
from ich_study.atomic import write_text
from ich_study.inputs.settings import Settings
from ich_study.inputs.shared import SharedNumbers

PAGE = "docs/parameters.md"
HEADER = """\
# Parameters and settings

*Written by `python -m tools.parameters` from the notebooks' parameters cells and the models of
settings and the readers of data sets; edit those.*

Defaults are those of a notebook that is run alone. A scale's `params/<scale>/<notebook>.yaml`
stands over them, `-p NAME VALUE` over that. `python -m ich_study.run NOTEBOOK --help` prints the
same. A parameter that holds *settings* merges: what is given stands over the default, setting by
setting. Values are YAML.
"""
OF_READERS = """\
## Options of readers

`reader_options` of `00_data` gives them by data set, as in
`-p reader_options "{cq500: {skip_bad: true}}"`.
"""
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
_NAMED = re.compile(r"\bsettings of [\w.]*\.(\w+)")


def page(notebooks: Iterable[Path]) -> str:
    """The page on these notebooks, and on each model that they name once."""
    sections, models = [HEADER], {}
    for notebook in notebooks:
        declared = params.declared(notebook).values()
        models |= {each.settings.__name__: each.settings for each in declared if each.settings}
        rows = [_parameter(each) for each in declared]
        sections.append(_table(f"## {notebook.stem}", ("parameter", "type", "default"), rows))
    sections.append("## Settings\n")
    for name, model in sorted(models.items()):
        rows = [_setting(field, entry) for field, entry in model.model_fields.items()]
        said = (model.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        heading = f"### {name}\n\n`{model.__module__}`: {' '.join(said.split())}"
        sections.append(_table(heading, ("setting", "type", "default"), rows))
    sections.append(OF_READERS)
    for dataset in datasets.READERS:
        rows = _options(datasets.reader_class(dataset))
        sections.append(_table(f"### {dataset}", ("option", "type", "default"), rows))
    return "\n".join(sections)


def _parameter(each: params.Parameter) -> tuple[str, ...]:
    default = "required" if each.required else _value(each.default)
    kind = f"`{each.annotation}`"
    if each.model is None and each.name in SharedNumbers.model_fields:
        kind = ", ".join([kind, *_bounds(SharedNumbers.model_fields[each.name])])
    meaning = _NAMED.sub(
        lambda named: f"settings of [{named[1]}](#{named[1].lower()})", each.meaning
    )
    return f"`{each.name}`", kind, default, meaning


def _bounds(entry: Any) -> list[str]:
    return [
        f"{sign} {getattr(limit, word)}"
        for limit in entry.metadata
        for word, sign in BOUNDS.items()
        if hasattr(limit, word)
    ]


def _setting(name: str, entry: Any) -> tuple[str, ...]:
    default = entry.get_default(call_default_factory=True)
    kind = ", ".join([f"`{params.type_name(entry.annotation)}`", *_bounds(entry)])
    shown = "required" if entry.is_required() else _value(default)
    return f"`{name}`", kind, shown, entry.description or ""


def _options(reader: type) -> Iterator[tuple[str, ...]]:
    """Fields of a reader; what they mean stands in the docstrings as `name: meaning.` or `one, two:
    meaning.`"""
    meanings: dict[str, str] = {}
    for each in reader.__mro__[:-1]:
        said = " ".join((each.__doc__ or "").split())
        parts = re.split(r"(?<=[.;] )((?:\w+, )*\w+): ", said)[1:]
        for names, text in zip(parts[::2], parts[1::2]):
            meanings |= {name: text.strip() for name in names.split(", ")}
    hints = get_type_hints(reader)
    for each in fields(reader):
        if each.init and each.name != "root":
            default = each.default if each.default is not MISSING else each.default_factory()
            kind = f"`{params.type_name(hints[each.name])}`"
            yield f"`{each.name}`", kind, _value(default), meanings[each.name]


def _value(value: Any) -> str:
    """A default as a person would write it in YAML, on one line."""
    if isinstance(value, Settings):
        value = value.describe()
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return f"`{text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}`"


def _table(heading: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, "", f"| {' | '.join((*columns, 'meaning'))} |", "|---|---|---|---|"]
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Write the page; returns 0."""
    root = paths.project_root()
    write_text(root / PAGE, page(sorted((root / "notebooks").glob("*.ipynb"))))
    print(root / PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
