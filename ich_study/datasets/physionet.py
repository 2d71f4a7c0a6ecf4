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

from pathlib import Path

import numpy as np
import pandas as pd

from ich_study.datasets.contract import ScanRef, ScanVolume, label_frame
from ich_study.datasets.layout import first_folder, paired_files, require_root
from ich_study.datasets.nifti import NiftiPair, Pairing, load_pair, pair_volume
from ich_study.datasets.slice_tables import read_slice_table, rows_by_slice
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


class PhysionetReader:
    """Reader of PhysioNet ct-ich.

    allow_missing_labels: slices without a row get unknown labels instead of a DataError.
    allow_nan: read NaN as air, with a note. pair_by: scan id to what decides where headers of scan
    and mask contradict each other about direction, see `nifti.Pairing`.
    """

    name = "physionet"
    intensity = "hu"

    def __init__(
        self,
        root: Path,
        allow_missing_labels: bool = False,
        allow_nan: bool = False,
        pair_by: dict[str, Pairing] | None = None,
    ) -> None:
        self.root = require_root(Path(root), "PhysioNet ct-ich", LAYOUT, ORIGIN)
        self.allow_missing_labels = allow_missing_labels
        self.allow_nan, self.pair_by = allow_nan, pair_by or {}

    def scans(self) -> list[ScanRef]:
        """Every scan; its rows of the table lie in `details`. Raises DataError for a missing file,
        mask, column or patient."""
        images = first_folder(self.root, ("ct_scans",), "PhysioNet ct-ich", LAYOUT, ORIGIN)
        keys = ("PatientNumber", "SliceNumber")
        path = self.root / "hemorrhage_diagnosis_raw_ct.csv"
        table, repeated = read_slice_table(path, keys, (*COLUMNS.values(), NO_HEMORRHAGE), LAYOUT)
        numbers = pd.to_numeric(table["PatientNumber"], errors="coerce")
        if numbers.isna().any():
            raise DataError(
                f"{path}: PatientNumber is not a number in {int(numbers.isna().sum())} rows"
            )
        by_patient = {int(number): rows for number, rows in table.groupby(numbers)}
        notes = [f"{repeated} rows of {path.name} stood there twice"] if repeated else []
        return [
            self._ref(stem, (image, mask), by_patient, notes)
            for stem, image, mask in paired_files(images, self.root / "masks", require_masks=True)
        ]

    def _ref(
        self,
        stem: str,
        files: tuple[Path, ...],
        by_patient: dict[int, pd.DataFrame],
        notes: list[str],
    ) -> ScanRef:
        if not stem.isdecimal():
            raise DataError(f"{files[0]}: expected a patient number such as 049 as file name")
        rows = by_patient.get(int(stem))
        if rows is None:
            raise DataError(
                f"{files[0]}: hemorrhage_diagnosis_raw_ct.csv has no row of patient {int(stem)}"
            )
        return ScanRef(
            self.name,
            stem,
            stem,
            files,
            {"rows": rows.drop(columns="PatientNumber"), "notes": notes},
        )

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU, mask and the table's labels. Raises DataError naming a damaged file, and for slices
        and rows that do not match one to one."""
        pair = load_pair(
            *ref.files, {255: UNSPECIFIED_HEMORRHAGE}, self.allow_nan, self.pair_by.get(ref.scan_id)
        )
        rows, notes = rows_by_slice(
            ref.details["rows"],
            "SliceNumber",
            1,
            pair.image.file_slices,
            f"patient {ref.patient_id}",
            self.allow_missing_labels,
        )
        columns: dict[str, list[bool | None]] = {
            name: _nullable(rows[column]) for name, column in COLUMNS.items()
        }
        columns["any"] = [
            None if value is None else not value for value in _nullable(rows[NO_HEMORRHAGE])
        ]
        labels = label_frame(columns, len(pair.hu))
        named = NiftiPair(pair.image, pair.hu, subtype_mask(pair.mask, labels), pair.notes)
        return pair_volume(ref, self.root, named, labels, (*ref.details["notes"], *notes))


def subtype_mask(mask: np.ndarray, labels: pd.DataFrame) -> np.ndarray:
    """A mask of code 6 (slices, rows, columns) with the code of the subtype on slices labelled with
    exactly one."""
    shown = labels[list(SUBTYPES)].fillna(False).to_numpy(bool)
    single = shown.sum(1) == 1
    codes = np.where(
        single, shown @ np.array([MASK_CODES[name] for name in SUBTYPES]), UNSPECIFIED_HEMORRHAGE
    )
    return np.where(mask > 0, codes[:, None, None], 0).astype(np.uint8)


def _nullable(column: pd.Series) -> list[bool | None]:
    return [None if pd.isna(value) else bool(value) for value in column]
