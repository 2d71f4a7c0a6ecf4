"""Which slices make a series, where they lie, and how stored rows and columns come into the study's
orientation.

Coordinates are DICOM's LPS in mm: x to the patient's left, y to posterior, z to superior.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median_low
from typing import TypeAlias

import numpy as np
import pandas as pd

from ich_study.ct.planes import slice_depths_mm
from ich_study.datasets.dicom_headers import SliceHeader
from ich_study.errors import DataError, require_known

_SAME_POSITION_MM = 0.01
_COSINE_TOLERANCE = _SPACING_TOLERANCE = 1e-3
_GAP_FACTOR = 1.5
_NEIGHBOURS = 3
_OVERLAP = 0.6
_ALTERNATING = 5
"""Gaps in turn narrow and wide, from how many on they are those of two acquisitions. Below
_OVERLAP of the thickness slices overlap by more than a tilted gantry's do."""

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
    unlike: the other stacks of the series, where those were allowed and left out. axes: unit
    vectors along a row, down a column and along the normal of the slices, (3, 3).
    z_mm, shift_mm: as `contract.ScanVolume` has them, of the slice centres. spacing_mm: (x, y)
    pixel size in contract orientation. thickness_mm: median of the headers', else of the gaps, else
    NaN. tilt_degrees: gantry tilt about the left-right axis, the sign that of GantryDetectorTilt;
    roll_degrees: slope of a row out of the x axis.
    """

    headers: tuple[SliceHeader, ...]
    repeated: tuple[SliceHeader, ...]
    unlike: tuple[tuple[SliceHeader, ...], ...]
    in_plane: InPlane
    axes: np.ndarray
    z_mm: np.ndarray
    shift_mm: np.ndarray
    spacing_mm: tuple[float, float]
    thickness_mm: float
    tilt_degrees: float
    roll_degrees: float

    def nearest(self, header: SliceHeader) -> int:
        """The slice closest to the position of another."""
        return int(np.argmin(np.abs(self.z_mm - _centre(header) @ self.axes[2])))

    def covered(self, header: SliceHeader) -> list[int]:
        """Slices that show what another slice of the series shows, by its position and
        thickness."""
        away = np.abs(self.z_mm - _centre(header) @ self.axes[2])
        half = header.thickness_mm / 2 if np.isfinite(header.thickness_mm) else 0
        depths = np.nan_to_num(slice_depths_mm(self.z_mm, self.thickness_mm))
        reach = np.maximum(depths / 2 + half - _SAME_POSITION_MM, _SAME_POSITION_MM)
        return np.flatnonzero(away < reach).tolist()

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
            others = "; ".join(_described(stack) for stack in self.unlike)
            notes.append(
                f"several-stacks: the largest of {len(self.unlike) + 1} stacks kept,"
                f" {_described(self.headers)}; left out: {others}"
            )
        for name in ("kernel", "image_type"):
            values = dict.fromkeys(getattr(header, name) or "none" for header in self.headers)
            if len(values) > 1:
                notes.append(
                    f"several-stacks: parts of {name} {', '.join(values)} go on where the others"
                    " end and were read as one scan"
                )
        return notes + self._spacing_notes()

    def _spacing_notes(self) -> list[str]:
        notes, gaps = [], np.diff(self.z_mm)
        if len(gaps) and np.ptp(gaps) > 0.1 * np.median(gaps):
            notes.append(
                f"irregular-spacing: {gaps.min():.2f} to {gaps.max():.2f} mm, median"
                f" {np.median(gaps):.2f} mm"
            )
        thick = np.array([header.thickness_mm for header in self.headers])
        close = np.flatnonzero(gaps < _OVERLAP * np.fmin(thick[1:], thick[:-1]))
        if len(close):
            notes.append(
                f"several-stacks: {len(close)} of {len(gaps)} gaps are much narrower than their"
                f" slices are thick, such as {gaps[close[0]]:.2f} mm after slice {close[0]}; does a"
                " second acquisition lie between the slices of the first?"
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


def stacked(headers: Iterable[SliceHeader]) -> list[SliceHeader]:
    """Headers of one series from inferior to superior; ties by file."""
    return sorted(headers, key=lambda header: (along_normal(header), header.path))


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
    around = pd.Series(gaps_mm).rolling(2 * _NEIGHBOURS + 1, center=True, min_periods=1)
    return np.flatnonzero(gaps_mm > _GAP_FACTOR * around.median())


def stack_slices(headers: Sequence[SliceHeader], mixed: str = "error") -> SliceStack:
    """The slices of one series in order.

    Slices of another shape, orientation or pixel size are a stack of their own; so are those of
    another acquisition, kernel, image type or thickness, unless they go on where the others end, as
    in a head scanned thin at the base and thick above.
    mixed: where there are several stacks, "error" raises and "largest" keeps the one of most slices
        (the first by file name among equals).
    Raises DataError naming files for several stacks, for two that only their positions tell apart,
    and for slices that are not axial.
    """
    require_known("mixed", mixed, ("error", "largest"))
    stacks: list[list[SliceHeader]] = []
    for group in _geometries(sorted(headers, key=lambda header: header.path)):
        stacks += _acquisitions(group)
    alike = max(stacks, key=len)
    if len(stacks) > 1 and mixed == "error":
        listed = "; ".join(f"{_described(stack)}, such as {stack[0].path}" for stack in stacks)
        raise DataError(
            f"one series holds {len(stacks)} stacks of slices: {listed}. Separate them into"
            " folders, or read the largest with mixed='largest'"
        )
    first = alike[0]
    in_plane, row, column = _orient(first)
    # In the axes of the stack: along a row, down a column, along the normal.
    axes = np.stack([row, column, np.cross(row, column)])
    places = np.array([_centre(header) for header in alike]) @ axes.T
    kept, repeated = _in_order(alike, places[:, 2])
    ordered, places = tuple(alike[i] for i in kept), places[kept]
    gaps = np.diff(places[:, 2])
    _refuse_interleaved(gaps, ordered)
    thickness = [header.thickness_mm for header in ordered if np.isfinite(header.thickness_mm)]
    y_mm, x_mm = first.spacing_mm[::-1] if in_plane.transpose else first.spacing_mm
    return SliceStack(
        headers=ordered,
        repeated=tuple(alike[i] for i in repeated),
        unlike=tuple(tuple(stack) for stack in stacks if stack is not alike),
        in_plane=in_plane,
        axes=axes,
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


def _acquisitions(group: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """The stacks of one geometry: parts of one acquisition, kernel, image type and thickness,
    joined where they do not overlap along the normal. A scanner may count each turn of the gantry
    as an acquisition, so their order decides which go together."""
    parts: dict[tuple[str, ...], list[SliceHeader]] = {}
    for header in group:
        kind = (header.acquisition, header.kernel, header.image_type, f"{header.thickness_mm:g}")
        parts.setdefault(kind, []).append(header)
    stacks: list[list[list[SliceHeader]]] = []
    for kind in sorted(parts, key=lambda kind: (len(kind[0]), kind[0])):
        part = parts[kind]
        for stack in stacks:
            if not any(_overlap(part, other) for other in stack):
                stack.append(part)
                break
        else:
            stacks.append([part])
    return [[header for part in stack for header in part] for stack in stacks]


def _overlap(part: Sequence[SliceHeader], other: Sequence[SliceHeader]) -> bool:
    first, second = ([along_normal(header) for header in headers] for headers in (part, other))
    return min(max(first), max(second)) > max(min(first), min(second)) - _SAME_POSITION_MM


def _refuse_interleaved(gaps: np.ndarray, headers: Sequence[SliceHeader]) -> None:
    """DataError where slices of a second acquisition lie between those of the first, of which the
    headers say nothing: narrow and wide gaps take turns, or, of one shifted by half a slice, every
    other slice has a number in the series above those of its neighbours."""
    narrow = np.minimum(gaps[:-1], gaps[1:])
    again = np.abs(gaps[2:] - gaps[:-2]) < 0.02 * gaps[2:]
    takes_turns = again & (np.abs(np.diff(gaps)) > 0.1 * narrow)[1:]
    longest = max((len(list(run)) for turns, run in groupby(takes_turns) if turns), default=0)
    said = ""
    if longest >= _ALTERNATING - 2:
        said = f"gaps of {gaps.min():.2f} and {gaps.max():.2f} mm take turns"
    elif _numbered_apart([header.instance for header in headers]):
        said = "slices of low and of high InstanceNumber take turns"
    if said:
        raise DataError(
            f"{headers[0].path.parent}: in the series of {headers[0].path.name} {said}, as where a"
            " second acquisition is shifted by part of a slice; separate the two into folders"
        )


def _numbered_apart(instances: Sequence[str]) -> bool:
    """Whether somewhere the numbers of every other slice are all above those between them. A
    scanner that numbers each turn of its gantry backwards does not do this."""
    if not all(instance.isdecimal() for instance in instances):
        return False
    numbers = [int(instance) for instance in instances]
    for start in range(len(numbers) - _ALTERNATING):
        near = numbers[start : start + _ALTERNATING + 1]
        one, other = near[::2], near[1::2]
        if max(one) < min(other) or max(other) < min(one):
            return True
    return False


def _alike(first: SliceHeader, other: SliceHeader) -> bool:
    if (first.rows, first.columns) != (other.rows, other.columns):
        return False
    turned = max(abs(a - b) for a, b in zip(first.orientation, other.orientation))
    return (
        turned < _COSINE_TOLERANCE
        and max(abs(a - b) for a, b in zip(first.spacing_mm, other.spacing_mm)) < _SPACING_TOLERANCE
    )


def _described(stack: Sequence[SliceHeader]) -> str:
    """A stack in words, without names of files or persons."""
    first = stack[0]
    cosines = ", ".join(f"{value:.3g}" for value in first.orientation)
    pixel = " x ".join(f"{value:.4g}" for value in first.spacing_mm)
    told = [f"{len(stack)} of {first.rows} x {first.columns}, {pixel} mm, orientation ({cosines})"]
    for name in ("acquisition", "kernel", "image_type", "thickness_mm"):
        values = dict.fromkeys(f"{getattr(header, name)}" for header in stack)
        known = [value for value in values if value not in ("", "nan")]
        told += [f"{name} {', '.join(known)}"] if known else []
    return ", ".join(told)


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
