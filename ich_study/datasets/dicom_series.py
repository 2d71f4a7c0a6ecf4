"""A DICOM CT series as files on disk, in any order, to a volume in HU in the study's orientation.

Gantry tilt is reported and not resampled: a tilted stack stays the slices that were scanned. JPEG
Lossless and the other compressed transfer syntaxes are decoded through pydicom and python-gdcm.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import get_decoder, pixel_array

from ich_study.ct.hounsfield import to_hounsfield, unwrap_rsna
from ich_study.datasets.contract import ScanRef, ScanVolume, box_frame, label_frame
from ich_study.datasets.dicom_headers import (
    Rejected,
    SliceHeader,
    dicom_files,
    group_series,
    open_dicom,
    read_headers,
    slice_header,
)
from ich_study.datasets.slice_geometry import SliceStack, stack_slices
from ich_study.errors import DataError
from ich_study.hashing import sha256_lines


@dataclass(frozen=True)
class Series:
    """One series in memory.

    hu: int16 (slices, rows, columns), HU; stack: geometry and headers in slice order; notes: what
    was repaired or dropped, without names of files or persons.
    """

    hu: np.ndarray
    stack: SliceStack
    notes: tuple[str, ...]


def read_series(files: Sequence[Path], *, mixed: str = "error", skip_bad: bool = False, unwrap: bool = False) -> Series:
    """The one series that `files` hold, in any order; every file is read and decoded once.

    mixed: see `stack_slices`. skip_bad: leave out files that are no CT slice or are damaged, and note
    it, instead of raising. unwrap: repair the RSNA wrap defect (`ct.hounsfield.unwrap_rsna`).
    Raises DataError naming the file that is damaged, holds no image or has another geometry, and
    where the files belong to more than one series.
    """
    decoded: dict[Path, np.ndarray] = {}
    headers: list[SliceHeader] = []
    rejected: list[Rejected] = []
    for path in files:
        header, hu = _read_slice(path, unwrap)
        if isinstance(header, SliceHeader):
            headers.append(header)
            decoded[path] = hu
        elif header.kind == "localizer" or skip_bad:
            rejected.append(header)
        else:
            raise DataError(f"{path}: {header.reason}")
    if not headers:
        raise DataError(f"none of {len(files)} files is a CT slice" + (f"; first: {files[0]}" if files else ""))
    if len(group_series(headers)) > 1:
        raise DataError(f"{headers[0].path.parent}: the files hold {len(group_series(headers))} series; read one series at a time")
    stack = stack_slices(headers, mixed)
    return Series(_assembled(stack, decoded), stack, tuple(stack.notes() + rejection_notes(rejected)))


def rejection_notes(rejected: Sequence[Rejected]) -> list[str]:
    """How many files of each kind were left out, in words."""
    words = {"localizer": "localizer images set aside", "no-image": "files without a CT slice skipped", "damaged": "damaged files skipped"}
    counts = {kind: sum(item.kind == kind for item in rejected) for kind in words}
    return [f"{count} {words[kind]}" for kind, count in counts.items() if count]


def read_anonymous(folder: Path, series: str | None = None, *, skip_bad: bool = False) -> ScanVolume:
    """A user's own scan without its identity: labels and boxes unknown, no mask, no file names.

    folder: searched with its subfolders. series: pseudonym of one series, needed where the folder
    holds several; the error lists them. Patient and scan are named by SHA-256 of the study's and the
    series' UID: a pseudonym that whoever has the original files can link, nobody else.
    """
    headers, rejected = read_headers(dicom_files(folder), skip_bad=skip_bad)
    found = {pseudonym(*key): items for key, items in group_series(headers).items()}
    if series is None and len(found) == 1:
        series = next(iter(found))
    if series not in found:
        listed = "; ".join(f"{name}: {len(items)} slices of {items[0].thickness_mm:g} mm" for name, items in found.items())
        raise DataError(f"{folder} holds {len(found)} series of CT slices; name one of: {listed or 'none'}")
    read = read_series([header.path for header in found[series]], skip_bad=skip_bad)
    study = pseudonym(read.stack.headers[0].study_uid)
    slices = len(read.hu)
    return ScanVolume(
        ref=ScanRef("own-scan", study, series, ()),
        hu=read.hu,
        z_mm=read.stack.z_mm,
        spacing_mm=read.stack.spacing_mm,
        thickness_mm=read.stack.thickness_mm,
        labels=label_frame({}, slices),
        mask=None,
        boxes=box_frame([]),
        boxes_known=np.zeros(slices, bool),
        sources=tuple(f"{series}/slice-{i:04d}" for i in range(slices)),
        notes=read.notes + tuple(rejection_notes(rejected)),
    )


def pseudonym(*uids: str) -> str:
    """A name for a study or series that tells nothing of the person: `anon-` and 12 hexadecimal digits."""
    return f"anon-{sha256_lines(uids)[:12]}"


def _read_slice(path: Path, unwrap: bool) -> tuple[SliceHeader | Rejected, np.ndarray]:
    """Header and int16 HU as stored (not yet in contract orientation) of one file."""
    nothing = np.empty(0, np.int16)
    try:
        dataset = open_dicom(path)
        header = slice_header(dataset, path)
        return header, _slice_hu(dataset, header, unwrap) if isinstance(header, SliceHeader) else nothing
    except _NoDecoderError:
        raise
    except DataError as error:
        return Rejected(path, "damaged", str(error).removeprefix(f"{path}: ")), nothing


def _assembled(stack: SliceStack, decoded: dict[Path, np.ndarray]) -> np.ndarray:
    """The slices in order and orientation; each decoded slice is let go as soon as it is copied."""
    first = stack.headers[0]
    shape = (first.columns, first.rows) if stack.in_plane.transpose else (first.rows, first.columns)
    hu = np.empty((len(stack.headers), *shape), np.int16)
    for target, header in zip(hu, stack.headers):
        target[...] = stack.in_plane.image(decoded.pop(header.path))
    return hu


def _slice_hu(dataset: pydicom.Dataset, header: SliceHeader, unwrap: bool) -> np.ndarray:
    stored = _stored_values(dataset, header)
    try:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    except (AttributeError, TypeError, ValueError):
        raise DataError("RescaleSlope or RescaleIntercept is missing, so its values have no Hounsfield unit") from None
    if unwrap:
        stored, intercept = unwrap_rsna(stored, intercept)
    return to_hounsfield(stored, slope, intercept, _integer(dataset, "PixelPaddingValue"), _integer(dataset, "PixelPaddingRangeLimit"))


def _integer(dataset: pydicom.Dataset, keyword: str) -> int | None:
    """A padding value; in its ambiguous VR (US or SS) it may come as two bytes."""
    value = dataset.get(keyword)
    if isinstance(value, bytes):
        return int.from_bytes(value[:2], "little") if value else None
    return None if value is None else int(value)


def _stored_values(dataset: pydicom.Dataset, header: SliceHeader) -> np.ndarray:
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_compressed and not _decodable(syntax):
        raise _NoDecoderError(f"{header.path}: no decoder for {syntax.name}; install one with `python -m pip install python-gdcm`")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # surplus bytes after the pixels, which pydicom leaves out
            stored = pixel_array(dataset, view_only=True)
    except (ValueError, RuntimeError, AttributeError, KeyError, TypeError, OSError) as error:
        raise DataError(f"pixels cannot be decoded ({type(error).__name__}: {error}); fetch the file again") from error
    if stored.shape != (header.rows, header.columns):
        raise DataError(f"pixels are {stored.shape}, the header says {(header.rows, header.columns)}")
    return stored


def _decodable(syntax: pydicom.uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


class _NoDecoderError(DataError):
    """A missing library is no damage of a file: never skipped."""
