"""Phantom slices as DICOM CT data sets: geometry with gantry tilt, storage of HU, encoding, file.

Shared by the writers of the DICOM data sets. Bytes depend on the scan alone (and on the version of
pydicom, which signs its files).
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import gdcm
import numpy as np
from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEGLosslessSV1

from ich_study.atomic import atomic_path
from ich_study.ct.hounsfield import AIR_HU
from ich_study.errors import DataError
from ich_study.phantom.scan import PhantomScan

_WRAP_RANGE = 4096


@dataclass(frozen=True)
class Storage:
    """How HU are stored: stored value = HU - intercept.

    padding: stored value outside the circular field of view, or None. wrapped: the RSNA defect,
    negative HU stored as 4096 + HU (unsigned, intercept 0, HU from -1000 up).
    """

    signed: bool = True
    bits_stored: int = 16
    intercept: int = -1024
    padding: int | None = None
    wrapped: bool = False

    def stored(self, hu: np.ndarray) -> np.ndarray:
        """int16 HU (rows, columns) as int16 or uint16 stored values; HU that do not fit are
        clipped."""
        if self.wrapped:
            return (np.clip(hu.astype(np.int32), -1000, _WRAP_RANGE - 1001) % _WRAP_RANGE).astype(
                "<u2"
            )
        high = 2 ** (self.bits_stored - self.signed) - 1
        values = np.clip(
            hu.astype(np.int32) - self.intercept, AIR_HU - self.intercept, high
        ).astype("<i2" if self.signed else "<u2")
        if self.padding is not None:
            values[~field_of_view(*hu.shape)] = self.padding
        return values


def field_of_view(rows: int, columns: int) -> np.ndarray:
    """Bool (rows, columns): the circle that a scanner reconstructs, inscribed in the image."""
    y, x = np.ogrid[:rows, :columns]
    return (2 * y - rows + 1) ** 2 / rows**2 + (2 * x - columns + 1) ** 2 / columns**2 <= 1


def digest(*parts: object, digits: int) -> str:
    """`digits` hexadecimal digits that depend on nothing but `parts`."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:digits]


def add(dataset: Dataset, **values: object) -> Dataset:
    """Adds elements by keyword, unchecked: some data sets put identifiers into UIDs that are
    none."""
    for keyword, value in values.items():
        vr = (
            "US" if keyword == "PixelPaddingValue" else dictionary_VR(Tag(keyword))
        )  # padding -2000 stands as 63536, as CQ500 has it
        dataset.add(DataElement(Tag(keyword), vr, value, validation_mode=config.IGNORE))
    return dataset


def add_image(
    dataset: Dataset, scan: PhantomScan, z_mm: float, stored: np.ndarray, storage: Storage
) -> Dataset:
    """Adds place, pixel description and uncompressed pixels of one slice.

    The slice's centre lies at (0, 0, z_mm) in LPS; the gantry tilts about the left-right axis, with
    the sign of GantryDetectorTilt.
    """
    rows, columns = stored.shape
    tilt = np.deg2rad(scan.tilt_degrees)
    down = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    corner = (
        np.array([-(columns - 1) / 2 * scan.spacing_mm, 0, z_mm])
        - down * (rows - 1) / 2 * scan.spacing_mm
    )
    add(
        dataset,
        ImagePositionPatient=[f"{value:.6f}" for value in corner],
        ImageOrientationPatient=[
            "1.000000",
            "0.000000",
            "0.000000",
            *(f"{value:.6f}" for value in down),
        ],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=rows,
        Columns=columns,
        PixelSpacing=[f"{scan.spacing_mm:.6f}"] * 2,
        BitsAllocated=16,
        BitsStored=storage.bits_stored,
        HighBit=storage.bits_stored - 1,
        PixelRepresentation=int(storage.signed),
        RescaleIntercept=str(storage.intercept),
        RescaleSlope="1",
    )
    dataset.add(DataElement(Tag("PixelData"), "OW", stored.tobytes()))
    return dataset


def save(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    """Writes a data set atomically as a DICOM file; JPEG Lossless compresses its pixels, through
    GDCM."""
    if syntax == JPEGLosslessSV1:
        dataset.add(
            DataElement(Tag("PixelData"), "OB", _compressed(dataset), is_undefined_length=True)
        )
    with atomic_path(path) as temporary:
        _write(dataset, temporary, syntax)


def _write(dataset: Dataset, path: Path, syntax: UID) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Invalid value for VR UI")
        dataset.save_as(path, enforce_file_format=True)


def _compressed(dataset: Dataset) -> bytes:
    """Pixel data as JPEG Lossless, Process 14, Selection Value 1, encapsulated.

    Only the pixels are taken from what GDCM writes: its headers differ from run to run.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        _write(dataset, plain, ExplicitVRLittleEndian)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        if not reader.Read():
            raise DataError(
                f"GDCM could not read a slice of {dataset.Rows} x {dataset.Columns} pixels"
            )
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise DataError(
                f"GDCM could not compress a slice of {dataset.Rows} x {dataset.Columns} pixels"
            )
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise DataError(f"GDCM could not write {packed}")
        return dcmread(packed).PixelData
