"""CQ500 with the reads of three radiologists and the BHX boxes: DICOM, labels per scan, boxes per
slice.

Layout expected under the root; a study's folder may lie deeper, as different unpackings have it:

    CQ500CT0 CQ500CT0/Unknown Study/CT PLAIN THIN/CT000000.dcm    a folder per study and per series
    reads.csv                          CQ500: a row per scan; R1:, R2:, R3: of ICH, IPH, IVH, SDH,
    EDH, SAH
    1_Initial_Manual_Labeling.csv      BHX: a row per box; SOPInstanceUID, data {x, y, width,
    height}, labelName
    2_Extrapolation_to_All_Series.csv  the same with boxes carried over to each study's other
    series

Source: CQ500 by qure.ai (CC BY-NC-SA 4.0; Chilamkurthy et al., Lancet 2018,
doi:10.1016/S0140-6736(18)31645-3), mirrored at kaggle.com/datasets/crawford/qureai-headct. BHX:
physionet.org/content/bhx-brain-bounding-box/1.1 (Reis et al. 2020, open access).

The label of a scan is the majority of three readers. Labels of slices follow from it and from the
boxes: all False in a scan whose majority sees no hemorrhage; as boxed in a series that BHX
labelled, where a slice without a box is False (the MIL detector's paper reads BHX so); unknown
elsewhere, and where an image that was left out of the stack has a box at the slice's place. Box
coordinates are pixels of the stored slice and turn with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich_study.datasets.bhx import BOXED_BY_HAND, SIDES, read_boxes, unvouched
from ich_study.datasets.contract import ScanRef, ScanVolume, box_frame, coded_labels
from ich_study.datasets.dicom_headers import SliceHeader, read_headers
from ich_study.datasets.dicom_series import Series, read_series
from ich_study.datasets.files import read_table
from ich_study.datasets.slice_geometry import group_series, stacked
from ich_study.errors import DataError, ParameterError, first_of, require_known
from ich_study.paths import safe_name
from ich_study.schema import LABELS, SUBTYPES

READS_NAMES: dict[str, str] = {
    "ICH": "any",
    "IPH": "IPH",
    "IVH": "IVH",
    "SDH": "SDH",
    "EDH": "EDH",
    "SAH": "SAH",
}
"""Findings of reads.csv that the study uses, to its labels."""
OTHER_PATHOLOGIES: tuple[str, ...] = (
    "Fracture",
    "CalvarialFracture",
    "OtherFracture",
    "MassEffect",
    "MidlineShift",
)
"""Findings of reads.csv beside hemorrhage; `other` of `read_majority`."""
READERS: tuple[str, ...] = ("R1", "R2", "R3")
NOT_PLAIN = r"(?<!PRE )CONTRAST|POST|BONE|\bC\b"
"""Series folders that are no plain brain series: with contrast medium, or a bone kernel."""
READS = "reads.csv"
SOURCE = (
    "CQ500 (CC BY-NC-SA 4.0) is mirrored at kaggle.com/datasets/crawford/qureai-headct, BHX at"
    " physionet.org/content/bhx-brain-bounding-box/1.1; unpack the zips and lay the CSV files"
    " beside the study folders"
)
_STUDY_FOLDER = re.compile(r"CQ500CT(\d+) CQ500CT\1")
_DEEPEST = 3
SHOWN = 4
"""Series that a finding names."""


@dataclass
class Cq500Reader:
    """Reader of CQ500 + BHX (see the module's docstring for the layout).

    boxes: one or several BHX CSVs under the root, or None. exclude_series: regular expression
    searched, whatever the case, in the name of a series folder. other_pathologies: "keep", or
    "leave_out" scans whose majority of readers sees no hemorrhage but one of `OTHER_PATHOLOGIES`.
    mixed: where a series holds several stacks, "error" stops and "largest" keeps the one of most
    slices. same_position: where images at one position differ, "error" stops and "first" keeps the
    first by file name. skip_bad: damaged files are left out and noted. findings: what `scans` found
    in the data set as a whole, in words; empty before.
    """

    root: Path
    boxes: str | tuple[str, ...] | None = BOXED_BY_HAND
    exclude_series: str | None = NOT_PLAIN
    other_pathologies: str = "keep"
    mixed: str = "error"
    same_position: str = "error"
    skip_bad: bool = False
    findings: tuple[str, ...] = field(default=(), init=False)

    name, intensity = "cq500", "hu"

    def scans(self) -> list[ScanRef]:
        """Every wanted series, by patient number and series folder. Reads the CSVs and all headers.

        Raises DataError for a missing folder, file or column, and (unless `skip_bad`) for a file
        that cannot be read.
        """
        require_known("other_pathologies", self.other_pathologies, ("keep", "leave_out"))
        folders = dict(self._series_folders())
        if not folders:
            raise DataError(
                f"{self.root}: no wanted series folder like 'CQ500CT0 CQ500CT0/Unknown Study/CT"
                f" PLAIN THIN'. {SOURCE}"
            )
        majority = read_majority(self.root / READS)
        names = () if self.boxes is None else np.atleast_1d(self.boxes).tolist()
        tables = [self.root / name for name in names]
        boxes = read_boxes(tables)
        files = [path for folder in folders for path in sorted(folder.glob("*.dcm"))]
        headers, rejected = read_headers(
            files,
            skip_bad=self.skip_bad,
            label="CQ500 headers",
        )
        by_folder: dict[Path, list[SliceHeader]] = {}
        for header in headers:
            by_folder.setdefault(header.path.parent, []).append(header)
        by_series = dict(iter(boxes.groupby("series_uid")))
        refs: list[ScanRef] = []
        for folder, items in by_folder.items():
            refs += self._folder_refs(folders[folder], folder, items, majority, by_series)
        self.findings = tuple(_findings(headers, boxes, refs))
        if self.other_pathologies == "leave_out":
            refs, left_out = _without_other_pathologies(refs)
            self.findings += left_out
        for table in tables:
            self.findings += tuple(unvouched(table))
        self.findings += tuple(
            f"{item.path.relative_to(self.root)}: {item.reason}, left out" for item in rejected
        )
        return refs

    def load(self, ref: ScanRef) -> ScanVolume:
        """One series in HU with labels and boxes per slice; no mask."""
        series = read_series(
            ref.files,
            mixed=self.mixed,
            same_position=self.same_position,
            skip_bad=self.skip_bad,
        )
        drawn = _drawn(ref, series)
        labels, known = _slice_labels(ref, drawn, _boxed_beside(ref, series))
        notes = _scan_notes(ref, drawn)
        return series.volume(ref, self.root, labels, box_frame(drawn), known, notes)

    def _series_folders(self) -> Iterator[tuple[Path, str]]:
        """Wanted series folders with the patient's number, ordered by number and name."""
        if not self.root.is_dir():
            raise DataError(
                f"no folder {self.root}: expected CQ500 there, a folder 'CQ500CT0 CQ500CT0' per"
                f" study. {SOURCE}"
            )
        exclude = _pattern(self.exclude_series)
        studies = sorted(_study_folders(self.root, _DEEPEST), key=lambda item: (item[0], item[1]))
        for number, study in studies:
            for folder in sorted({path.parent for path in study.rglob("*.dcm")}):
                if exclude is None or not exclude.search(folder.name):
                    yield folder, str(number)

    def _folder_refs(
        self,
        number: str,
        folder: Path,
        headers: list[SliceHeader],
        majority: dict[str, dict[str, bool]],
        boxes: dict[str, pd.DataFrame],
    ) -> list[ScanRef]:
        """The series of one folder: usually one; the second and later are numbered."""
        patient, refs = f"CQ500-CT-{number}", []
        for count, ((_, series_uid), items) in enumerate(group_series(headers).items(), start=1):
            ordered = stacked(items)
            rows = boxes[series_uid].to_dict("records") if series_uid in boxes else None
            details = {"majority": majority.get(patient), "boxes": rows}
            paths = tuple(header.path for header in ordered)
            refs.append(
                ScanRef(self.name, patient, scan_name(patient, folder.name, count), paths, details)
            )
        return refs


def _without_other_pathologies(refs: list[ScanRef]) -> tuple[list[ScanRef], tuple[str, ...]]:
    """Scans of hemorrhage or of nothing, as the MIL detector's paper takes them, and what to tell
    of the others. A scan without reads is kept."""
    kept, left_out = [], []
    for ref in refs:
        majority = ref.details["majority"]
        alone = majority is not None and majority["other"] and not majority["any"]
        (left_out if alone else kept).append(ref)
    if not left_out:
        return kept, ()
    names = ", ".join(sorted({ref.patient_id for ref in left_out}))
    told = f"{len(left_out)} scans without hemorrhage but with another pathology left out: {names}"
    return kept, (told,)


def _acute(ref: ScanRef) -> list[dict[str, Any]]:
    """The boxes of a series but for the Chronic ones, as the MIL detector's paper has it."""
    return [box for box in ref.details["boxes"] or [] if not box["chronic"]]


def _drawn(ref: ScanRef, series: Series) -> list[dict[str, Any]]:
    """The boxes of this series in contract orientation, with the index of their slice; one on an
    identical copy belongs to the slice that was kept."""
    place = {
        header.sop_uid: i
        for i, (kept, copies) in enumerate(zip(series.stack.headers, series.copies))
        for header in (kept, *copies)
    }
    shape, drawn = series.hu.shape[1:], []
    for box in _acute(ref):
        if box["sop_uid"] in place:
            sides = series.stack.in_plane.box(*(box[side] for side in SIDES), shape)
            found = {
                "scan_id": ref.scan_id,
                "slice_index": place[box["sop_uid"]],
                **dict(zip(SIDES, sides)),
                "label": box["label"],
            }
            drawn += [found] if found not in drawn else []
    return sorted(drawn, key=lambda box: box["slice_index"])


def _boxed_beside(ref: ScanRef, series: Series) -> np.ndarray:
    """Slices at whose place an image that was left out has a box, bool."""
    boxed = {box["sop_uid"] for box in _acute(ref)}
    uids = [{header.sop_uid for header in headers} for headers in series.beside]
    return np.array([bool(boxed & own) for own in uids])


def _slice_labels(
    ref: ScanRef, drawn: list[dict[str, Any]], boxed_beside: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray]:
    """Labels per slice and where boxes are known; the rules stand in the module's docstring."""
    slices, majority = len(boxed_beside), ref.details["majority"]
    clear = ref.details["boxes"] is not None or (majority is not None and not majority["any"])
    state = np.full((slices, len(LABELS)), 0 if clear else -1, np.int8)
    known = np.full(slices, clear)
    for box in drawn:
        state[box["slice_index"], [0, 1 + SUBTYPES.index(box["label"])]] = 1
        known[box["slice_index"]] = True
    state[boxed_beside[:, None] & (state == 0)] = -1
    known &= ~boxed_beside | (state[:, 0] == 1)
    return coded_labels(state), known


def scan_name(patient_id: str, folder: str, count: int = 1) -> str:
    """Scan id of a series: patient, series folder without its leading `CT `, and its number in the
    folder if not 1."""
    return safe_name(
        f"{patient_id}_{folder.removeprefix('CT ')}" + (f"_{count}" if count > 1 else "")
    )


def read_majority(path: Path) -> dict[str, dict[str, bool]]:
    """reads.csv as patient id -> label -> what at least two of three readers say; `other` is
    whether they see one of `OTHER_PATHOLOGIES`.

    Raises DataError for missing columns, for values other than 0 and 1, and for a scan listed
    twice.
    """
    findings = (*READS_NAMES, *OTHER_PATHOLOGIES)
    wanted = ["name", *(f"{reader}:{finding}" for reader in READERS for finding in findings)]
    table = read_table(path, wanted, SOURCE)
    if not table[wanted[1:]].isin(["0", "1"]).to_numpy().all() or table["name"].duplicated().any():
        raise DataError(
            f"{path}: reads must be 0 or 1, and each scan stand once; fetch the file again."
            f" {SOURCE}"
        )
    votes = pd.DataFrame(index=table["name"])
    for finding in findings:
        seen = table[[f"{reader}:{finding}" for reader in READERS]] == "1"
        votes[finding] = (seen.sum(axis=1) >= 2).to_numpy()
    other = votes[list(OTHER_PATHOLOGIES)].any(axis=1)
    return votes[list(READS_NAMES)].rename(columns=READS_NAMES).assign(other=other).to_dict("index")


def _study_folders(folder: Path, depth: int) -> Iterator[tuple[int, Path]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            match = _STUDY_FOLDER.fullmatch(entry.name)
            if match and entry.is_dir():
                yield int(match[1]), Path(entry.path)
            elif depth > 1 and entry.is_dir():
                yield from _study_folders(Path(entry.path), depth - 1)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ParameterError(f"{text!r} is no regular expression ({error})") from error


def _findings(
    headers: Sequence[SliceHeader], boxes: pd.DataFrame, refs: Sequence[ScanRef]
) -> list[str]:
    absent = boxes.loc[~boxes["sop_uid"].isin({header.sop_uid for header in headers}), "sop_uid"]
    findings = (
        [f"{len(absent)} boxes lie on {absent.nunique()} images that are not read"]
        if len(absent)
        else []
    )
    unread = sorted({ref.patient_id for ref in refs if ref.details["majority"] is None})
    findings += [
        f"missing-labels: {patient} has no row in the reads; its labels are unknown"
        for patient in unread
    ]
    unboxed = [
        ref
        for ref in refs
        if ref.details["boxes"] is None and (ref.details["majority"] or {}).get("any")
    ]
    if unboxed:
        images = sum(len(ref.files) for ref in unboxed)
        findings.append(
            f"{len(unboxed)} series of scans with hemorrhage stand in no table of boxes; labels and"
            f" boxes of their {images} images are unknown:"
            f" {first_of([ref.scan_id for ref in unboxed], SHOWN)}"
        )
    return findings


def _scan_notes(ref: ScanRef, drawn: list[dict[str, Any]]) -> list[str]:
    majority = ref.details["majority"]
    if majority is None:
        return ["no reads for this scan"]
    unread = sorted({box["label"] for box in drawn if not majority[box["label"]]})
    if drawn and not majority["any"]:
        return ["boxes on a scan whose majority of readers sees no hemorrhage"]
    if unread:
        return [f"boxes of {', '.join(unread)}, which the majority of readers does not see"]
    return []
