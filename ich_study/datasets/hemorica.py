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

from pathlib import Path

import pandas as pd

from ich_study.datasets.contract import ScanRef, ScanVolume, label_frame
from ich_study.datasets.files import read_table
from ich_study.datasets.layout import first_folder, paired_files, require_root
from ich_study.datasets.nifti import Pairing, load_pair, pair_volume
from ich_study.datasets.slice_tables import read_slice_table, rows_by_slice
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


class HemoricaReader:
    """Reader of Hemorica in the layout above.

    allow_missing_labels: slices without a row get unknown labels instead of a DataError.
    allow_nan: read NaN as air, with a note. pair_by: scan id to what decides where headers of scan
    and mask contradict each other about direction, see `nifti.Pairing`.
    """

    name = "hemorica"
    intensity = "hu"

    def __init__(
        self,
        root: Path,
        allow_missing_labels: bool = False,
        allow_nan: bool = False,
        pair_by: dict[str, Pairing] | None = None,
    ) -> None:
        self.root = require_root(Path(root), "Hemorica", LAYOUT, ORIGIN)
        self.allow_missing_labels = allow_missing_labels
        self.allow_nan, self.pair_by = allow_nan, pair_by or {}

    def scans(self) -> list[ScanRef]:
        """Every study; its rows of the table lie in `details`. Raises DataError for a missing file,
        mask, column or study, and for a study of two patients."""
        images = first_folder(self.root, ("images",), "Hemorica", LAYOUT, ORIGIN)
        path = self.root / "slice_labels.csv"
        columns = _columns(path)
        table, repeated = read_slice_table(path, KEYS, tuple(columns.values()), LAYOUT)
        by_study = dict(
            iter(
                table.rename(columns={column: name for name, column in columns.items()}).groupby(
                    "study"
                )
            )
        )
        notes = [f"{repeated} rows of {path.name} stood there twice"] if repeated else []
        pairs = paired_files(images, self.root / "masks", require_masks=True)
        return [self._ref(stem, (image, mask), by_study, notes) for stem, image, mask in pairs]

    def _ref(
        self,
        stem: str,
        files: tuple[Path, ...],
        by_study: dict[str, pd.DataFrame],
        notes: list[str],
    ) -> ScanRef:
        rows = by_study.get(stem)
        if rows is None:
            raise DataError(f"{files[0]}: slice_labels.csv has no row of study {stem}")
        patients = rows["patient_id"].unique()
        if len(patients) != 1 or pd.isna(patients[0]):
            raise DataError(
                f"{files[0]}: slice_labels.csv gives study {stem} the patients {list(patients)};"
                " expected one"
            )
        return ScanRef(
            self.name,
            str(patients[0]),
            stem,
            files,
            {"rows": rows.drop(columns=["patient_id", "study"]), "notes": notes},
        )

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU, mask and the table's labels, `any` being their OR. Raises DataError naming a damaged
        file, and for slices and rows that do not match one to one."""
        pair = load_pair(
            *ref.files,
            {value: MASK_CODES[name] for value, name in LABEL_MAP.items()},
            self.allow_nan,
            self.pair_by.get(ref.scan_id),
        )
        rows, notes = rows_by_slice(
            ref.details["rows"],
            "slice_index",
            0,
            pair.image.file_slices,
            f"study {ref.scan_id}",
            self.allow_missing_labels,
        )
        subtypes = rows[list(MASK_CODES)].astype("boolean")
        labels = label_frame(
            {
                **{name: subtypes[name] for name in subtypes},
                "any": subtypes.any(axis=1, skipna=False),
            },
            len(rows),
        )
        return pair_volume(ref, self.root, pair, labels, (*ref.details["notes"], *notes))


def _columns(path: Path) -> dict[str, str]:
    """Subtype to column; a table with ICH and without IPH calls intraparenchymal hemorrhage ICH."""
    present = set(read_table(path, KEYS, f"Expected:\n{LAYOUT}"))
    return {**COLUMNS, "IPH": "ICH"} if "ICH" in present and "IPH" not in present else COLUMNS
