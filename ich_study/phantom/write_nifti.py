"""Phantom scans as NIfTI files with chosen axes, number types and headers; equal scans give equal
bytes."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from ich_study.atomic import atomic_path
from ich_study.phantom.scan import PhantomScan
from ich_study.schema import MASK_CODES


def contract_affine(scan: PhantomScan) -> np.ndarray:
    """Voxel (column, row, slice) of the scan's arrays to RAS mm, float64 (4, 4), without shear.

    The head's centre lies at x = y = 0, slice 0's centre at `z_mm[0]`. With a positive tilt the
    rows descend towards posterior, as with DICOM's positive GantryDetectorTilt; the slices are
    turned with them, at the distance of their planes. That they lie shifted within their planes is
    lost: a qform, all that BHSD has, cannot state it.
    """
    steps = np.diff(scan.plane_mm)
    gap = float(steps.mean()) if len(steps) else scan.thickness_mm
    tilt = np.radians(scan.tilt_degrees)
    affine = np.eye(4)
    affine[:3, 0] = -scan.spacing_mm, 0, 0
    affine[:3, 1] = 0, -scan.spacing_mm * np.cos(tilt), -scan.spacing_mm * np.sin(tilt)
    affine[:3, 2] = 0, -gap * np.sin(tilt), gap * np.cos(tilt)
    _, rows, columns = scan.hu.shape
    affine[:3, 3] = (0, 0, scan.z_mm[0]) - affine[:3, :2] @ ((columns - 1) / 2, (rows - 1) / 2)
    return affine


def save_nifti(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray,
    dtype: npt.DTypeLike,
    sform: int = 1,
) -> None:
    """An array (slices, rows, columns) in the contract's orientation, as `path` (.nii or .nii.gz)
    in LAS, atomically.

    affine: of the array, see `contract_affine`. sform: its code; 0 leaves that form out.
    """
    voxels, mirror = array.transpose(2, 1, 0)[:, ::-1], np.diag([1.0, -1, 1, 1])
    mirror[1, 3] = voxels.shape[1] - 1
    turned = affine @ mirror
    # Without an affine of its own the image keeps the header's forms; with one, nibabel may add an
    # sform on writing.
    image = nibabel.Nifti1Image(voxels.astype(dtype), None)
    image.header.set_xyzt_units("mm")
    image.header.set_qform(turned, 1)
    image.header.set_sform(turned if sform else None, sform)
    content = image.to_bytes()
    with atomic_path(path) as temporary:
        temporary.write_bytes(
            gzip.compress(content, compresslevel=1, mtime=0) if path.suffix == ".gz" else content
        )


def save_scan(
    scan: PhantomScan,
    mask: np.ndarray,
    folders: tuple[Path, Path],
    name: str,
    dtypes: tuple[npt.DTypeLike, npt.DTypeLike] = (np.int16, np.uint8),
    sform: int = 1,
) -> None:
    """The HU of a scan and its mask as files called `name` in two folders, of two number types."""
    affine = contract_affine(scan)
    for folder, array, dtype in zip(folders, (scan.hu, mask), dtypes):
        save_nifti(folder / name, array, affine, dtype, sform=sform)


def recoded(mask: np.ndarray, subtypes: Mapping[int, str]) -> np.ndarray:
    """A mask with the data set's own codes (code to subtype) in place of the schema's; uint8,
    background 0."""
    table = np.zeros(256, np.uint8)
    for code, name in subtypes.items():
        table[MASK_CODES[name]] = code
    return table[mask]


def flag_rows(scan: PhantomScan, columns: Mapping[str, str]) -> Iterable[dict[str, int]]:
    """Per slice, inferior to superior, a 0/1 column for each subtype (`columns` maps subtype to
    name)."""
    labels = scan.slice_labels()
    for index in range(len(scan.hu)):
        yield {column: int(labels[name][index]) for name, column in columns.items()}
