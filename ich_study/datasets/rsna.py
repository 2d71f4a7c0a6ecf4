"""RSNA 2019 Intracranial Hemorrhage Detection: DICOM slices with a label per slice and subtype.

Layout expected under the root, as the competition's zip unpacks:

    stage_2_train.csv            ID,Label; six rows per image, ID = <image>_<subtype>
    stage_2_train/<image>.dcm    one file per slice, all patients in one folder

Source: kaggle.com/c/rsna-intracranial-hemorrhage-detection (about 460 GB unpacked). Licence:
non-commercial research and education, by the competition's rules. Cite Flanders et al., Radiology:
Artificial Intelligence 2020, doi:10.1148/ryai.2020190211.

Known defects, handled here: four images stand twice in the CSV; ID_6431af929 has too little pixel
data; identifiers are no UIDs; some unsigned files hold wrapped HU; slices carry neither thickness
nor number, so a series is rebuilt from its identifiers and the slice positions, and the thickness
is the median distance of its slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.datasets.contract import (
    ScanRef,
    ScanVolume,
    box_frame,
    coded_labels,
    joined_codes,
)
from ich_study.datasets.dicom_headers import SliceHeader, read_headers
from ich_study.datasets.dicom_series import Series, read_series
from ich_study.datasets.files import read_table
from ich_study.datasets.slice_geometry import group_series, stacked
from ich_study.errors import DataError
from ich_study.schema import LABELS, SUBTYPES

SUBTYPE_NAMES: dict[str, str] = {
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
    "any": "any",
}
"""Names in the CSV, in its order, to the study's."""
IMAGES_NAME, LABELS_NAME = "stage_2_train", "stage_2_train.csv"
KNOWN_CORRUPT: tuple[str, ...] = ("ID_6431af929",)
SOURCE = (
    "RSNA 2019 is at kaggle.com/c/rsna-intracranial-hemorrhage-detection (non-commercial research"
    " and education, competition rules to accept); unpack it and give the folder that holds"
    " stage_2_train/ and stage_2_train.csv"
)


@dataclass
class RsnaReader:
    """Reader of RSNA 2019 (see the module's docstring for the layout).

    labels: CSV under the root; None where there is none (test part). known_corrupt: images left
    out, by id. conflicting: images whose rows in the CSV contradict each other and which are
    accepted, with unknown labels. mixed: where a series holds several stacks, "error" stops and
    "largest" keeps the one of most slices. same_position: where images at one position differ,
    "error" stops and "first" keeps the first by file name. findings: what `scans` found in the data
    set as a whole, in words; empty before.
    """

    root: Path
    labels: str | None = LABELS_NAME
    known_corrupt: tuple[str, ...] = KNOWN_CORRUPT
    conflicting: tuple[str, ...] = ()
    mixed: str = "error"
    same_position: str = "error"
    findings: tuple[str, ...] = field(default=(), init=False)

    name, intensity = "rsna", "hu"

    def scans(self) -> list[ScanRef]:
        """Every series, by patient and series. Reads the CSV and all headers, in parallel.

        Raises DataError for a missing folder, file or column, for a file that cannot be read and is
        not in `known_corrupt`, and for contradicting labels of an image not in `conflicting`.
        """
        files = self._files()
        table = None
        if self.labels is not None:
            table = read_labels(self.root / self.labels, self.conflicting)
        headers, rejected = read_headers(files, label="RSNA headers")
        self.findings = tuple(_findings(files, table, self.conflicting)) + tuple(
            f"{item.path.name}: {item.reason}, left out" for item in rejected
        )
        known = (
            {}
            if table is None
            else dict(zip(table.index, table.to_numpy(dtype=np.int8, na_value=-1)))
        )
        refs = []
        for items in group_series(headers).values():
            ordered = stacked(items)
            paths = tuple(header.path for header in ordered)
            images = [path.stem for path in paths]
            rows = {image: known[image].tolist() for image in images if image in known}
            details = {"labels": rows, "labelled": table is not None}
            refs.append(
                ScanRef(self.name, ordered[0].patient_id, ordered[0].series_uid, paths, details)
            )
        return sorted(refs, key=lambda ref: (ref.patient_id, ref.scan_id))

    def load(self, ref: ScanRef) -> ScanVolume:
        """One series in HU with its slice labels; no mask, boxes unknown.

        A slice has the labels of its identical copies too, and is not negative for what another
        image of its place is labelled with.
        """
        series = read_series(
            ref.files, mixed=self.mixed, same_position=self.same_position, unwrap=True
        )
        answers = np.stack(
            [
                joined_codes(self._answers(ref, (header, *copies)))
                for header, copies in zip(series.stack.headers, series.copies)
            ]
        )
        for own, others in zip(answers, series.beside):
            own[(own == 0) & (self._answers(ref, others) == 1).any(0)] = -1
        labels, unboxed = coded_labels(answers), np.zeros(len(series.hu), bool)
        notes = _scan_notes(series, answers, ref.details["labelled"])
        return series.volume(ref, self.root, labels, box_frame([]), unboxed, notes)

    def _answers(self, ref: ScanRef, headers: Sequence[SliceHeader]) -> np.ndarray:
        """Labels of images as codes, int (images, labels)."""
        unknown = [-1] * len(LABELS)
        rows = [ref.details["labels"].get(header.path.stem, unknown) for header in headers]
        return np.array(rows, int).reshape(-1, len(LABELS))

    def _files(self) -> list[Path]:
        folder = self.root / IMAGES_NAME
        if not folder.is_dir():
            raise DataError(
                f"no folder {folder}: expected the RSNA 2019 slices there, <image>.dcm. {SOURCE}"
            )
        files = [
            path
            for path in sorted(folder.glob("*.dcm"), key=lambda path: path.name)
            if path.stem not in self.known_corrupt
        ]
        if not files:
            raise DataError(
                f"{folder} holds no .dcm file; expected the RSNA 2019 slices, <image>.dcm. {SOURCE}"
            )
        return files


