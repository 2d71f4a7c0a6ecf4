"""One series of DICOM files or one NIfTI volume as HU, with all that leads back to where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    io_orientation,
    ornt_transform,
)
from numpy.typing import ArrayLike

from ich_study.ct.planes import slice_depths_mm
from ich_study.datasets.dicom_headers import SliceHeader
from ich_study.datasets.dicom_series import read_series
from ich_study.datasets.nifti import CONTRACT_AXES, load_nifti, to_hounsfield
from ich_study.datasets.slice_geometry import InPlane
from ich_study.errors import DataError
from ich_study.evaluate.scan_methods import OneScan
from ich_study.integrity import findings_table, stop_on_errors
from ich_study.integrity.scan import note_findings
from ich_study.new_scan.frame import Frame, frame

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AIR_SHARE, LOWEST_AIR, LOWEST_BONE = 0.005, -500, 300
"""Of a head CT in HU at least this share of the voxels is air below -500 HU, and there is bone
above 300 HU."""
BRAIN_ML = (100.0, 2500.0)
BRAIN_HU = (5.0, 60.0)
"""What the brain inside a skull may measure, a part of a head included, and its median HU."""
BESIDE_MM = 0.5
"""How far a slice may lie beside an even step before the scan's notes say so."""


@dataclass(frozen=True, repr=False)
class OwnScan:
    """A scan in the study's orientation and the way back.

    name: a pseudonym. hu: int16 (slices, rows, columns). affine: voxel (column, row, slice) of `hu`
    to RAS mm, float64 (4, 4). depth_mm: (slices,), what a slice stands for along its normal.
    spacing_mm: (x, y). file_affine: of a NIfTI file in its own order of axes, else None. headers:
    of DICOM slices in the order of `hu`, else none. notes: hold no identity.
    """

    name: str
    hu: np.ndarray
    affine: np.ndarray
    depth_mm: np.ndarray
    spacing_mm: tuple[float, float]
    notes: tuple[str, ...] = ()
    file_affine: np.ndarray | None = None
    headers: tuple[SliceHeader, ...] = ()
    in_plane: InPlane = field(default_factory=InPlane)

    @cached_property
    def source(self) -> OneScan:
        """The scan as methods read it."""
        return OneScan(self.name, self.hu, self.spacing_mm[::-1])

    @cached_property
    def frame(self) -> Frame:
        """The part of the field that methods are given."""
        return frame(self.source)

    @property
    def all_notes(self) -> list[str]:
        """What reading the scan and framing it have to say."""
        return [*self.notes, *([self.frame.note] if self.frame.cut else [])]

    @property
    def pixel_ml(self) -> np.ndarray:
        """What a pixel of each slice measures, mL (slices,)."""
        return self.depth_mm * self.spacing_mm[0] * self.spacing_mm[1] / 1000

    def image(self, voxels: np.ndarray) -> nibabel.Nifti1Image:
        """`voxels` (slices, rows, columns) as NIfTI in the original geometry.

        A NIfTI file gets its own order of axes and affine back. A DICOM series lies where its
        headers say, tilt included; its slices are a constant step apart, as NIfTI has it.
        """
        turned, affine = voxels.transpose(2, 1, 0), self.affine
        if self.file_affine is not None:
            affine = self.file_affine
            back = ornt_transform(axcodes2ornt(CONTRACT_AXES), io_orientation(affine))
            turned = apply_orientation(turned, back)
        image = nibabel.Nifti1Image(np.ascontiguousarray(turned), affine)
        image.header.set_xyzt_units("mm")
        return image

    def world_mm(self, places: ArrayLike) -> np.ndarray:
        """Places (n, 3) of slice, row and column in patient coordinates, LPS mm (n, 3); of a
        DICOM series where its headers say, though its slices be at uneven distances."""
        places = np.asarray(places, np.float64)
        voxels = np.c_[places[:, ::-1], np.ones(len(places))]
        world = (voxels @ (LPS_TO_RAS @ self.affine).T)[:, :3]
        return world + self.beside_affine_mm[places[:, 0].astype(int)]

    @cached_property
    def beside_affine_mm(self) -> np.ndarray:
        """How far each slice lies from where the affine's constant step has it, LPS (slices, 3)."""
        if not self.headers:
            return np.zeros((len(self.hu), 3))
        voxels = np.zeros((len(self.hu), 4))
        voxels[:, 2], voxels[:, 3] = np.arange(len(self.hu)), 1
        return (
            _corners(self.headers, self.in_plane) - (voxels @ (LPS_TO_RAS @ self.affine).T)[:, :3]
        )


