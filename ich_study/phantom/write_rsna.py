"""Phantom scans in the on-disk layout of RSNA 2019, with that data set's header families and
defects.

Two families of headers stand side by side, as in the data set: Explicit VR, 16-bit signed with
-2000 outside the field of view, and Implicit VR, 12-bit unsigned with two equal window values; one
scan in sixteen has the wrapped unsigned HU. Slices lie in one folder under names in no order,
without thickness or number. Four images stand twice in the CSV; ID_6431af929 is cut short. Labels
are per slice; there are no masks. See `datasets.rsna` for the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ich_study.atomic import write_csv
from ich_study.datasets.rsna import KNOWN_CORRUPT, SUBTYPE_NAMES
from ich_study.phantom.dicom_slices import Storage, add, add_image, digest, save
from ich_study.phantom.scan import PhantomScan

SIGNED = Storage(padding=-2000)
UNSIGNED = Storage(signed=False, bits_stored=12)
WRAPPED = Storage(signed=False, bits_stored=12, intercept=0, wrapped=True)
DUPLICATED_IMAGES = 4
VISIBLE_MM2 = 20.0
"""Area of a subtype on a slice below which the simulated reader does not label it: a speck of 4 to
5 mm."""
_IMAGES, _LABELS = "stage_2_train", "stage_2_train.csv"


def rsna_patient_id(seed: int) -> str:
    """RSNA PatientID of the phantom patient of `seed`: `ID_` and 8 hexadecimal digits."""
    return f"ID_{digest('rsna patient', seed, digits=8)}"


def rsna_series_id(seed: int) -> str:
    """RSNA SeriesInstanceUID of the scan of `seed`: `ID_` and 10 hexadecimal digits."""
    return f"ID_{digest('rsna series', seed, digits=10)}"


def write_rsna(
    root: Path,
    scans: Iterable[PhantomScan],
    *,
    patient_seed: Callable[[PhantomScan], int] = attrgetter("seed"),
) -> list[dict[str, str]]:
    """Writes `stage_2_train/` and `stage_2_train.csv` under `root`, one scan in memory at a time.

    patient_seed: seed of a scan's patient, where patients have several scans (default: one each).
    Returns `patient_id` and `scan_id` of each scan, as `RsnaReader` gives them. The CSV comes last,
    so that what a kill left half-written is not mistaken for a data set.
    """
    written, rows = [], []
    for number, scan in enumerate(scans):
        patient_id = rsna_patient_id(patient_seed(scan))
        rows += _write_scan(root / _IMAGES, scan, patient_id, corrupt=number == 0)
        written.append({"patient_id": patient_id, "scan_id": rsna_series_id(scan.seed)})
    table = pd.DataFrame(sorted(rows), columns=["ID", "Label"])
    twice = 6 * min(DUPLICATED_IMAGES, len(rows) // 6)
    write_csv(root / _LABELS, pd.concat([table, table[:twice]]))
    return written


def family(seed: int) -> tuple[Storage, UID]:
    """How the scan of `seed` is stored."""
    drawn = int(digest("rsna family", seed, digits=1), 16)
    if drawn == 0:
        return WRAPPED, ImplicitVRLittleEndian
    return (SIGNED, ExplicitVRLittleEndian) if drawn < 8 else (UNSIGNED, ImplicitVRLittleEndian)


def _write_scan(
    folder: Path, scan: PhantomScan, patient_id: str, corrupt: bool
) -> list[tuple[str, int]]:
    """Writes the slices; returns their label rows, and those of the corrupt image above the last
    slice."""
    storage, syntax = family(scan.seed)
    labels = scan.slice_labels(VISIBLE_MM2)
    rows = []
    for i, (hu, z_mm) in enumerate(zip(scan.hu, scan.z_mm)):
        image = f"ID_{digest('rsna image', scan.seed, i, digits=9)}"
        save(_dataset(scan, patient_id, image, hu, z_mm, storage), folder / f"{image}.dcm", syntax)
        rows += [
            (f"{image}_{name}", int(labels[label][i])) for name, label in SUBTYPE_NAMES.items()
        ]
    if corrupt:
        image = KNOWN_CORRUPT[0]
        dataset = _dataset(
            scan, patient_id, image, scan.hu[-1], scan.z_mm[-1] + scan.thickness_mm, storage
        )
        dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 4 * 2]
        save(dataset, folder / f"{image}.dcm", syntax)
        rows += [(f"{image}_{name}", 0) for name in SUBTYPE_NAMES]
    return rows


def _dataset(
    scan: PhantomScan, patient_id: str, image: str, hu: np.ndarray, z_mm: float, storage: Storage
) -> Dataset:
    """Only the elements that the data set's files have."""
    two_values = not storage.signed
    dataset = add(
        Dataset(),
        SOPInstanceUID=image,
        Modality="CT",
        PatientID=patient_id,
        StudyInstanceUID=f"ID_{digest('rsna study', scan.seed, digits=10)}",
        SeriesInstanceUID=rsna_series_id(scan.seed),
        StudyID="",
        WindowCenter=["00036", "00036"] if two_values else "30",
        WindowWidth=["00080", "00080"] if two_values else "80",
    )
    return add_image(dataset, scan, float(z_mm), storage.stored(hu), storage)
