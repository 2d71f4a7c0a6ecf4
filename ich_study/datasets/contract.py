"""What every data set's reader gives, whatever lies on disk.

Orientation of every volume: axial slices from inferior to superior, row 0 anterior, column 0 the
patient's right (radiological display).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ich_study.errors import DataError
from ich_study.schema import (
    BOX_COLUMNS,
    LABELS,
    MASK_CODES,
    SUBTYPES,
    UNSPECIFIED_HEMORRHAGE,
    typed,
)


@dataclass(frozen=True)
class ScanRef:
    """One scan on disk, found but not read. `patient_id` is stripped of blanks; `files` are in no
    particular order; `details` is what the reader needs to load it (paths, labels), picklable.

    Raises DataError for a patient without id, who would be one with the next such patient, and for
    a name that is not UTF-8, which no table of the study can hold.
    """

    dataset: str
    patient_id: str
    scan_id: str
    files: tuple[Path, ...]
    details: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patient_id", self.patient_id.strip())
        where = f"{self.dataset}, scan {self.scan_id}" + (
            f", {self.files[0]}" if self.files else ""
        )
        if not self.patient_id:
            raise DataError(
                f"{where}: it has no patient id; expected one, as a split keeps each patient in one"
                " part. Add it, or leave the scan out"
            )
        for name in (self.patient_id, self.scan_id, *map(str, self.files)):
            if not name.isascii() and name != name.encode(errors="replace").decode():
                raise DataError(f"{where}: the name {name!r} is not UTF-8; rename it")


def folded_id(patient_id: str) -> str:
    """What all spellings of a patient id have in common: case and blanks do not count.

    >>> folded_id("p 01") == folded_id("P01 ")
    True
    """
    return "".join(unicodedata.normalize("NFKC", patient_id).casefold().split())


@dataclass(frozen=True)
class ScanVolume:
    """One scan in memory.

    hu: int16 (slices, rows, columns), HU, or HU-equivalents where the reader's `intensity` says
        that only 8-bit grey exists.
    z_mm: float64 (slices,), position of each slice along the normal of the slices, which points to
        superior, ascending; the table's position where the gantry is not tilted. NaN where unknown.
    spacing_mm: (x, y) pixel size in mm; NaN where unknown.
    labels: a row per slice, columns `any` and the five subtypes, nullable boolean.
    mask: uint8 (slices, rows, columns) of `schema.MASK_CODES` and 6, or None.
    boxes: rows of `schema.BOX_COLUMNS`; `boxes_known` tells "no box" from "boxes unknown".
    boxes_known: bool (slices,).
    sources: per slice, the file it came from, relative to the data set's root, POSIX style.
    notes: what was repaired or dropped on reading (missing slices, padding, tilt), for the
        integrity report; never patient names, birth dates or free text from DICOM.
    shift_mm: float64 (slices, 2), (x, y) by which each slice lies displaced within its plane
        against the first, as in a stack sheared by a tilted gantry; None where the slices lie
        straight above each other.
    """

    ref: ScanRef
    hu: np.ndarray
    z_mm: np.ndarray
    spacing_mm: tuple[float, float]
    thickness_mm: float
    labels: pd.DataFrame
    mask: np.ndarray | None
    boxes: pd.DataFrame
    boxes_known: np.ndarray
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    shift_mm: np.ndarray | None = None

    def __post_init__(self) -> None:
        slices = len(self.hu)
        if self.hu.ndim != 3 or self.hu.dtype != np.int16 or slices == 0:
            raise DataError(
                f"{self.ref.scan_id}: volume is {self.hu.dtype} {self.hu.shape}; expected int16"
                " (slices, rows, columns)"
            )
        if self.mask is not None and (
            self.mask.shape != self.hu.shape or self.mask.dtype != np.uint8
        ):
            raise DataError(
                f"{self.ref.scan_id}: mask is {self.mask.dtype} {self.mask.shape}, volume"
                f" {self.hu.shape}"
            )
        per_slice = {
            "z_mm": len(self.z_mm),
            "shift_mm": slices if self.shift_mm is None else len(self.shift_mm),
            "labels": len(self.labels),
            "boxes_known": len(self.boxes_known),
            "sources": len(self.sources),
        }
        wrong = {name: count for name, count in per_slice.items() if count != slices}
        if wrong:
            raise DataError(f"{self.ref.scan_id}: {slices} slices, but {wrong}")


class Reader(Protocol):
    """Reader of one data set.

    name: the data set's name in the index.
    intensity: "hu", or a sentence that says what stands in for HU and how it was mapped.
    root: folder on disk.
    """

    name: str
    intensity: str
    root: Path

    def scans(self) -> list[ScanRef]:
        """Every scan under the root, in a stable order. Raises DataError for a missing root, file
        or column, saying what was expected where and where the data comes from."""

    def load(self, ref: ScanRef) -> ScanVolume:
        """One scan. Raises DataError that names the file when it is damaged."""


def label_frame(
    labels: dict[str, np.ndarray | list[bool | None] | None], slices: int
) -> pd.DataFrame:
    """Per-slice labels as nullable booleans; labels not given, or given as None, are unknown."""
    columns = {
        name: pd.array(
            [pd.NA] * slices if labels.get(name) is None else labels[name], dtype="boolean"
        )
        for name in LABELS
    }
    return pd.DataFrame(columns)


def coded_labels(codes: np.ndarray) -> pd.DataFrame:
    """Per-slice labels from codes, integer (slices, labels): 1 yes, 0 no, -1 unknown.

    >>> coded_labels(np.array([[1, 0, 0, -1, 1, 0]]))["SAH"].tolist()
    [<NA>]
    """
    answers = pd.DataFrame(codes > 0, columns=list(LABELS)).astype("boolean")
    return answers.mask(codes < 0)


def mask_labels(mask: np.ndarray) -> pd.DataFrame:
    """Slice labels that a mask (slices, rows, columns) of codes implies.

    Hemorrhage of code 6 leaves the subtypes of its slice unknown, except those that are drawn.
    """
    silent = (mask == UNSPECIFIED_HEMORRHAGE).any((1, 2))
    codes = [(mask > 0).any((1, 2))]
    for name in SUBTYPES:
        codes.append(np.where((mask == MASK_CODES[name]).any((1, 2)), 1, -1 * silent))
    return coded_labels(np.stack(codes, 1))


def joined_codes(codes: np.ndarray) -> np.ndarray:
    """One answer per label from those of identical images, integer (images, labels) of 1 yes, 0 no,
    -1 unknown: what all that know say, unknown where they contradict each other.

    >>> joined_codes(np.array([[1, 0, 0, -1], [1, 0, 1, 1]])).tolist()
    [1, 0, -1, 1]
    """
    yes, no = (codes == 1).any(0), (codes == 0).any(0)
    return np.where(yes & ~no, 1, np.where(no & ~yes, 0, -1))


def box_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Boxes as a typed table; an empty list gives an empty table with its columns."""
    return typed(pd.DataFrame(rows, columns=list(BOX_COLUMNS)), BOX_COLUMNS, "boxes")
