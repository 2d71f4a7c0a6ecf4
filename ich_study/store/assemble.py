"""The last step of a build: the tables of all scans, and the file that says the store is whole."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import pandas as pd

import ich_study
from ich_study.atomic import write_csv, write_json, write_parquet
from ich_study.datasets.contract import Reader
from ich_study.errors import DataError
from ich_study.hashing import sealed, sha256_file
from ich_study.integrity import Finding, findings_table
from ich_study.integrity.scan import note_findings
from ich_study.schema import BOX_COLUMNS, INDEX_COLUMNS, typed
from ich_study.store.fingerprint import LAYOUT
from ich_study.store.read import IMAGE_COLUMNS, META, TABLES
from ich_study.store.record import ScanRecord, dataset_hash, read_record

VERSIONED = ("numpy", "pandas", "pyarrow", "pydicom", "python-gdcm", "nibabel", "xxhash")


def _stacked(parts: Iterable[dict[str, list]], columns: dict[str, str], what: str) -> pd.DataFrame:
    whole = list(parts)
    values = {name: list(chain.from_iterable(part[name] for part in whole)) for name in columns}
    return typed(pd.DataFrame(values, dtype=object), columns, what)


def _images(records: Sequence[ScanRecord]) -> pd.DataFrame:
    parts = []
    for record in records:
        measured = {"image_hash": record.image_hashes, "constant": record.constant}
        parts.append({**record.index, **measured})
    return _stacked(parts, IMAGE_COLUMNS, "images")


def _versions() -> dict[str, str]:
    found = {"ich_study": ich_study.__version__, "python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def assemble(folder: Path, reader: Reader, scan_ids: Sequence[str], bad: Sequence[Finding]) -> None:
    """Write index, boxes, images, scan hashes, notes and findings of the built scans, then
    `store.json`.

    bad: findings of scans left out. What the reader found in the data set as a whole, its attribute
    `findings` where it has one, joins the report. Raises DataError when no scan is left,
    or a record is missing.
    """
    if not scan_ids:
        raise DataError(f"{reader.name}: no scan under {reader.root} could be read")
    records = []
    for scan_id in sorted(scan_ids):
        record = read_record(folder, scan_id)
        if record is None:
            raise DataError(
                f"the record of scan {scan_id} in {folder} disappeared during the build; run it"
                " again"
            )
        records.append(record)
    index = _stacked((record.index for record in records), INDEX_COLUMNS, "index")
    boxes = _stacked((record.boxes for record in records), BOX_COLUMNS, "boxes")
    scans = pd.DataFrame(
        {
            "scan_id": [record.scan_id for record in records],
            "content_hash": [record.content_hash() for record in records],
            "mask_hash": pd.array([record.mask_hash for record in records], dtype="string"),
        }
    )
    notes = pd.DataFrame(
        [(record.scan_id, note) for record in records for note in record.notes],
        columns=["scan_id", "note"],
    )
    write_parquet(folder / "index.parquet", index)
    write_parquet(folder / "boxes.parquet", boxes)
    write_parquet(folder / "images.parquet", _images(records))
    write_parquet(folder / "scans.parquet", scans)
    write_csv(folder / "notes.csv", notes)
    whole = note_findings(getattr(reader, "findings", ()), reader.name, "")
    write_csv(
        folder / "findings.csv",
        findings_table([*bad, *whole, *chain.from_iterable(record.findings for record in records)]),
    )
    write_json(
        folder / META,
        sealed(
            {
                "layout": LAYOUT,
                "dataset": reader.name,
                "intensity": reader.intensity,
                "content_hash": dataset_hash(
                    reader.name,
                    reader.intensity,
                    dict(zip(scans["scan_id"], scans["content_hash"])),
                ),
                "patients": len(set(index["patient_id"])),
                "scans": len(scans),
                "slices": len(index),
                "boxes": len(boxes),
                "left_out": sorted(finding.scan_id for finding in bad),
                "tables": {name: sha256_file(folder / name) for name in TABLES},
                "versions": _versions(),
            }
        ),
    )
