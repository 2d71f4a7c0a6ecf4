"""DICOM headers of CT slices: found, and read without pixels.

Only the fields that geometry, identity and grey values of a slice need are read; no name, birth
date or free text ever leaves this module. Identifiers are taken as they are written, because RSNA
2019 puts `ID_...` where DICOM asks for a UID.

Files of the usual kind (little endian, no sequence of undefined length) are parsed here, about ten
times as fast as by pydicom, which reads all others; both give the same fields.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_file_meta_info
from pydicom.misc import is_dicom
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGTransferSyntaxes,
)
from tqdm import tqdm

from ich_study.datasets.files import require_file, require_room
from ich_study.errors import DataError

_VRS: dict[str, frozenset[bytes]] = {
    keyword: frozenset(vrs.split())
    for vrs, keywords in {
        b"CS": "ImageType PhotometricInterpretation Modality BurnedInAnnotation",
        b"UI": "SOPInstanceUID StudyInstanceUID SeriesInstanceUID",
        b"LO": "PatientID RescaleType",
        b"IS": "NumberOfFrames AcquisitionNumber InstanceNumber",
        b"SH": "ConvolutionKernel",
        b"DS": (
            "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness RescaleSlope"
            " RescaleIntercept"
        ),
        b"US": (
            "Rows Columns SamplesPerPixel BitsAllocated BitsStored HighBit PixelRepresentation"
        ),
        b"US SS": "PixelPaddingValue PixelPaddingRangeLimit",
    }.items()
    for keyword in keywords.split()
}
"""The fields that are read, and the value representations that they may have."""
_TAGS: dict[str, Tag] = {keyword: Tag(keyword) for keyword in _VRS}
_FIELDS: dict[int, tuple[str, frozenset[bytes], bool]] = {
    tag.element << 16 | tag.group: (keyword, _VRS[keyword] | {b""}, b"US" in _VRS[keyword])
    for keyword, tag in _TAGS.items()
}
"""Tag, as the file holds it read as one little endian number -> keyword, representations (none
where they are implicit), and whether the value is a 16-bit number."""
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_EXPLICIT, _LONG = struct.Struct("<L2sH").unpack_from, struct.Struct("<L").unpack_from
_SYNTAX, _PIXELS = 0x00100002, 0x00107FE0  # (0002,0010) and (7FE0,0010), as `_FIELDS` writes tags
_UNDEFINED = 0xFFFFFFFF
_READABLE = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian, *JPEGTransferSyntaxes})
_FIRST_BYTES = 8192  # holds the header of nearly every slice
_FEW_FILES = 2000  # below this, starting processes costs more than they save
_CHUNK = 256
_LARGEST_SIDE = 4096
_LARGEST_SLICE = 2**26
"""Bytes of a slice with its header, unpacked; the pixels of the largest side take half of it."""


@dataclass(frozen=True)
class SliceHeader:
    """Where one CT slice lies and what it belongs to.

    position_mm: (x, y, z) of the centre of pixel (row 0, column 0), LPS: x to the patient's left, y
    to posterior, z to superior. orientation: unit vectors along a row and down a column.
    spacing_mm: (between rows, between columns), as PixelSpacing. thickness_mm: NaN where the header
    has none. acquisition, kernel, image_type, instance (its number in the series): as text, empty
    where the header has none.
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
    acquisition: str
    kernel: str
    image_type: str
    instance: str


@dataclass(frozen=True)
class ParsedSlice:
    """A file parsed up to its pixels. fields: as text. syntax: UID of the transfer syntax. start:
    of the pixel data in the file; length: in bytes, None where undefined."""

    fields: dict[str, str]
    syntax: str
    start: int
    length: int | None


@dataclass(frozen=True)
class Rejected:
    """A file that is no readable CT slice. `kind`: `localizer`, `no-image` or `damaged`."""

    path: Path
    kind: str
    reason: str


