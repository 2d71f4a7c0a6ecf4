"""Which slices make a series, where they lie, and how stored rows and columns come into the study's
orientation.

Coordinates are DICOM's LPS in mm: x to the patient's left, y to posterior, z to superior.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median, median_low
from typing import TypeAlias

import numpy as np

from ich_study.datasets.dicom_headers import SliceHeader
from ich_study.errors import DataError, ParameterError

_SAME_POSITION_MM = 0.01
_COSINE_TOLERANCE = _SPACING_TOLERANCE = 1e-3
_GAP_FACTOR = 1.5
_NEIGHBOURS = 3

SeriesKey: TypeAlias = tuple[str, str]
"""(StudyInstanceUID, SeriesInstanceUID)."""


@dataclass(frozen=True)
class InPlane:
    """Stored slice to contract orientation (row 0 anterior, column 0 patient's right): transpose,
    then flips."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def image(self, stored: np.ndarray) -> np.ndarray:
        """A view of `stored` (rows, columns) in contract orientation."""
        image = stored.T if self.transpose else stored
        return image[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def box(
        self, x: float, y: float, width: float, height: float, shape: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """A box (x, y of the top left corner, width, height; stored pixels) in contract
        orientation.

        shape: (rows, columns) of the slice in contract orientation.
        """
        if self.transpose:
            x, y, width, height = y, x, height, width
        return (
            shape[1] - x - width if self.flip_columns else x,
            shape[0] - y - height if self.flip_rows else y,
            width,
            height,
        )

    def describe(self) -> str:
        """What was done, in words; empty where the slice was stored in contract orientation."""
        done = {
            "transposed": self.transpose,
            "rows flipped": self.flip_rows,
            "columns flipped": self.flip_columns,
        }
        return ", ".join(name for name, yes in done.items() if yes)


@dataclass(frozen=True)
class SliceStack:
    """Slices of one series from inferior to superior.

    headers: in slice order; repeated: files at a position that an earlier file (by name) holds;
    unlike: files of another geometry, where those were allowed and left out.
    z_mm, shift_mm: as `contract.ScanVolume` has them, of the slice centres. gaps_mm: distance
    between neighbouring planes, float64 (slices - 1,). spacing_mm: (x, y) pixel size in contract
    orientation.
    thickness_mm: median of the headers', else of the gaps, else NaN. tilt_degrees: gantry tilt
    about the left-right axis, the sign that of GantryDetectorTilt; roll_degrees: slope of a row out
    of the x axis.
    """

    headers: tuple[SliceHeader, ...]
    repeated: tuple[SliceHeader, ...]
    unlike: tuple[SliceHeader, ...]
    in_plane: InPlane
    z_mm: np.ndarray
    shift_mm: np.ndarray
    spacing_mm: tuple[float, float]
    thickness_mm: float
    tilt_degrees: float
    roll_degrees: float

    @property
    def gaps_mm(self) -> np.ndarray:
        """See above."""
        return np.diff(self.z_mm)

    def notes(self) -> list[str]:
        """What a user should know of the geometry; holds no identity."""
        notes = (
            [f"gantry tilt {self.tilt_degrees:+.1f} degrees; slices are not resampled"]
            if abs(self.tilt_degrees) >= 0.25
            else []
        )
        if abs(self.roll_degrees) >= 0.25:
            notes.append(
                f"rows rolled by {self.roll_degrees:+.1f} degrees out of the left-right axis; not"
                " resampled"
            )
        if self.in_plane.describe():
            notes.append(
                f"stored slices {self.in_plane.describe()} to bring anterior to the top and the"
                " patient's right to the left"
            )
        if self.unlike:
            notes.append(
                f"{len(self.unlike)} slices of another shape, orientation or pixel size left out"
            )
        if self.repeated:
            notes.append(
                f"repeated-position: {len(self.repeated)} slices dropped, the first file by name"
                " kept"
            )
        return notes + self._spacing_notes()

    def _spacing_notes(self) -> list[str]:
        notes, gaps = [], self.gaps_mm
        if len(gaps) and np.ptp(gaps) > 0.1 * np.median(gaps):
            notes.append(
                f"irregular-spacing: {gaps.min():.2f} to {gaps.max():.2f} mm, median"
                f" {np.median(gaps):.2f} mm"
            )
        wide = missing_gaps(gaps)
        if len(wide):
            text = ", ".join(f"{gaps[i]:.2f} mm after slice {i}" for i in wide[:5])
            notes.append(
                f"missing-slices: {len(wide)} gaps wider than the usual distance around them:"
                f" {text}"
            )
        thickness = [
            header.thickness_mm for header in self.headers if np.isfinite(header.thickness_mm)
        ]
        if thickness and max(thickness) - min(thickness) > _SPACING_TOLERANCE:
            notes.append(
                f"slice thickness varies from {min(thickness):g} to {max(thickness):g} mm;"
                f" {self.thickness_mm:g} mm taken for all"
            )
        return notes


def group_series(headers: Iterable[SliceHeader]) -> dict[SeriesKey, list[SliceHeader]]:
    """Headers by study and series, both sorted; within a series by file.

    Raises DataError when one series stands under two studies or two patients.
    """
    ordered = sorted(headers, key=lambda header: (header.study_uid, header.series_uid, header.path))
    grouped = {
        key: list(items)
        for key, items in groupby(ordered, key=lambda header: (header.study_uid, header.series_uid))
    }
    owners: dict[str, tuple[str, str]] = {}
    for header in ordered:
        owner = owners.setdefault(header.series_uid, (header.study_uid, header.patient_id))
        if owner != (header.study_uid, header.patient_id):
            raise DataError(
                f"{header.path}: its series also stands under another study or patient; separate"
                " the two by folder"
            )
    return grouped


def along_normal(header: SliceHeader) -> float:
    """Position of a slice in mm along its own normal, which points to superior: what orders a
    series."""
    a, b, c, d, e, f = header.orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    along = sum(n * p for n, p in zip(normal, header.position_mm))
    return -along if normal[2] < 0 else along


def missing_gaps(gaps_mm: np.ndarray) -> np.ndarray:
    """Indices of gaps wider than 1.5 times the median of the gaps around (3 on each side and
    itself).

    A local median, because heads are often scanned thin at the base and thick above.
    """
    gaps = gaps_mm.tolist()
    around = [gaps[max(i - _NEIGHBOURS, 0) : i + _NEIGHBOURS + 1] for i in range(len(gaps))]
    return np.array(
        [i for i, near in enumerate(around) if gaps[i] > _GAP_FACTOR * median(near)], dtype=int
    )


def stack_slices(headers: Sequence[SliceHeader], mixed: str = "error") -> SliceStack:
    """The slices of one series in order.

    mixed: where shape, orientation or pixel size differ within the series, "error" raises and
        "largest" keeps the largest group (the first by file name among equals).
    Raises DataError naming files for mixed geometry and for slices that are not axial.
    """
    if mixed not in ("error", "largest"):
        raise ParameterError(f"mixed is {mixed!r}; expected 'error' or 'largest'")
    groups = _geometries(sorted(headers, key=lambda header: header.path))
    if len(groups) > 1 and mixed == "error":
        raise DataError(
            "one series holds slices of different geometry: "
            + "; ".join(map(_described, groups))
            + ". Separate them."
        )
    alike = max(groups, key=len)
    first = alike[0]
    in_plane, row, column = _orient(first)
    # In the axes of the stack: along a row, down a column, along the normal.
    axes = np.stack([row, column, np.cross(row, column)])
    places = np.array([_centre(header) for header in alike]) @ axes.T
    kept, repeated = _in_order(alike, places[:, 2])
    ordered, places = tuple(alike[i] for i in kept), places[kept]
    gaps = np.diff(places[:, 2])
    thickness = [header.thickness_mm for header in ordered if np.isfinite(header.thickness_mm)]
    y_mm, x_mm = first.spacing_mm[::-1] if in_plane.transpose else first.spacing_mm
    return SliceStack(
        headers=ordered,
        repeated=tuple(alike[i] for i in repeated),
        unlike=tuple(header for group in groups if group is not alike for header in group),
        in_plane=in_plane,
        z_mm=places[:, 2],
        shift_mm=places[:, :2] - places[0, :2],
        spacing_mm=(x_mm, y_mm),
        thickness_mm=(
            median_low(thickness)
            if thickness
            else float(np.median(gaps))
            if len(gaps)
            else float("nan")
        ),
        tilt_degrees=float(np.degrees(np.arctan2(-column[2], column[1]))),
        roll_degrees=float(np.degrees(np.arctan2(row[2], row[0]))),
    )


def _geometries(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    groups: list[list[SliceHeader]] = []
    for header in headers:
        home = next((group for group in groups if _alike(group[0], header)), None)
        if home is None:
            groups.append([header])
        else:
            home.append(header)
    return groups


def _alike(first: SliceHeader, other: SliceHeader) -> bool:
    if (first.rows, first.columns) != (other.rows, other.columns):
        return False
    turned = max(abs(a - b) for a, b in zip(first.orientation, other.orientation))
    return (
        turned < _COSINE_TOLERANCE
        and max(abs(a - b) for a, b in zip(first.spacing_mm, other.spacing_mm)) < _SPACING_TOLERANCE
    )


def _described(group: list[SliceHeader]) -> str:
    first = group[0]
    cosines = ", ".join(f"{value:.3g}" for value in first.orientation)
    pixel = " x ".join(f"{value:.4g}" for value in first.spacing_mm)
    return (
        f"{len(group)} of {first.rows} x {first.columns}, {pixel} mm, orientation ({cosines}), such"
        f" as {first.path}"
    )


def _orient(header: SliceHeader) -> tuple[InPlane, np.ndarray, np.ndarray]:
    """The change to contract orientation, and the unit vectors along its rows and down its
    columns, at right angles."""
    row, column = np.array(header.orientation[:3]), np.array(header.orientation[3:])
    unit = np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=1e-2)
    normal = np.abs(np.cross(row, column))
    if not unit or normal[2] < max(normal[0], normal[1]):
        raise DataError(
            f"{header.path}: ImageOrientationPatient {header.orientation} is not that of an axial"
            " slice"
        )
    # The header has few digits: without this a plane distance would be off by as much.
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    transpose = bool(abs(row[0]) < abs(row[1]))
    row, column = (column, row) if transpose else (row, column)
    flip_columns, flip_rows = bool(row[0] < 0), bool(column[1] < 0)
    return (
        InPlane(transpose, flip_rows, flip_columns),
        -row if flip_columns else row,
        -column if flip_rows else column,
    )


def _in_order(headers: Sequence[SliceHeader], along: np.ndarray) -> tuple[list[int], list[int]]:
    """Indices by position, split into those kept and those whose position is taken; ties by file
    name."""
    kept: list[int] = []
    repeated: list[int] = []
    for i in sorted(
        range(len(headers)), key=lambda i: (round(along[i] / _SAME_POSITION_MM), headers[i].path)
    ):
        taken = bool(kept) and along[i] - along[kept[-1]] < _SAME_POSITION_MM
        (repeated if taken else kept).append(i)
    return kept, repeated


def _centre(header: SliceHeader) -> np.ndarray:
    """Of the slice, in mm, float64 (3,)."""
    row, column = np.array(header.orientation).reshape(2, 3)
    across = row * header.spacing_mm[1] * (header.columns - 1) / 2
    return (
        np.array(header.position_mm)
        + across
        + column * header.spacing_mm[0] * ((header.rows - 1) / 2)
    )
