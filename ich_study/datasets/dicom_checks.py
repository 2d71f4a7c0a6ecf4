"""What a DICOM slice says against being read as HU of a head CT; each is a finding by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ich_study.ct.hounsfield import above_range
from ich_study.errors import DataError

_STEEPEST_SLOPE, _LARGEST_INTERCEPT = 100.0, 2.0**15

Complaints = dict[str, str]
"""Name of the check (`integrity.CHECKS`) to what was found in one slice."""


def rescale(fields: Mapping[str, str]) -> tuple[float, float]:
    """Slope and intercept of a slice; DataError without them: its values then have no Hounsfield
    unit."""
    try:
        return float(fields["RescaleSlope"]), float(fields["RescaleIntercept"])
    except (KeyError, ValueError):
        raise DataError(
            "RescaleSlope or RescaleIntercept is missing, so its values have no Hounsfield unit"
        ) from None


def header_complaints(fields: Mapping[str, str]) -> Complaints:
    """What the fields of a header (`dicom_headers.ParsedSlice`) say. An absent field says nothing:
    the standard asks for RescaleType in a CT image only where it is not HU. Those of `rescale`
    must be there."""
    found: Complaints = {}
    if fields.get("Modality") not in (None, "", "CT"):
        found["not-ct"] = f"Modality is {_code(fields['Modality'])}; expected CT"
    if fields.get("RescaleType") not in (None, "", "HU"):
        found["not-hu"] = f"RescaleType is {_code(fields['RescaleType'])}; expected HU"
    if fields.get("BurnedInAnnotation") not in (None, "", "NO"):
        found["burned-in"] = "BurnedInAnnotation is not NO; the picture may name the patient"
    slope, intercept = rescale(fields)
    if not (0 < slope <= _STEEPEST_SLOPE and abs(intercept) <= _LARGEST_INTERCEPT):
        found["rescale"] = (
            f"RescaleSlope is {slope:g}, RescaleIntercept {intercept:g}; expected a slope above 0"
            f" and up to {_STEEPEST_SLOPE:g}, an intercept within {_LARGEST_INTERCEPT:g}"
        )
    stored, high = fields.get("BitsStored", ""), fields.get("HighBit", "")
    if stored.isdecimal() and high and high != str(int(stored) - 1):
        found["bits-stored"] = f"BitsStored is {stored}, HighBit {high}; expected one less"
    return found


def pixel_complaints(
    raw: np.ndarray | None,
    stored: np.ndarray,
    hu: np.ndarray,
    fields: Mapping[str, str],
) -> Complaints:
    """What the pixels of a slice say.

    raw: stored values before bits above BitsStored were cut off, None where they are not known;
    stored: after; hu: int16, what was made of them. All (rows, columns).
    """
    found: Complaints = {}
    if raw is not None and (odd := np.count_nonzero(raw != stored)):
        found["bits-stored"] = (
            f"{odd} pixels use bits above the {fields['BitsStored']} of BitsStored, which were cut"
            " off"
        )
    slope, intercept = rescale(fields)
    if above := above_range(stored, slope, intercept, hu):
        found["clipped"] = f"{above} pixels above 32767 HU became 32767"
    return found


def complaint_notes(complaints: list[Complaints]) -> list[str]:
    """One note per check that any slice complains of, with the first such slice's words."""
    notes = []
    for check in dict.fromkeys(check for found in complaints for check in found):
        told = [found[check] for found in complaints if check in found]
        notes.append(f"{check}: {len(told)} of {len(complaints)} slices, such as: {told[0]}")
    return notes


def _code(text: str) -> str:
    """A code of the standard as it stands; anything else could name a person."""
    return text if re.fullmatch(r"[A-Z0-9_]{1,16}", text) else "no code of the standard"
