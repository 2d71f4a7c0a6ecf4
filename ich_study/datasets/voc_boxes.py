"""Boxes of a Pascal VOC annotation, read without trusting the file: no document type, no entities,
no paths."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from xml.parsers import expat

from ich_study.datasets.files import require_file
from ich_study.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
Box = tuple[float, float, float, float]
"""x and y of the top left corner, width, height, in pixels of the annotated picture."""


def read_voc_boxes(path: Path, names: frozenset[str]) -> list[Box]:
    """The boxes of `path`, whose object names must be among `names`; none where it has no object.

    `filename`, `path` and `size` inside the file are ignored. Raises DataError for a file that is
    no XML or no VOC annotation, declares a document type, or has a box without area or numbers.
    """
    require_file(path, "a Pascal VOC annotation")
    content = path.read_bytes()
    try:
        _refuse_doctype(content, path)
        root = ElementTree.fromstring(content)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(
            f"{path} holds <{root.tag:.40}>; expected <annotation>, as Pascal VOC has it. Export it"
            " in that format"
        )
    return [_box(found, path, names) for found in root.findall("object")]


def _refuse_doctype(content: bytes, path: Path) -> None:
    """Entities that expand without end are declared in a document type, which VOC files do not
    have."""

    def refuse(*_: object) -> None:
        raise DataError(f"{path} declares a document type or entities; refusing to expand them")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


def _box(found: ElementTree.Element, path: Path, names: frozenset[str]) -> Box:
    name = (found.findtext("name") or "").strip()
    if name not in names:
        raise DataError(f"{path}: object {name!r}; expected one of {sorted(names)}")
    try:
        left, top, right, bottom = (
            float(found.findtext(f"bndbox/{corner}") or "") for corner in CORNERS
        )
    except ValueError as error:
        raise DataError(f"{path}: a box lacks one of {', '.join(CORNERS)} as a number") from error
    if not (0 <= left < right < float("inf") and 0 <= top < bottom < float("inf")):
        raise DataError(
            f"{path}: box {left:g},{top:g},{right:g},{bottom:g} has no area inside the picture"
        )
    return left, top, right - left, bottom - top