def read_dicom(files: tuple[Path, ...], name: str, allow_bad: bool = False) -> OwnScan:
    """One series of DICOM files; DataError as `dicom_series.read_series`."""
    series = read_series(files, skip_bad=allow_bad)
    stack, headers = series.stack, series.stack.headers
    corners = _corners(headers, stack.in_plane)
    first, in_plane = headers[0], stack.in_plane
    affine = np.eye(4)
    affine[:3, 0] = _place(first, in_plane, 0, 1) - corners[0]
    affine[:3, 1] = _place(first, in_plane, 1, 0) - corners[0]
    depth = slice_depths_mm(stack.z_mm, stack.thickness_mm)
    if len(headers) > 1:
        affine[:3, 2] = (corners[-1] - corners[0]) / (len(headers) - 1)
    else:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / np.linalg.norm(normal) * depth[0]
    affine[:3, 3] = corners[0]
    scan = OwnScan(
        name,
        series.hu,
        LPS_TO_RAS @ affine,
        depth,
        stack.spacing_mm,
        series.notes,
        headers=headers,
        in_plane=in_plane,
    )
    furthest = np.linalg.norm(scan.beside_affine_mm, axis=1).max()
    if furthest <= BESIDE_MM:
        return scan
    note = (
        f"NIfTI has one distance between slices, this series several: in the NIfTI files a slice"
        f" lies up to {furthest:.1f} mm beside its place; points and DICOM segmentation do not"
    )
    return replace(scan, notes=(*scan.notes, note))


def read_nifti(path: Path, name: str) -> OwnScan:
    """One NIfTI volume; DataError as `datasets.nifti.load_nifti`."""
    array = load_nifti(path)
    hu, notes = to_hounsfield(array.voxels, path)
    # a note may name the file, and a file may name a person
    known = tuple(note.replace(path.name, "the file") for note in (*array.notes, *notes))
    depths = slice_depths_mm(array.z_mm, array.spacing_mm[2])
    spacing = array.spacing_mm[:2]
    return OwnScan(name, hu, array.affine, depths, spacing, known, array.file_affine)


def check_head(scan: OwnScan, allow: Sequence[str] = ()) -> None:
    """Raise DataError, which says what was expected and found, unless this is a head CT in HU.

    allow: checks of `integrity.CHECKS` whose errors in the header do not count.
    """
    stop_on_errors(findings_table(note_findings(scan.notes, "own scan", scan.name)), allow)
    hu = scan.hu
    air, brightest = (hu < LOWEST_AIR).mean(), hu.max()
    if air < AIR_SHARE:
        raise DataError(
            f"{100 * air:.2f} % of its voxels lie below {LOWEST_AIR} HU, expected at least"
            f" {100 * AIR_SHARE:g} %: its values are windowed, cropped or no HU; export the scan"
            " again without a window"
        )
    if brightest < LOWEST_BONE:
        raise DataError(
            f"its highest value is {brightest}, expected bone above {LOWEST_BONE} HU: its values"
            " are no HU, or this is no head"
        )
    brain = scan.source.brain
    volume = brain.sum((1, 2)) @ scan.pixel_ml
    if not BRAIN_ML[0] <= volume <= BRAIN_ML[1]:
        raise DataError(
            f"{volume:.0f} mL of brain inside a skull were found, expected {BRAIN_ML[0]:g} to"
            f" {BRAIN_ML[1]:g} mL: this is no head"
        )
    median = np.median(hu[brain])
    if not BRAIN_HU[0] <= median <= BRAIN_HU[1]:
        raise DataError(
            f"the median inside the skull is {median:.0f}, expected {BRAIN_HU[0]:g} to"
            f" {BRAIN_HU[1]:g} HU: its values are no HU"
        )


def _corners(headers: Sequence[SliceHeader], in_plane: InPlane) -> np.ndarray:
    """Centre of the first pixel of every slice, LPS mm (slices, 3)."""
    return np.array([_place(header, in_plane, 0, 0) for header in headers])


def _place(header: SliceHeader, in_plane: InPlane, row: int, column: int) -> np.ndarray:
    """Centre of a pixel of the slice in the study's orientation, LPS mm."""
    shape = (header.rows, header.columns)
    sides = shape[::-1] if in_plane.transpose else shape
    row = sides[0] - 1 - row if in_plane.flip_rows else row
    column = sides[1] - 1 - column if in_plane.flip_columns else column
    down, along = (column, row) if in_plane.transpose else (row, column)
    orientation = np.array(header.orientation)
    between_rows, between_columns = header.spacing_mm
    return (
        np.array(header.position_mm)
        + orientation[:3] * between_columns * along
        + orientation[3:] * between_rows * down
    )