def dicom_files(folder: Path) -> list[Path]:
    """Files below `folder`, sorted, that are named `.dcm` or start as DICOM does; others are not
    looked at.

    Raises DataError when there is none.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: expected a folder of DICOM files")
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (path.suffix.lower() == ".dcm" or (path.name != "DICOMDIR" and is_dicom(path)))
    ]
    if not files:
        raise DataError(
            f"{folder} holds no DICOM file (neither a name in .dcm nor the DICM mark at byte 128)"
        )
    return files


def open_dicom(path: Path, pixels: bool = True) -> pydicom.Dataset:
    """The data set of a file as pydicom reads it, with pixel data or only with the fields of
    `dataset_fields`.

    Raises DataError naming the file when it is no DICOM or ends inside its header.
    """
    require_file(path, "a DICOM slice")
    try:
        _refuse_deflated_bomb(path)
        if pixels:
            return pydicom.dcmread(path)
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS.values()))
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a damaged file raises anything, as one nested too deep does
        raise DataError(
            f"{path}: cannot be read as DICOM ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _refuse_deflated_bomb(path: Path) -> None:
    """Unpack a deflated file as far as it may go; pydicom would unpack it whole."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    # After the mark, (0002,0000) of 12 bytes says how many bytes follow it.
    start = 132 + 12 + int(meta.FileMetaInformationGroupLength)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    unpacked = unpacker.decompress(path.read_bytes()[start:], _LARGEST_SLICE + 1)
    require_room(path, len(unpacked), _LARGEST_SLICE)


def dataset_fields(dataset: pydicom.Dataset) -> dict[str, str]:
    """The fields that this study reads, as text, where present; DataError for a number that is cut
    short."""
    try:
        return {
            keyword: _field(dataset, keyword) for keyword, tag in _TAGS.items() if tag in dataset
        }
    except (
        BytesLengthException,
        ValueError,
        TypeError,
        NotImplementedError,
        RecursionError,
    ) as error:
        raise DataError(f"its header is damaged ({error})") from error


def parse_slice(content: bytes) -> ParsedSlice | None:
    """The fields of a file of the usual kind, given from its first byte at least to its pixel data.

    None for anything unusual (big endian, deflated, sequences of undefined length, strange value
    representations, no pixels, a cut file): that is for pydicom to read or refuse.
    """
    if content[128:132] != b"DICM":
        return None
    found: dict[str, str] = {}
    offset, end, meta, explicit, syntax = 132, len(content), True, True, ""
    while offset + 12 <= end:
        tag, vr, length = _EXPLICIT(content, offset)
        if meta and tag & 0xFFFF != 2:
            meta, explicit = False, syntax != ImplicitVRLittleEndian
            if syntax not in _READABLE:
                return None
        start = offset + 8
        if not explicit:
            (length,), vr = _LONG(content, offset + 4), b""
        elif vr in _LONG_VRS:
            (length,), start = _LONG(content, start), start + 4
        elif vr not in _SHORT_VRS:
            return None
        offset = start + length
        if tag in _FIELDS:
            keyword, fitting, numeric = _FIELDS[tag]
            value = content[start:offset]
            if vr not in fitting or (numeric and len(value) != 2):
                return None
            found[keyword] = (
                str(int.from_bytes(value, "little", signed=vr == b"SS"))
                if numeric
                else value.decode("latin-1").strip(" \0")
            )
        elif tag == _PIXELS:
            return ParsedSlice(found, syntax, start, None if length == _UNDEFINED else length)
        elif tag == _SYNTAX:
            syntax = content[start:offset].decode("latin-1").strip(" \0")
    return None


