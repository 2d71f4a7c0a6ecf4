"""Which series of a study is the axial head CT: every candidate with why it is taken or not.

What is read of a header beside geometry: modality, image type, body part, kernel, rescale type and
contrast agent. None of them is written anywhere but as a word of the verdict.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom

from ich_study.datasets.dicom_headers import SliceHeader, dicom_files, read_headers
from ich_study.datasets.dicom_series import pseudonym, rejection_notes
from ich_study.datasets.slice_geometry import along_normal, group_series
from ich_study.errors import DataError
from ich_study.hashing import sha256_file
from ich_study.new_scan.read import OwnScan, check_head, read_dicom, read_nifti

USUAL_MM = 5.0
"""Distance of slices that the study's data sets have; of several series the nearest is taken."""
FEWEST_SLICES = 8
MOST_OBLIQUE = 0.8
"""Least cosine between an axial slice's normal and the table: 37 degrees of tilt."""
HEAD_WORDS = ("HEAD", "BRAIN", "SKULL", "CEREB", "NEURO", "CRAN")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
_SHARP = re.compile(r"BONE|EDGE|LUNG|SHARP|^[HBUJ][RFCSV]?[6-9]\d|^FC[38]\d")
_PROJECTED = ("MIP", "MINIP", "PROJECTION IMAGE")
_TAGS = (
    "Modality",
    "ImageType",
    "BodyPartExamined",
    "ConvolutionKernel",
    "RescaleType",
    "ContrastBolusAgent",
)


@dataclass(frozen=True, repr=False)
class Candidate:
    """A series. study, name: pseudonyms. described: in words. refused: why it cannot be taken by
    its header, empty where it can. rank: smaller is taken first. read: its scan."""

    study: str
    name: str
    described: str
    refused: str
    rank: tuple[float, ...]
    read: Callable[[], OwnScan]


def find_studies(path: Path, allow_bad: bool = False) -> dict[str, list[Candidate]]:
    """Series by study under `path`: a NIfTI file, or a folder of DICOM and NIfTI files of one or
    many studies. Each NIfTI file is a study.

    Raises DataError where there is nothing, and for a damaged DICOM file unless `allow_bad`.
    """
    found: defaultdict[str, list[Candidate]] = defaultdict(list)
    volumes = sorted(each for each in path.rglob("*") if each.name.endswith(NIFTI_SUFFIXES))
    if path.is_file() and path.name.lower().endswith(NIFTI_SUFFIXES):
        volumes = [path]
    elif not path.is_dir():
        raise DataError(f"{path} is no folder and no NIfTI file; name one of either")
    for volume in volumes:
        candidate = _nifti(volume)
        found[candidate.study].append(candidate)
    if volumes == [path]:
        return found
    try:
        files = dicom_files(path)
    except DataError:
        if not volumes:
            raise
        return found
    headers, rejected = read_headers(files, skip_bad=True)
    damaged = [item for item in rejected if item.kind == "damaged"]
    if damaged and not allow_bad:
        raise DataError(
            f"{damaged[0].path}: {damaged[0].reason} ({len(damaged)} such files); fetch it again,"
            " or allow_bad leaves it out"
        )
    left_out = tuple(rejection_notes(rejected))
    for (study, series), items in group_series(headers).items():
        candidate = _dicom(pseudonym(study), pseudonym(study, series), items, left_out, allow_bad)
        found[candidate.study].append(candidate)
    if not found:
        raise DataError(f"{path} holds no CT slice; {'; '.join(left_out)}")
    return found