def read_labels(path: Path, conflicting: tuple[str, ...] = ()) -> pd.DataFrame:
    """The label CSV as a row per image (index) and nullable boolean columns `schema.LABELS`.

    Identical duplicate rows are dropped; a subtype without a row is unknown. Raises DataError for
    other columns, labels or subtypes than the data set has, and for an image that is labelled both
    0 and 1, unless `conflicting` names it: its labels are then unknown.
    """
    long = _long_table(path).drop_duplicates()
    clash = long.loc[long.duplicated(["image", "subtype"]), "image"].unique()
    refused = sorted(set(clash) - set(conflicting))
    if refused:
        raise DataError(
            f"{path}: {len(refused)} images are labelled 0 and 1, such as {refused[0]}; name them"
            " in `conflicting` to go on"
        )
    long = long[~long["image"].isin(clash)]
    wide = long.pivot(index="image", columns="subtype", values="Label")
    return (
        wide.rename(columns=SUBTYPE_NAMES)
        .reindex(columns=list(LABELS))
        .astype("Int8")
        .astype("boolean")
    )


def _long_table(path: Path) -> pd.DataFrame:
    table = read_table(path, ["ID", "Label"], SOURCE)
    odd = table.loc[~table["Label"].isin(["0", "1"]), "Label"]
    if len(odd):
        raise DataError(
            f"{path}: line {odd.index[0] + 2} has label {odd.iloc[0]!r}; expected 0 or 1"
        )
    ids = table["ID"].fillna("").str
    parts = {
        "image": ids.replace(r"_?[^_]*$", "", regex=True),
        "subtype": ids.replace(r"^.*_", "", regex=True),
    }
    long = pd.DataFrame({**parts, "Label": (table["Label"] == "1").astype("int8")})
    strange = sorted(set(long["subtype"].unique()) - set(SUBTYPE_NAMES))
    if strange:
        raise DataError(
            f"{path}: unknown subtypes {strange[:5]}; expected IDs <image>_<subtype> with"
            f" {', '.join(SUBTYPE_NAMES)}"
        )
    return long


def _findings(
    files: list[Path], table: pd.DataFrame | None, conflicting: tuple[str, ...]
) -> list[str]:
    if table is None:
        return []
    images = {path.stem for path in files}
    complete = set(table.index[table.notna().all(axis=1)])
    unlabelled = sorted(images - complete - set(conflicting))
    absent = sorted(set(table.index) - images)
    findings = (
        [f"missing-labels: {len(unlabelled)} images lack a label, such as {unlabelled[0]}"]
        if unlabelled
        else []
    )
    return findings + (
        [f"{len(absent)} labelled images are not read, such as {absent[0]}"] if absent else []
    )


def _scan_notes(series: Series, answers: np.ndarray, labelled: bool) -> list[str]:
    unknown = int((answers < 0).any(1).sum()) if labelled else 0
    told = answers[(answers >= 0).all(1)]
    contradicting = int((told[:, 0] != told[:, 1 : 1 + len(SUBTYPES)].max(1, initial=0)).sum())
    notes = [f"{unknown} slices have no complete label"] if unknown else []
    notes += (
        [f"on {contradicting} slices `any` is not the OR of the subtypes"] if contradicting else []
    )
    dropped = [header.path.stem for header in series.stack.repeated]
    return notes + ([f"dropped at repeated positions: {', '.join(dropped)}"] if dropped else [])
