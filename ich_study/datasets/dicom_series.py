"""A DICOM CT series as files on disk, in any order, to a volume in HU in the study's orientation.

Gantry tilt is reported and not resampled: a tilted stack stays the slices that were scanned. JPEG
Lossless and the other compressed transfer syntaxes are decoded through pydicom and python-gdcm.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import pydicom
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ich_study.ct.hounsfield import to_hounsfield, unwrap_rsna
from ich_study.datasets.contract import ScanRef, ScanVolume
from ich_study.datasets.dicom_checks import (
    Complaints,
    complaint_notes,
    header_complaints,
    pixel_complaints,
    rescale,
)
from ich_study.datasets.dicom_headers import (
    ParsedSlice,
    Rejected,
    SliceHeader,
    dataset_fields,
    open_dicom,
    parse_slice,
    read_bytes,
    slice_header,
)
from ich_study.datasets.files import require_room
from ich_study.datasets.slice_geometry import InPlane, SliceStack, group_series, stack_slices
from ich_study.errors import DataError, require_known
from ich_study.hashing import sha256_lines

Headers: TypeAlias = tuple[SliceHeader, ...]
_NATIVE = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian})
_ITEM = struct.Struct("<HHL").unpack_from


@dataclass(frozen=True)
class Series:
    """One series in memory.

    hu: int16 (slices, rows, columns), HU; stack: geometry and headers in slice order; notes: what
    was repaired or dropped, without names of files or persons. copies: of each slice, the identical
    images that were dropped. beside: of each slice, the other images of its place that were left
    out: of another stack, or different ones at its position.
    """

    hu: np.ndarray
    stack: SliceStack
    notes: tuple[str, ...]
    copies: tuple[tuple[SliceHeader, ...], ...]
    beside: tuple[tuple[SliceHeader, ...], ...]

    def volume(
        self,
        ref: ScanRef,
        root: Path,
        labels: pd.DataFrame,
        boxes: pd.DataFrame,
        boxes_known: np.ndarray,
        notes: Sequence[str],
    ) -> ScanVolume:
        """The scan as readers give it, without a mask. root: of the data set. notes: of the labels
        and boxes; they follow those of the series."""
        sources = [header.path.relative_to(root).as_posix() for header in self.stack.headers]
        return ScanVolume(
            ref=ref,
            hu=self.hu,
            z_mm=self.stack.z_mm,
            shift_mm=self.stack.shift_mm,
            spacing_mm=self.stack.spacing_mm,
            thickness_mm=self.stack.thickness_mm,
            labels=labels,
            mask=None,
            boxes=boxes,
            boxes_known=boxes_known,
            sources=tuple(sources),
            notes=(*self.notes, *notes),
        )


def read_series(
    files: Sequence[Path],
    *,
    mixed: str = "error",
    same_position: str = "error",
    skip_bad: bool = False,
    unwrap: bool = False,
) -> Series:
    """The one series that `files` hold, in any order; every file is read and decoded once.

    mixed: see `stack_slices`. same_position: where images at one position differ, "error" raises
    and "first" keeps the first by file name; of identical ones that is always kept. skip_bad: leave
    out files that are no CT slice or are damaged, and note it, instead of raising. unwrap: repair
    the RSNA wrap defect (`ct.hounsfield.unwrap_rsna`).
    Raises DataError naming the file that is damaged, holds no image, or is another image at a
    taken position, and where the files belong to more than one series or stack.
    """
    require_known("same_position", same_position, ("error", "first"))
    decoded = _Slices(len(files))
    complaints: dict[Path, Complaints] = {}
    headers: list[SliceHeader] = []
    rejected: list[Rejected] = []
    for path in files:
        header = _read_slice(path, unwrap, decoded, complaints)
        if isinstance(header, SliceHeader):
            headers.append(header)
        elif header.kind == "localizer" or skip_bad:
            rejected.append(header)
        else:
            raise DataError(f"{path}: {header.reason}")
    if not headers:
        raise DataError(
            f"none of {len(files)} files is a CT slice" + (f"; first: {files[0]}" if files else "")
        )
    if len(group_series(headers)) > 1:
        raise DataError(
            f"{headers[0].path.parent}: the files hold {len(group_series(headers))} series; read"
            " one series at a time"
        )
    stack = stack_slices(headers, mixed)
    copies, beside, notes = _left_out(stack, decoded, same_position)
    _refuse_shared_uids(stack.headers)
    notes = complaint_notes([complaints[header.path] for header in stack.headers]) + notes
    notes = stack.notes() + notes + rejection_notes(rejected)
    return Series(decoded.in_order(stack), stack, tuple(notes), copies, beside)


def _left_out(
    stack: SliceStack, decoded: _Slices, same_position: str
) -> tuple[tuple[Headers, ...], tuple[Headers, ...], list[str]]:
    """`Series.copies` and `Series.beside` of a stack, and what to note of them."""
    copies: list[Headers] = [() for _ in stack.headers]
    others: list[SliceHeader] = []
    for header in stack.repeated:
        index = stack.nearest(header)
        kept = stack.headers[index]
        if decoded.equal(kept.path, header.path):
            copies[index] += (header,)
        elif same_position == "first":
            others.append(header)
        else:
            raise DataError(
                f"{header.path} and {kept.path} are different images at one position of one series"
                f" ({len(stack.repeated)} positions are taken twice or more); separate what is two"
                " scans into folders, remove the wrong file, or keep the first by name with"
                " same_position='first'"
            )
    identical = len(stack.repeated) - len(others)
    notes = [f"{identical} identical copies of slices dropped"] if identical else []
    if others:
        notes.append(
            f"repeated-position: {len(others)} other images at taken positions left out, the first"
            " file by name kept"
        )
    beside: list[Headers] = [() for _ in stack.headers]
    for header in [*others, *(header for left in stack.unlike for header in left)]:
        for index in stack.covered(header):
            beside[index] += (header,)
    return tuple(copies), tuple(beside), notes


def _refuse_shared_uids(headers: Sequence[SliceHeader]) -> None:
    """Labels and boxes find their slice by its UID."""
    first: dict[str, SliceHeader] = {}
    for header in headers:
        if first.setdefault(header.sop_uid, header) is not header:
            raise DataError(
                f"{header.path} and {first[header.sop_uid].path} lie at different places and share"
                " one SOPInstanceUID, so a label or box may be of either; fetch both again"
            )


def rejection_notes(rejected: Sequence[Rejected]) -> list[str]:
    """How many files of each kind were left out, in words."""
    words = {
        "localizer": "localizer images set aside",
        "no-image": "files without a CT slice skipped",
        "damaged": "damaged files skipped",
    }
    counts = {kind: sum(item.kind == kind for item in rejected) for kind in words}
    return [f"{count} {words[kind]}" for kind, count in counts.items() if count]


def pseudonym(*uids: str) -> str:
    """A name for a study or series that tells nothing of the person: `anon-` and 12 hexadecimal
    digits."""
    return f"anon-{sha256_lines(uids)[:12]}"


class _Slices:
    """Decoded slices, int16 HU as stored, side by side in one block: a series that comes in order
    and in contract orientation, as the readers ask for it, is then a volume without another
    copy."""

    def __init__(self, count: int) -> None:
        self._count, self._block, self._used = count, np.empty((0, 0, 0), np.int16), 0
        self._slices: dict[Path, np.ndarray] = {}
        self._order: list[Path] = []

    def room(self, header: SliceHeader) -> np.ndarray:
        """An empty array for the next slice; the same again until `keep` takes it."""
        shape = (header.rows, header.columns)
        if not self._used and self._block.shape[1:] != shape:
            require_room(header.path.parent, 2 * self._count * header.rows * header.columns)
            self._block = np.empty((self._count, *shape), np.int16)
        return (
            self._block[self._used] if self._block.shape[1:] == shape else np.empty(shape, np.int16)
        )

    def keep(self, path: Path, hu: np.ndarray) -> None:
        """Take what was written into `room`."""
        self._slices[path] = hu
        self._order.append(path)
        self._used += hu.base is self._block

    def equal(self, path: Path, other: Path) -> bool:
        """Whether two files hold the same HU."""
        return np.array_equal(self._slices[path], self._slices[other])

    def in_order(self, stack: SliceStack) -> np.ndarray:
        """The volume; each slice is let go as soon as it is copied."""
        if (
            stack.in_plane == InPlane()
            and self._used == len(self._order)
            and self._order == [header.path for header in stack.headers]
        ):
            return self._block[: self._used]
        first = stack.headers[0]
        shape = (
            (first.columns, first.rows) if stack.in_plane.transpose else (first.rows, first.columns)
        )
        hu = np.empty((len(stack.headers), *shape), np.int16)
        for target, header in zip(hu, stack.headers):
            target[...] = stack.in_plane.image(self._slices.pop(header.path))
        return hu


def _read_slice(
    path: Path, unwrap: bool, decoded: _Slices, complaints: dict[Path, Complaints]
) -> SliceHeader | Rejected:
    """Header of one file, its HU kept in `decoded`, what speaks against them in `complaints`."""
    content = read_bytes(path)
    parsed = parse_slice(content)
    try:
        dataset = open_dicom(path) if parsed is None else None
        fields = dataset_fields(dataset) if parsed is None else parsed.fields
        header = slice_header(fields, path)
        if isinstance(header, Rejected):
            return header
        stored = parsed_pixels(content, parsed) if parsed else None
        raw = None if stored is None else _uncut(content, parsed, stored)
        if stored is None:
            stored = _stored_values(open_dicom(path) if dataset is None else dataset, header)
        hu = _to_hu(stored, fields, unwrap, decoded.room(header))
        complaints[path] = pixel_complaints(raw, stored, hu, fields) | header_complaints(fields)
        decoded.keep(path, hu)
        return header
    except _NoDecoderError:
        raise
    except DataError as error:
        return Rejected(path, "damaged", str(error).removeprefix(f"{path}: "))


def parsed_pixels(content: bytes, parsed: ParsedSlice) -> np.ndarray | None:
    """Stored values of a parsed file, as pydicom decodes them; None where only pydicom can say.

    (rows, columns), int16 or uint16, read only. Grey 16-bit slices, whole in the file: uncompressed
    ones are viewed, compressed ones decoded by pydicom's decoders.
    """
    fields = parsed.fields
    try:
        rows, columns, allocated, bits, signed = (
            int(fields[name])
            for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
        )
    except KeyError:
        return None
    grey = (
        fields.get("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
        and "SamplesPerPixel" in fields
    )
    size = rows * columns
    if not grey or not size or allocated != 16 or not 0 < bits <= 16 or signed not in (0, 1):
        return None
    if parsed.syntax not in _NATIVE:
        return _decompressed(content, parsed, (rows, columns), bits, signed)
    if (
        parsed.length is None
        or not 2 * size <= parsed.length < 4 * size
        or parsed.start + parsed.length > len(content)
    ):
        return None
    stored = np.frombuffer(content, "<i2" if signed else "<u2", size, parsed.start).reshape(
        rows, columns
    )
    return stored if bits == 16 else stored << (16 - bits) >> (16 - bits)


def _uncut(content: bytes, parsed: ParsedSlice, stored: np.ndarray) -> np.ndarray | None:
    """The values of an uncompressed slice with all their bits; None where all are stored bits."""
    if parsed.syntax not in _NATIVE or parsed.fields["BitsStored"] == "16":
        return None
    return np.frombuffer(content, stored.dtype, stored.size, parsed.start).reshape(stored.shape)


def _decompressed(
    content: bytes, parsed: ParsedSlice, shape: tuple[int, int], bits: int, signed: int
) -> np.ndarray | None:
    end = _fragments_end(content, parsed.start) if parsed.length is None else None
    if end is None or not _decodable(UID(parsed.syntax)):
        return None
    decoder = get_decoder(UID(parsed.syntax))
    try:
        stored, _ = decoder.as_array(
            content[parsed.start : end],
            rows=shape[0],
            columns=shape[1],
            samples_per_pixel=1,
            number_of_frames=1,
            bits_allocated=16,
            bits_stored=bits,
            pixel_representation=signed,
            pixel_keyword="PixelData",
            photometric_interpretation=parsed.fields["PhotometricInterpretation"],
        )
    except Exception:  # pydicom's own reading of the file then says what is wrong with it
        return None
    return stored if stored.shape == shape else None


def _fragments_end(content: bytes, offset: int) -> int | None:
    """Where the items of compressed pixels end; None where they do not."""
    while offset + 8 <= len(content):
        group, element, length = _ITEM(content, offset)
        if (group, element) == (0xFFFE, 0xE0DD):
            return offset
        if (group, element) != (0xFFFE, 0xE000):
            return None
        offset += 8 + length
    return None


def _to_hu(
    stored: np.ndarray, fields: Mapping[str, str], unwrap: bool, out: np.ndarray
) -> np.ndarray:
    slope, intercept = rescale(fields)
    if unwrap:
        stored, intercept = unwrap_rsna(stored, intercept)
    padding, limit = (
        int(fields[name]) if fields.get(name) else None
        for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    )
    return to_hounsfield(stored, slope, intercept, padding, limit, out)


def _stored_values(dataset: pydicom.Dataset, header: SliceHeader) -> np.ndarray:
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_compressed and not _decodable(syntax):
        raise _NoDecoderError(
            f"{header.path}: no decoder for {syntax.name}; install one with `python -m pip install"
            " python-gdcm`"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # surplus bytes after the pixels, which pydicom leaves out
            stored = pixel_array(dataset, view_only=True)
    except (ValueError, RuntimeError, AttributeError, KeyError, TypeError, OSError) as error:
        raise DataError(
            f"pixels cannot be decoded ({type(error).__name__}: {error}); fetch the file again"
        ) from error
    if stored.shape != (header.rows, header.columns):
        raise DataError(
            f"pixels are {stored.shape}, the header says {(header.rows, header.columns)}"
        )
    return stored


def _decodable(syntax: pydicom.uid.UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


class _NoDecoderError(DataError):
    """A missing library is no damage of a file: never skipped."""
