"""PhysioNet ct-ich 1.3.1: 75 head CTs with binary masks and slice labels.

Expected under the root::

    ct_scans/049.nii ... 058.nii, 066.nii ... 130.nii
    masks/<same name>.nii                   (0/255, all subtypes together)
    hemorrhage_diagnosis_raw_ct.csv         (a row per slice; SliceNumber counts from 1)

From physionet.org/content/ct-ich/1.3.1 under the PhysioNet Restricted Health Data License 1.5.0: a
signed agreement, no sharing. Cite Hssayeni et al., Intracranial Hemorrhage Segmentation Using a
Deep Convolutional Model, Data 5(1), 2020.

Rows are joined on (PatientNumber, SliceNumber), where SliceNumber counts along the file's own
third axis, not by the order of a directory listing as HGI-SAM's code does. The masks do not tell
subtypes: on a slice with exactly one labelled subtype they take its code, elsewhere code 6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.datasets.contract import ScanRef, ScanVolume, label_frame
from ich_study.datasets.nifti_reader import TabledReader
from ich_study.errors import DataError
from ich_study.schema import MASK_CODES, SUBTYPES, UNSPECIFIED_HEMORRHAGE

LAYOUT = "  ct_scans/049.nii ...\n  masks/049.nii ...\n  hemorrhage_diagnosis_raw_ct.csv"
ORIGIN = "physionet.org/content/ct-ich/1.3.1, after a signed agreement."

COLUMNS: dict[str, str] = {
    "IPH": "Intraparenchymal",
    "IVH": "Intraventricular",
    "SAH": "Subarachnoid",
    "SDH": "Subdural",
    "EDH": "Epidural",
}
NO_HEMORRHAGE = "No_Hemorrhage"


@dataclass
class PhysionetReader(TabledReader):
    """Reader of PhysioNet ct-ich."""

    name, title, layout, origin = "physionet", "PhysioNet ct-ich", LAYOUT, ORIGIN
    images, table = "ct_scans", "hemorrhage_diagnosis_raw_ct.csv"
    keys, first_slice, row_of = ("PatientNumber", "SliceNumber"), 1, "patient"
    flags = COLUMNS | {NO_HEMORRHAGE: NO_HEMORRHAGE}

    def keys_of_rows(self, path: Path, table: pd.DataFrame) -> pd.Series:
        """The patient's number; there is one scan of each."""
        numbers = pd.to_numeric(table["PatientNumber"], errors="coerce")
        if numbers.isna().any():
            raise DataError(
                f"{path}: PatientNumber is not a number in {int(numbers.isna().sum())} rows"
            )
        return numbers

    def key_of_file(self, stem: str, path: Path) -> int:
        """The patient's number."""
        if not stem.isdecimal():
            raise DataError(f"{path}: expected a patient number such as 049 as file name")
        return int(stem)

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU, mask and the table's labels. Raises DataError naming a damaged file, and for slices
        and rows that do not match one to one."""
        pair = self.pair(ref, {255: UNSPECIFIED_HEMORRHAGE})
        rows, notes = self.rows(ref, pair)
        said = rows[[*COLUMNS, NO_HEMORRHAGE]].astype("boolean")
        columns = {name: said[name] for name in COLUMNS}
        labels = label_frame({**columns, "any": ~said[NO_HEMORRHAGE]}, len(rows))
        named = replace(pair, mask=subtype_mask(pair.mask, labels))
        return self.volume(ref, named, labels, notes)


def subtype_mask(mask: np.ndarray, labels: pd.DataFrame) -> np.ndarray:
    """A mask of code 6 (slices, rows, columns) with the code of the subtype on slices labelled with
    exactly one."""
    shown = labels[list(SUBTYPES)].fillna(False).to_numpy(bool)
    single = shown.sum(1) == 1
    codes = np.where(
        single, shown @ np.array([MASK_CODES[name] for name in SUBTYPES]), UNSPECIFIED_HEMORRHAGE
    )
    return np.where(mask > 0, codes[:, None, None], 0).astype(np.uint8)
