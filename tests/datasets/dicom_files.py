"""DICOM series for the tests: written from a phantom scan, or real where they lie beside the
checkout."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from ich_study.paths import real_data_root
from ich_study.phantom.dicom_slices import Storage, add, add_image, save

PLAIN = Storage()


def write_series(
    folder: Path, scan, *, series="1.2.3", name="s", skip=(), **elements
) -> list[Path]:
    """Uncompressed slices in names of no order; `elements` override or, with None, remove."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, z_mm in enumerate(scan.z_mm):
        if i in skip:
            continue
        dataset = add(
            pydicom.Dataset(),
            SOPInstanceUID=f"{series}.{i}",
            PatientID="SECRET^PERSON",
            PatientName="SECRET^PERSON",
        )
        add(
            dataset,
            StudyInstanceUID="1.2",
            SeriesInstanceUID=series,
            SliceThickness="5",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        )
        add_image(dataset, scan, float(z_mm), PLAIN.stored(scan.hu[i]), PLAIN)
        for keyword, value in elements.items():
            if value is None:
                del dataset[keyword]
            else:
                add(dataset, **{keyword: value})
        path = folder / f"{name}{(i * 7 + 3) % len(scan.z_mm)}.dcm"
        save(dataset, path, ExplicitVRLittleEndian)
        paths.append(path)
    return paths


def real(name: str) -> Path:
    root = real_data_root()
    if root is None or not (root / name).is_dir():
        pytest.skip(f"no real scans: {name} is not under ICH_REAL_DATA or ../shared/real")
    return root / name
