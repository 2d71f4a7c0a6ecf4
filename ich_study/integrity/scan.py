"""Checks of one scan: geometry (mm), intensities (HU), labels, mask and boxes against each
other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import pandas as pd

from ich_study.datasets.contract import ScanVolume, mask_labels
from ich_study.integrity.report import CHECKS, Finding
from ich_study.schema import LABELS, SUBTYPES, UNSPECIFIED_HEMORRHAGE

NOTE_SEVERITY: dict[str, str] = {
    "not-finite": "warning",
    "orientation": "warning",
    "voxel-units": "error",
    "mask-geometry": "error",
    "mask-place": "warning",
    "empty-mask": "warning",
    "not-ct": "error",
    "not-hu": "error",
    "burned-in": "error",
    "rescale": "error",
    "bits-stored": "error",
    "clipped": "error",
    "missing-labels": "error",
    "voxel-size": "warning",
    "missing-slices": "warning",
    "several-stacks": "warning",
    "repeated-position": "warning",
}
MIN_SLICES = 10
AIR_HU, SKIN_HU, BONE_HU = -500, -300, 300
BRAIN_HU = (-100, 200)
PIXEL_MM = (0.1, 1.5)
OUTSIDE_WARNING, OUTSIDE_ERROR = 0.05, 0.5

Found: TypeAlias = list[tuple[str, str, int | None, str]]
"""Severity, check, slice index or None, detail."""


def check_volume(volume: ScanVolume, intensity: str = "hu") -> list[Finding]:
    """Findings of one scan, without looking at any other.

    intensity: the reader's sentence; checks that need true HU run only where it is "hu".
    """
    low, high = volume.hu.min((1, 2)), volume.hu.max((1, 2))
    found = _geometry(volume) + _labels(volume) + _boxes(volume)
    found += [
        ("warning", "constant-image", int(i), f"every pixel is {low[i]}")
        for i in np.flatnonzero(low == high)
    ]
    if (low == high).all():
        found.append(("error", "constant-image", None, "every slice is: the scan shows nothing"))
    found += _brain(volume)
    if intensity == "hu":
        found += _hounsfield(int(low.min()), int(high.max()))
    if volume.mask is not None:
        found += _mask(volume, intensity)
    notes = note_findings(volume.notes, volume.ref.dataset, volume.ref.scan_id)
    return notes + [
        Finding(severity, check, volume.ref.dataset, volume.ref.scan_id, index, detail)
        for severity, check, index, detail in found
    ]


def note_findings(notes: Iterable[str], dataset: str, scan_id: str) -> list[Finding]:
    """A reader's notes as findings: `check-name: detail` counts as that check, any other text as a
    plain note."""
    found = []
    for note in notes:
        name, colon, detail = note.partition(": ")
        if not colon or name not in CHECKS:
            name, detail = "reader-note", note
        severity = NOTE_SEVERITY.get(name, "note")
        found.append(Finding(severity, name, dataset, scan_id, None, detail))
    return found


def _geometry(volume: ScanVolume) -> Found:
    found: Found = []
    if len(volume.hu) < MIN_SLICES:
        found.append(
            (
                "warning",
                "too-few-slices",
                None,
                f"{len(volume.hu)} slices; a head needs at least {MIN_SLICES}",
            )
        )
    x, y, thickness = *volume.spacing_mm, volume.thickness_mm
    if np.isnan([x, y, thickness]).any():
        found.append(
            ("note", "unknown-spacing", None, f"pixel {x:g} x {y:g} mm, thickness {thickness:g} mm")
        )
    if min(x, y) <= 0 or thickness <= 0:
        text = f"pixel {x:g} x {y:g} mm, thickness {thickness:g} mm; expected positive sizes"
        found.append(("error", "implausible-spacing", None, text))
    elif min(x, y) < PIXEL_MM[0] or max(x, y) > PIXEL_MM[1]:
        found.append(("warning", "implausible-spacing", None, f"pixel {x:g} x {y:g} mm"))
    return found + _positions(np.asarray(volume.z_mm, dtype=float))


def _positions(z_mm: np.ndarray) -> Found:
    if np.isnan(z_mm).any():
        return [
            (
                "note",
                "unknown-position",
                None,
                f"{int(np.isnan(z_mm).sum())} of {len(z_mm)} slice positions unknown",
            )
        ]
    steps = np.diff(z_mm)
    if len(steps) == 0:
        return []
    if (steps < 0).any():
        return [
            (
                "error",
                "slices-out-of-order",
                int(np.argmax(steps < 0)),
                "slices must run from inferior to superior",
            )
        ]
    repeated = np.flatnonzero(steps < 1e-3)
    found: Found = [
        ("warning", "repeated-position", int(i), f"slice {i + 1} lies at {z_mm[i]:.2f} mm too")
        for i in repeated
    ]
    usual, gaps = float(np.median(steps)), np.flatnonzero(steps > 1.5 * np.median(steps))
    if usual > 0 and len(gaps):
        detail = (
            f"{len(gaps)} gaps; the largest is {steps.max():.2f} mm where {usual:.2f} mm is usual;"
            " volumes count half of a gap to each of its slices"
        )
        found.append(("warning", "missing-slices", int(np.argmax(steps)), detail))
    elif np.ptp(steps) > 0.1 * usual:
        found.append(
            ("note", "irregular-spacing", None, f"{steps.min():.2f} to {steps.max():.2f} mm")
        )
    return found


def _brain(volume: ScanVolume) -> Found:
    """The middle of a head is brain, also in a scan that begins at the neck or holds much bone."""
    slices, rows, columns = volume.hu.shape
    middle = volume.hu[
        slices // 4 : slices - slices // 4,
        rows * 3 // 8 : rows * 5 // 8 + 1 : 2,
        columns * 3 // 8 : columns * 5 // 8 + 1 : 2,
    ]
    brain = float(np.median(middle))
    if BRAIN_HU[0] <= brain <= BRAIN_HU[1]:
        return []
    text = (
        f"the middle of the scan has median {brain:g} HU; brain is 0 to 60, expected"
        f" {BRAIN_HU[0]} to {BRAIN_HU[1]}"
    )
    return [("error", "hu-range", None, text)]


def _hounsfield(low: int, high: int) -> Found:
    found: Found = []
    if low > AIR_HU:
        found.append(("warning", "hu-range", None, f"no air: minimum {low} HU"))
    if high < BONE_HU:
        text = f"no bone: maximum {high} HU; without a skull there is no brain mask"
        found.append(("warning", "hu-range", None, text))
    return found


def _answers(labels: pd.DataFrame, name: str) -> np.ndarray:
    """Nullable labels as int8: 1 yes, 0 no, -1 unknown."""
    return labels[name].to_numpy(dtype=np.int8, na_value=-1)


def _each(slices: np.ndarray, severity: str, check: str, detail: str) -> Found:
    """The same of each slice that is true, bool (slices,)."""
    return [(severity, check, int(i), detail) for i in np.flatnonzero(slices)]


def _labels(volume: ScanVolume) -> Found:
    whole = _answers(volume.labels, "any")
    parts = np.stack([_answers(volume.labels, name) for name in SUBTYPES])
    denied, unexplained = (whole == 0) & (parts == 1).any(0), (whole == 1) & (parts == 0).all(0)
    return [
        *_each(denied, "error", "any-is-not-or", "`any` says no, a subtype yes"),
        *_each(unexplained, "error", "any-is-not-or", "`any` says yes, all subtypes no"),
    ]


def _mask(volume: ScanVolume, intensity: str) -> Found:
    drawn = np.flatnonzero(volume.mask.any((1, 2)))
    highest = volume.mask.max()
    if highest > UNSPECIFIED_HEMORRHAGE:
        return [
            (
                "error",
                "mask-code",
                None,
                f"code {highest}; known are 0 to {UNSPECIFIED_HEMORRHAGE}",
            )
        ]
    found, drawn_labels = _mask_position(volume, drawn, intensity), mask_labels(volume.mask)
    for name in LABELS:
        shown, label = _answers(drawn_labels, name), _answers(volume.labels, name)
        denied, missing = (shown == 1) & (label == 0), (shown == 0) & (label == 1)
        found += _each(denied, "error", "label-denies-mask", f"{name}: mask yes, label no")
        found += _each(missing, "warning", "mask-denies-label", f"{name}: label yes, mask no")
    return found


def _mask_position(volume: ScanVolume, drawn: np.ndarray, intensity: str) -> Found:
    """Share of the mask outside the head; the head is what the skin line encloses."""
    from scipy.ndimage import (
        binary_fill_holes,
    )  # here, because scipy is a fifth of what starting a worker takes, and only masks need it

    skin = SKIN_HU if intensity == "hu" else int(volume.hu.min())
    total = outside = 0
    for i in drawn:
        mask = volume.mask[i] > 0
        total += int(mask.sum())
        outside += int((mask & ~binary_fill_holes(volume.hu[i] > skin)).sum())
    if outside < OUTSIDE_WARNING * max(total, 1):
        return []
    severity = "error" if outside >= OUTSIDE_ERROR * total else "warning"
    return [
        (
            severity,
            "mask-outside-head",
            None,
            f"{outside} of {total} mask voxels lie outside the head",
        )
    ]


def _boxes(volume: ScanVolume) -> Found:
    found: Found = []
    if volume.boxes.empty:
        return found
    slices, rows, columns = volume.hu.shape
    whole = _answers(volume.labels, "any")
    for box in volume.boxes.itertuples():
        index, right, bottom = int(box.slice_index), box.x + box.width, box.y + box.height
        text = (
            f"{box.label} box at ({box.x:g}, {box.y:g}), {box.width:g} x {box.height:g}, in an"
            f" image of {columns} x {rows}"
        )
        seen = (
            0 <= index < slices
            and min(right, columns) > max(box.x, 0)
            and min(bottom, rows) > max(box.y, 0)
        )
        if not seen or min(box.x, box.y, columns - right, rows - bottom) < -1:
            found.append(("warning" if seen else "error", "box-outside-image", index, text))
        if seen and whole[index] == 0:
            found.append(("warning", "label-denies-box", index, f"{box.label} box, `any` says no"))
    return found
