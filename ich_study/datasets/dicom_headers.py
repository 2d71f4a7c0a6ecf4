"""DICOM headers of CT slices: found, read without pixels, grouped into series.

Only the fields that geometry and identity of a series need are read; no name, birth date or free
text ever leaves this module. Identifiers are taken as they are written, because RSNA 2019 puts
`ID_...` where DICOM asks for a UID.
"""

from __future__ import annotations

import multiprocessing
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from tqdm import tqdm

from ich_study.errors import DataError

_TAGS: dict[str, Tag] = {
    keyword: Tag(keyword)
    for keyword in (
        "ImageType", "SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "ImagePositionPatient",
        "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    )
}
_FEW_FILES = 2000  # below this, starting processes costs more than they save
_CHUNK = 256


@dataclass(frozen=True)
class SliceHeader:
    """Where one CT slice lies and what it belongs to.

    position_mm: (x, y, z) of the centre of pixel (row 0, column 0), LPS: x to the patient's left, y
    to posterior, z to superior. orientation: unit vectors along a row and down a column. spacing_mm:
    (between rows, between columns), as PixelSpacing. thickness_mm: NaN where the header has none.
    """

    path: Path
    sop_uid: str
    patient_id: str
    study_uid: str
    series_uid: str
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    thickness_mm: float
    rows: int
    columns: int


@dataclass(frozen=True)
class Rejected:
    """A file that is no readable CT slice. `kind`: `localizer`, `no-image` or `damaged`."""

    path: Path
    kind: str
    reason: str


SeriesKey: TypeAlias = tuple[str, str]
"""(StudyInstanceUID, SeriesInstanceUID)."""


def dicom_files(folder: Path) -> list[Path]:
    """Files below `folder`, sorted, that are named `.dcm` or start as DICOM does; others are not looked at.

    Raises DataError when there is none.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: expected a folder of DICOM files")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and (path.suffix.lower() == ".dcm" or _has_magic(path))]
    if not files:
        raise DataError(f"{folder} holds no DICOM file (neither a name in .dcm nor the DICM mark at byte 128)")
    return files


def _has_magic(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM" and path.name != "DICOMDIR"


def open_dicom(path: Path, pixels: bool = True) -> pydicom.Dataset:
    """The data set of a file, with pixel data or (much faster) only what a `SliceHeader` needs.

    Raises DataError naming the file when it is no DICOM or ends inside its header.
    """
    try:
        if pixels:
            return pydicom.dcmread(path)
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS.values()))
    except (InvalidDicomError, EOFError, OSError, ValueError, LookupError, AttributeError, NotImplementedError, struct.error) as error:
        raise DataError(f"{path}: cannot be read as DICOM ({type(error).__name__}: {error}); fetch it again") from error


def slice_header(dataset: pydicom.Dataset, path: Path) -> SliceHeader | Rejected:
    """The header of an opened file, or why it is no CT slice with a place in space."""
    if "LOCALIZER" in _text(dataset, "ImageType").upper():
        return Rejected(path, "localizer", "a localizer (scout) image")
    if "SOPInstanceUID" not in dataset:
        return Rejected(path, "damaged", "has no SOPInstanceUID; its header is empty or cut short")
    if "Rows" not in dataset or "Columns" not in dataset:
        return Rejected(path, "no-image", "has no image (report, presentation state or the like)")
    if _text(dataset, "NumberOfFrames") not in ("", "1") or dataset.get("SamplesPerPixel", 1) != 1:
        return Rejected(path, "no-image", "is multi-frame or colour; expected one grey slice per file")
    try:
        return SliceHeader(
            path=path,
            sop_uid=_text(dataset, "SOPInstanceUID"),
            patient_id=_text(dataset, "PatientID"),
            study_uid=_text(dataset, "StudyInstanceUID"),
            series_uid=_text(dataset, "SeriesInstanceUID"),
            position_mm=_finite(dataset, "ImagePositionPatient", 3),
            orientation=_finite(dataset, "ImageOrientationPatient", 6),
            spacing_mm=_finite(dataset, "PixelSpacing", 2),
            thickness_mm=next(iter(_numbers(dataset, "SliceThickness")), float("nan")),
            rows=int(dataset.Rows),
            columns=int(dataset.Columns),
        )
    except ValueError as error:
        return Rejected(path, "damaged", str(error))


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    """A value as written. pydicom's own access would warn about every `ID_...` that is no UID."""
    element = dataset.get_item(_TAGS[keyword])
    value = None if element is None else element.value
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    return "" if value is None else "\\".join(str(part) for part in np.atleast_1d(value))


def _numbers(dataset: pydicom.Dataset, keyword: str) -> tuple[float, ...]:
    text = _text(dataset, keyword)
    try:
        return tuple(float(part) for part in text.split("\\")) if text else ()
    except ValueError:
        raise ValueError(f"{keyword} is no number") from None


def _finite(dataset: pydicom.Dataset, keyword: str, count: int) -> tuple[float, ...]:
    values = _numbers(dataset, keyword)
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{keyword} has {len(values)} usable values; expected {count} finite numbers to place the slice in space")
    return values


def _read_one(path: Path) -> SliceHeader | Rejected:
    try:
        return slice_header(open_dicom(path, pixels=False), path)
    except (DataError, ValueError) as error:
        return Rejected(path, "damaged", str(error).removeprefix(f"{path}: "))


def read_headers(
    files: Sequence[Path], *, skip_bad: bool = False, workers: int | None = None, label: str = "headers", progress: bool = True
) -> tuple[list[SliceHeader], list[Rejected]]:
    """Headers of `files` in their order, and the files that hold no CT slice.

    Localizers are always set aside. Any other file without a usable header is set aside where
    `skip_bad`, else DataError names the first of them. Thousands of files are read by `workers`
    processes (default: one per CPU this process may use).
    """
    headers: list[SliceHeader] = []
    rejected: list[Rejected] = []
    shown = {"total": len(files), "desc": label, "unit": "file", "mininterval": 5, "disable": not progress or len(files) < _FEW_FILES}
    for result in tqdm(_mapped(files, workers), **shown):
        (headers if isinstance(result, SliceHeader) else rejected).append(result)
    bad = [item for item in rejected if item.kind != "localizer"]
    if bad and not skip_bad:
        more = f" ({len(bad)} such files)" if len(bad) > 1 else ""
        raise DataError(f"{bad[0].path}: {bad[0].reason}{more}. Fetch it again, move it away, or exclude it by name.")
    return headers, rejected


def _mapped(files: Sequence[Path], workers: int | None) -> Iterator[SliceHeader | Rejected]:
    count = workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    if count <= 1 or len(files) < _FEW_FILES:
        yield from map(_read_one, files)
        return
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_read_one, files, chunksize=_CHUNK)


def group_series(headers: Iterable[SliceHeader]) -> dict[SeriesKey, list[SliceHeader]]:
    """Headers by study and series, both sorted; within a series by file.

    Raises DataError when one series stands under two studies or two patients.
    """
    ordered = sorted(headers, key=lambda header: (header.study_uid, header.series_uid, header.path))
    grouped = {key: list(items) for key, items in groupby(ordered, key=lambda header: (header.study_uid, header.series_uid))}
    owners: dict[str, tuple[str, str]] = {}
    for header in ordered:
        owner = owners.setdefault(header.series_uid, (header.study_uid, header.patient_id))
        if owner != (header.study_uid, header.patient_id):
            raise DataError(f"{header.path}: its series also stands under another study or patient; separate the two by folder")
    return grouped