def slice_header(fields: Mapping[str, str], path: Path) -> SliceHeader | Rejected:
    """The header that the fields of a file make, or why it is no CT slice with a place in space."""
    if "LOCALIZER" in fields.get("ImageType", "").upper():
        return Rejected(path, "localizer", "a localizer (scout) image")
    if "SOPInstanceUID" not in fields:
        return Rejected(path, "damaged", "has no SOPInstanceUID; its header is empty or cut short")
    if "Rows" not in fields or "Columns" not in fields:
        return Rejected(path, "no-image", "has no image (report, presentation state or the like)")
    if (
        fields.get("NumberOfFrames", "") not in ("", "1")
        or fields.get("SamplesPerPixel", "1") != "1"
    ):
        return Rejected(
            path, "no-image", "is multi-frame or colour; expected one grey slice per file"
        )
    try:
        rows, columns = int(fields["Rows"]), int(fields["Columns"])
        if max(rows, columns) > _LARGEST_SIDE:
            raise ValueError(
                f"Rows and Columns are {rows} and {columns}; expected at most {_LARGEST_SIDE}"
            )
        return SliceHeader(
            path=path,
            sop_uid=fields["SOPInstanceUID"],
            patient_id=fields.get("PatientID", ""),
            study_uid=fields.get("StudyInstanceUID", ""),
            series_uid=fields.get("SeriesInstanceUID", ""),
            position_mm=_finite(fields, "ImagePositionPatient", 3),
            orientation=_finite(fields, "ImageOrientationPatient", 6),
            spacing_mm=_finite(fields, "PixelSpacing", 2),
            thickness_mm=next(iter(_numbers(fields, "SliceThickness")), float("nan")),
            rows=rows,
            columns=columns,
            acquisition=fields.get("AcquisitionNumber", ""),
            kernel=fields.get("ConvolutionKernel", ""),
            image_type=fields.get("ImageType", "").upper(),
            instance=fields.get("InstanceNumber", ""),
        )
    except ValueError as error:
        return Rejected(path, "damaged", str(error))


def _field(dataset: pydicom.Dataset, keyword: str) -> str:
    """A value as written. pydicom's own access would warn about every `ID_...` that is no UID."""
    numeric = b"US" in _VRS[keyword]
    element = dataset[_TAGS[keyword]] if numeric else dataset.get_item(_TAGS[keyword])
    value = None if element is None else element.value
    if isinstance(value, bytes) and numeric:
        return str(int.from_bytes(value[:2], "little")) if value else ""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0")
    return "" if value is None else "\\".join(str(part) for part in np.atleast_1d(value))


def _numbers(fields: Mapping[str, str], keyword: str) -> tuple[float, ...]:
    text = fields.get(keyword, "")
    try:
        return tuple(map(float, text.split("\\"))) if text else ()
    except ValueError:
        raise ValueError(f"{keyword} is no number") from None


def _finite(fields: Mapping[str, str], keyword: str, count: int) -> tuple[float, ...]:
    values = _numbers(fields, keyword)
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(
            f"{keyword} has {len(values)} usable values; expected {count} finite numbers to place"
            " the slice in space"
        )
    return values


def _read_one(path: Path) -> SliceHeader | Rejected:
    parsed = parse_slice(read_bytes(path, _FIRST_BYTES)) or parse_slice(read_bytes(path))
    try:
        return slice_header(
            parsed.fields if parsed else dataset_fields(open_dicom(path, pixels=False)), path
        )
    except (DataError, ValueError) as error:
        return Rejected(path, "damaged", str(error).removeprefix(f"{path}: "))


def read_bytes(path: Path, count: int = -1) -> bytes:
    """The first `count` bytes of a file, or all; none where it cannot be read, which `open_dicom`
    then reports."""
    try:
        require_file(path, "a DICOM slice")
        with path.open("rb", buffering=0) as stream:
            return stream.read(count)
    except (OSError, DataError):
        return b""


def read_headers(
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    label: str | None = None,
) -> tuple[list[SliceHeader], list[Rejected]]:
    """Headers of `files` in their order, and the files that hold no CT slice.

    Localizers are always set aside. Any other file without a usable header is set aside where
    `skip_bad`, else DataError names the first of them. Thousands of files are read by one process
    per CPU that this one may use. label: of the progress bar; none without.
    """
    headers: list[SliceHeader] = []
    rejected: list[Rejected] = []
    silent = label is None or len(files) < _FEW_FILES
    for result in tqdm(
        _mapped(files), label, len(files), unit="file", mininterval=5, disable=silent
    ):
        (headers if isinstance(result, SliceHeader) else rejected).append(result)
    bad = [item for item in rejected if item.kind != "localizer"]
    if bad and not skip_bad:
        more = f" ({len(bad)} such files)" if len(bad) > 1 else ""
        raise DataError(
            f"{bad[0].path}: {bad[0].reason}{more}. Fetch it again, move it away, or exclude it by"
            " name."
        )
    return headers, rejected


def _mapped(files: Sequence[Path]) -> Iterator[SliceHeader | Rejected]:
    count = len(
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    if count <= 1 or len(files) < _FEW_FILES:
        yield from map(_read_one, files)
        return
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_read_one, files, chunksize=_CHUNK)
