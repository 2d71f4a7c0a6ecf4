"""A drawn head as DICOM and NIfTI, with an identity that must not be found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

IDENTITY = {
    "PatientName": "Muster^Erika",
    "PatientID": "MRN-4711-0815",
    "PatientBirthDate": "19500304",
    "PatientSex": "F",
    "AccessionNumber": "ACC998877",
    "ReferringPhysicianName": "Beispiel^Doktor",
    "InstitutionName": "Klinikum Irgendwo",
    "StudyDate": "20200229",
}


def head(slices: int = 12, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """HU int16 (slices, side, side) in the study's orientation, and a lesion on the patient's
    right, towards the front, in slices 4 to 7, bool."""
    row, column = np.mgrid[:side, :side] / (side - 1)
    radius = np.hypot((column - 0.5) / 0.36, (row - 0.5) / 0.42)
    flat = np.full((side, side), -1000)
    flat[radius < 1.0] = 40
    flat[radius < 0.95] = 900
    flat[radius < 0.82] = 30
    hu = np.repeat(flat[None], slices, 0).astype(np.int16)
    lesion = np.zeros(hu.shape, bool)
    lesion[4:8, side // 4 : side // 4 + 8, side // 3 : side // 3 + 6] = True
    hu[lesion] = 70
    # every slice differs, so that one in another's place shows
    hu += (np.arange(slices)[:, None, None] * (hu == 30)).astype(np.int16)
    return hu, lesion


def write_series(
    folder: Path,
    hu: np.ndarray,
    *,
    tilt_degrees: float = 0.0,
    z_mm: np.ndarray | None = None,
    pixel_mm: tuple[float, float] = (3.0, 2.8),
    flipped: bool = False,
    uid: str = "head",
    **fields: object,
) -> list[Path]:
    """HU as a DICOM series, a file per slice, names in no order.

    z_mm: of the table, default 6 mm apart. pixel_mm: (between rows, between columns). flipped:
    rows and columns stored from the other end, as the orientation says. fields: over the defaults.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slices, rows, columns = hu.shape
    z_mm = 6.0 * np.arange(slices) if z_mm is None else z_mm
    angle = np.deg2rad(tilt_degrees)
    across, down = np.array([1.0, 0, 0]), np.array([0.0, np.cos(angle), -np.sin(angle)])
    paths = []
    for number in range(slices):
        corner = np.array([0.0, 0.0, z_mm[number]])
        corner = corner - across * (columns - 1) / 2 * pixel_mm[1]
        corner = corner - down * (rows - 1) / 2 * pixel_mm[0]
        stored, along, below = hu[number], across, down
        if flipped:
            corner = corner + across * (columns - 1) * pixel_mm[1] + down * (rows - 1) * pixel_mm[0]
            stored, along, below = stored[::-1, ::-1], -across, -down
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        values = {
            **IDENTITY,
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": generate_uid(entropy_srcs=[uid, str(number)]),
            "StudyInstanceUID": generate_uid(entropy_srcs=["study"]),
            "SeriesInstanceUID": generate_uid(entropy_srcs=[uid]),
            "FrameOfReferenceUID": generate_uid(entropy_srcs=["frame"]),
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "StudyID": "STUDY-31415",
            "SliceThickness": "5",
            "ImagePositionPatient": [f"{value:.6f}" for value in corner],
            "ImageOrientationPatient": [f"{value:.6f}" for value in (*along, *below)],
            "PixelSpacing": [f"{value:.6f}" for value in pixel_mm],
            "RescaleSlope": "1",
            "RescaleIntercept": "-1024",
            "Rows": rows,
            "Columns": columns,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            **fields,
        }
        for name, value in values.items():
            setattr(image, name, value)
        image.PixelData = np.ascontiguousarray(stored.astype(np.int16) + 1024).tobytes()
        path = folder / f"{(7 * number) % 101:03d}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def positions(paths: list[Path]) -> dict[str, np.ndarray]:
    """SOPInstanceUID to ImagePositionPatient of written slices."""
    found = {}
    for path in paths:
        image = pydicom.dcmread(path, stop_before_pixels=True)
        found[str(image.SOPInstanceUID)] = np.array(image.ImagePositionPatient, float)
    return found