def choose_series(
    candidates: Sequence[Candidate], allow: Sequence[str] = ()
) -> tuple[OwnScan, pd.DataFrame]:
    """The scan of a study and the verdict on each of its series: `series, described, verdict`.

    Series that their header does not refuse are tried by rank, until one is a head CT in HU;
    `allow` as in `check_head`. Raises DataError, which lists every verdict, where none is.
    """
    verdicts = {each.name: each.refused for each in candidates}
    chosen = None
    for each in sorted((each for each in candidates if not each.refused), key=lambda x: x.rank):
        if chosen is not None:
            verdicts[each.name] = f"not taken: {chosen.name} comes first"
            continue
        try:
            scan = each.read()
            check_head(scan, allow)
        except DataError as error:
            verdicts[each.name] = f"refused: {error}"
        else:
            chosen, verdicts[each.name] = scan, "taken"
    table = pd.DataFrame(
        [(each.name, each.described, verdicts[each.name]) for each in candidates],
        columns=["series", "described", "verdict"],
    )
    if chosen is None:
        listed = "; ".join(f"{row.described}: {row.verdict}" for row in table.itertuples())
        raise DataError(f"no axial head CT in HU among {len(table)} series: {listed}")
    return chosen, table


def _nifti(path: Path) -> Candidate:
    name = f"anon-{sha256_file(path)[:12]}"
    return Candidate(name, name, "NIfTI volume", "", (0.0,), partial(read_nifti, path, name))


def _dicom(
    study: str,
    name: str,
    headers: Sequence[SliceHeader],
    left_out: tuple[str, ...],
    allow_bad: bool,
) -> Candidate:
    facts = _facts(headers[0].path)
    places = np.sort([along_normal(header) for header in headers])
    gap = np.median(np.diff(places)) if len(places) > 1 else headers[0].thickness_mm
    reach = np.ptp(places)
    sharp = bool(_SHARP.search(facts["ConvolutionKernel"].upper()))
    contrast, derived = bool(facts["ContrastBolusAgent"]), "DERIVED" in facts["ImageType"]
    words = [
        f"{len(headers)} slices, {gap:.3g} mm apart, {reach:.0f} mm in all",
        "sharp kernel" if sharp else "",
        "contrast agent" if contrast else "",
        "derived" if derived else "",
    ]
    # without contrast, smooth, as scanned, the whole head, slices as thick as the study knows them
    unusual = abs(np.log(max(gap, 0.1) / USUAL_MM))
    rank = (contrast, sharp, derived, -round(reach / 20), unusual, -len(headers))

    def read() -> OwnScan:
        scan = read_dicom(tuple(header.path for header in headers), name, allow_bad)
        return replace(scan, notes=(*scan.notes, *left_out))

    described = ", ".join(word for word in words if word)
    refused = _refusal(facts, headers)
    return Candidate(study, name, described, refused, rank, read)


def _facts(path: Path) -> dict[str, str]:
    """The fields of `_TAGS` as text, empty where absent."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
    found = {}
    for name in _TAGS:
        value = dataset.get(name)
        several = isinstance(value, pydicom.multival.MultiValue)
        found[name] = "\\".join(map(str, value)) if several else str(value or "")
    return found


def _refusal(facts: dict[str, str], headers: Sequence[SliceHeader]) -> str:
    """Why a header alone rules a series out; empty where it does not."""
    kinds = facts["ImageType"].upper().split("\\")
    part = facts["BodyPartExamined"].upper()
    row, column = np.array(headers[0].orientation).reshape(2, 3)
    normal = np.cross(row, column)
    if facts["Modality"] != "CT":
        return f"refused: its modality is {facts['Modality'] or 'not given'}, expected CT"
    if facts["RescaleType"] not in ("", "HU"):
        return f"refused: its values are {facts['RescaleType']}, expected HU"
    if part and not any(word in part for word in HEAD_WORDS):
        return f"refused: its body part is {part}, expected the head"
    if any(kind in _PROJECTED for kind in kinds):
        return "refused: a projection, expected slices"
    if abs(normal[2]) < MOST_OBLIQUE * np.linalg.norm(normal):
        return "refused: its slices are not axial"
    if len(headers) < FEWEST_SLICES:
        return f"refused: {len(headers)} slices, expected at least {FEWEST_SLICES}"
    return ""
