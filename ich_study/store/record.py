"""What the store keeps of one scan: its arrays, and a record that says what is in them.

On disk, under the folder of the data set: `scans/<name>.npy` int16 HU (slices, rows, columns),
`masks/<name>.npy` uint8 of the same shape, `records/<name>.json`. The record is written last, so a
scan with a record is whole. After a loss of power a record may be missing or cut short: the scan is
then built anew, as `read_record` finds none; the arrays are on the disk before their record is
written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_study.atomic import atomic_path, write_text
from ich_study.datasets.contract import ScanVolume
from ich_study.hashing import pixel_hash, sealed, sha256_bytes, sha256_lines, unsealed
from ich_study.integrity import check_volume
from ich_study.paths import safe_name
from ich_study.schema import BOX_COLUMNS, INDEX_COLUMNS, LABELS
from ich_study.store.fingerprint import LAYOUT


def file_name(scan_id: str) -> str:
    """File name, without suffix, of a scan; different ids never share one."""
    name = safe_name(scan_id)[:100]
    return name if name == scan_id else f"{name}-{sha256_bytes(scan_id.encode())[:10]}"


@dataclass(frozen=True)
class ScanRecord:
    """One scan as the store describes it; plain values, so that it is JSON.

    index, boxes: columns of `schema.INDEX_COLUMNS` and `BOX_COLUMNS` as lists, missing is None.
    image_hashes: `pixel_hash` of each slice's int16 little-endian bytes; mask_hash: of the whole
    mask.
    sources: `fingerprint.source_marks` of its files; fingerprint: of all that it was built from.
    """

    layout: int
    scan_id: str
    fingerprint: str
    index: dict[str, list[Any]]
    boxes: dict[str, list[Any]]
    image_hashes: list[str]
    constant: list[bool]
    mask_hash: str | None
    notes: list[str]
    findings: list[dict[str, Any]]
    sources: dict[str, list[Any]]

    def content_hash(self) -> str:
        """SHA-256 of labels, geometry, boxes and the hashes of the arrays; says nothing of machine,
        time or source files."""
        content = [self.index, self.boxes, self.image_hashes, self.mask_hash]
        return sha256_bytes(json.dumps(content, sort_keys=True, allow_nan=False).encode())


def _save(target: Path, array: np.ndarray) -> None:
    with atomic_path(target, sync=False) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
        _let_go(stream.fileno())


def _let_go(file: int) -> None:
    """Take a file that is on the disk out of the page cache, where the system can.

    A build writes a data set once, up to hundreds of gigabytes, and reads none of it: kept, it
    would push all else out of memory, and finding fresh memory for it is the dearest part of
    writing (up to 1 ms per slice on a virtual machine, beside 0.2 ms where the memory of the last
    scan is taken again).
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def image_hashes(hu: np.ndarray) -> list[str]:
    """`pixel_hash` of each slice's int16 little-endian bytes, all of them."""
    return [pixel_hash(image) for image in np.ascontiguousarray(hu, dtype="<i2")]


def _index_columns(volume: ScanVolume) -> dict[str, list[Any]]:
    slices, rows, columns = volume.hu.shape
    shift = np.zeros((slices, 2)) if volume.shift_mm is None else volume.shift_mm
    one = {
        "dataset": volume.ref.dataset,
        "patient_id": volume.ref.patient_id,
        "scan_id": volume.ref.scan_id,
        "spacing_x_mm": _number(volume.spacing_mm[0]),
        "spacing_y_mm": _number(volume.spacing_mm[1]),
        "thickness_mm": _number(volume.thickness_mm),
        "rows": rows,
        "columns": columns,
        "has_mask": volume.mask is not None,
    }
    each = {
        "slice_index": list(range(slices)),
        "z_mm": [_number(z) for z in volume.z_mm],
        "shift_x_mm": [_number(x) for x in shift[:, 0]],
        "shift_y_mm": [_number(y) for y in shift[:, 1]],
        "source": list(volume.sources),
        "has_boxes": np.asarray(volume.boxes_known, dtype=bool).tolist(),
        **{
            name: volume.labels[name].to_numpy(dtype=object, na_value=None).tolist()
            for name in LABELS
        },
    }
    return {name: each[name] if name in each else [one[name]] * slices for name in INDEX_COLUMNS}


def _box_columns(volume: ScanVolume) -> dict[str, list[Any]]:
    if volume.boxes.empty:
        return {name: [] for name in BOX_COLUMNS}
    return {
        name: volume.boxes[name].to_numpy(dtype=object, na_value=None).tolist()
        for name in BOX_COLUMNS
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def write_scan(
    folder: Path,
    volume: ScanVolume,
    source: str,
    intensity: str,
    sources: Mapping[str, list[Any]] | None = None,
) -> ScanRecord:
    """The scan's arrays, then its record, each atomically. source: its fingerprint; sources: the
    marks of its files.

    Raises OSError where the disk is full or not writable; no partial file is left.
    """
    name = file_name(volume.ref.scan_id)
    hu = np.ascontiguousarray(volume.hu, dtype="<i2")
    _save(folder / "scans" / f"{name}.npy", hu)
    mask_hash = None
    if volume.mask is not None:
        mask = np.ascontiguousarray(volume.mask)
        _save(folder / "masks" / f"{name}.npy", mask)
        mask_hash = pixel_hash(mask)
    findings = check_volume(volume, intensity)
    constant = {finding.slice_index for finding in findings if finding.check == "constant-image"}
    record = ScanRecord(
        layout=LAYOUT,
        scan_id=volume.ref.scan_id,
        fingerprint=source,
        index=_index_columns(volume),
        boxes=_box_columns(volume),
        constant=[i in constant for i in range(len(hu))],
        mask_hash=mask_hash,
        notes=list(volume.notes),
        sources=dict(sources or {}),
        findings=[asdict(finding) for finding in findings],
        image_hashes=image_hashes(hu),
    )
    text = json.dumps(sealed(vars(record)), allow_nan=False)
    write_text(folder / "records" / f"{name}.json", text, sync=False)
    return record


def read_record(folder: Path, scan_id: str) -> ScanRecord | None:
    """The record of a scan, or None where there is none that is whole and of this layout."""
    path = folder / "records" / f"{file_name(scan_id)}.json"
    try:
        record = ScanRecord(**unsealed(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return record if (record.layout, record.scan_id) == (LAYOUT, scan_id) else None


def damage(folder: Path, record: ScanRecord) -> str | None:
    """What differs between a scan's arrays on disk and its record, by content; None where they
    agree."""
    name = file_name(record.scan_id)
    try:
        hu = np.load(folder / "scans" / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        if hu.dtype != np.int16 or image_hashes(hu) != record.image_hashes:
            return f"scans/{name}.npy does not match its hash"
        if record.mask_hash is None:
            return None
        mask = np.load(folder / "masks" / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return (
            None
            if pixel_hash(np.ascontiguousarray(mask)) == record.mask_hash
            else f"masks/{name}.npy does not match its hash"
        )
    except (OSError, ValueError, EOFError) as error:
        return f"{name}.npy cannot be read: {error}"


def dataset_hash(dataset: str, intensity: str, scan_hashes: Mapping[str, str]) -> str:
    """Content hash of a data set: of its scans' hashes sorted by scan id, with name and
    intensity."""
    return sha256_lines(
        [
            dataset,
            intensity,
            *(f"{scan_id} {scan_hashes[scan_id]}" for scan_id in sorted(scan_hashes)),
        ]
    )
