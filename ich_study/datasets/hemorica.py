"""Hemorica: 372 head CTs with masks and slice labels of five subtypes, **in a layout of our own**.

How the published data set lies on disk was not known when this was written. This reader therefore
expects what a user can convert it to::

    images/<study>.nii.gz               HU
    masks/<study>.nii.gz                0 background, 1 EPH, 2 SDH, 3 SAH, 4 IPH, 5 IVH
    slice_labels.csv                    patient_id,study,slice_index,EPH,SDH,SAH,IPH,IVH

`slice_index` counts from 0 along the third axis of the NIfTI file. Hemorica calls epidural
hemorrhage EPH; some of its users call intraparenchymal hemorrhage ICH, which is accepted as the
name of that column. Described in arXiv:2509.22993 (2025); ask its authors for data and licence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ich_study.datasets.contract import ScanRef, ScanVolume, label_frame
from ich_study.datasets.files import read_table
from ich_study.datasets.nifti_reader import TabledReader
from ich_study.errors import DataError
from ich_study.schema import MASK_CODES

LAYOUT = (
    "  images/<study>.nii.gz\n  masks/<study>.nii.gz\n  slice_labels.csv\n(a layout of our own; the"
    " official one is not known to us)"
)
ORIGIN = "the authors of arXiv:2509.22993."

LABEL_MAP: dict[int, str] = {1: "EDH", 2: "SDH", 3: "SAH", 4: "IPH", 5: "IVH"}
"""Mask codes of this layout, in the order in which the paper names the subtypes."""
COLUMNS: dict[str, str] = {"IPH": "IPH", "IVH": "IVH", "SAH": "SAH", "SDH": "SDH", "EDH": "EPH"}
KEYS = ("patient_id", "study", "slice_index")


@dataclass
class HemoricaReader(TabledReader):
    """Reader of Hemorica in the layout above."""

    name, title, layout, origin = "hemorica", "Hemorica", LAYOUT, ORIGIN
    images, table, keys, first_slice, row_of = "images", "slice_labels.csv", KEYS, 0, "study"
    flags = COLUMNS

    def columns(self, path: Path) -> Mapping[str, str]:
        """A table with ICH and without IPH calls intraparenchymal hemorrhage ICH."""
        present = set(read_table(path, KEYS, f"Expected:\n{LAYOUT}"))
        return {**COLUMNS, "IPH": "ICH"} if "ICH" in present and "IPH" not in present else COLUMNS

    def patient(self, stem: str, rows: pd.DataFrame, path: Path) -> str:
        """As the study's rows say; DataError where they name two."""
        patients = rows["patient_id"].unique()
        if len(patients) != 1 or pd.isna(patients[0]):
            raise DataError(
                f"{path}: slice_labels.csv gives study {stem} the patients {list(patients)};"
                " expected one"
            )
        return str(patients[0])

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU, mask and the table's labels, `any` being their OR. Raises DataError naming a damaged
        file, and for slices and rows that do not match one to one."""
        pair = self.pair(ref, {value: MASK_CODES[name] for value, name in LABEL_MAP.items()})
        rows, notes = self.rows(ref, pair)
        subtypes = rows[list(MASK_CODES)].astype("boolean")
        labels = {name: subtypes[name] for name in subtypes}
        labels["any"] = subtypes.any(axis=1, skipna=False)
        return self.volume(ref, pair, label_frame(labels, len(rows)), notes)
