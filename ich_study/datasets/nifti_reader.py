"""What the readers of NIfTI data sets share: files in pairs of scan and mask, and, where slices are
labelled in a table, the rows of that table."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from ich_study.datasets.contract import ScanRef, ScanVolume, box_frame, mask_labels
from ich_study.datasets.layout import first_folder, paired_files, require_root
from ich_study.datasets.nifti import NiftiPair, Pairing, load_pair
from ich_study.datasets.slice_tables import read_slice_table, rows_by_slice
from ich_study.errors import DataError


@dataclass
class NiftiReader:
    """Reader of scans with masks beside them.

    allow_nan: read NaN as air, with a note. pair_by: scan id to what decides where headers of scan
    and mask contradict each other about direction, see `nifti.Pairing`. title, layout, origin: for
    a person whose files are not there.
    """

    root: Path
    allow_nan: bool = False
    pair_by: dict[str, Pairing] = field(default_factory=dict)

    name: ClassVar[str]
    title: ClassVar[str]
    layout: ClassVar[str]
    origin: ClassVar[str]
    intensity: ClassVar[str] = "hu"

    def __post_init__(self) -> None:
        self.root = require_root(Path(self.root), self.title, self.layout, self.origin)

    def folder(self, *choices: str, under: Path | None = None) -> Path:
        """The first of `choices` under the root, or under another folder; DataError without any."""
        return first_folder(under or self.root, choices, self.title, self.layout, self.origin)

    def pair(self, ref: ScanRef, codes: Mapping[int, int]) -> NiftiPair:
        """Scan and mask of `ref`, see `load_pair`."""
        image, mask = (*ref.files, None)[:2]
        return load_pair(image, mask, codes, self.allow_nan, self.pair_by.get(ref.scan_id))

    def volume(
        self, ref: ScanRef, pair: NiftiPair, labels: pd.DataFrame, notes: tuple[str, ...] = ()
    ) -> ScanVolume:
        """The contract's volume, without boxes.

        NIfTI states no slice thickness: `thickness_mm` is the distance between slices.
        """
        slices = len(pair.hu)
        return ScanVolume(
            ref=ref,
            hu=pair.hu,
            z_mm=pair.image.z_mm,
            shift_mm=np.outer(np.arange(slices), pair.image.step_mm),
            spacing_mm=pair.image.spacing_mm[:2],
            thickness_mm=pair.image.spacing_mm[2],
            labels=labels,
            mask=pair.mask,
            boxes=box_frame([]),
            boxes_known=np.zeros(slices, bool),
            sources=(ref.files[0].relative_to(self.root).as_posix(),) * slices,
            notes=(*pair.notes, *notes),
        )

    def labelled_by_mask(self, ref: ScanRef, pair: NiftiPair) -> ScanVolume:
        """`volume` with the slice labels that its mask implies."""
        notes = (
            ()
            if pair.mask.any()
            else ("empty-mask: nothing is drawn, so every slice counts as negative; is that so?",)
        )
        return self.volume(ref, pair, mask_labels(pair.mask), notes)


@dataclass
class TabledReader(NiftiReader):
    """Reader of scans whose slices are labelled in a table.

    allow_missing_labels: slices without a row get unknown labels instead of a DataError. images:
    folder. table: file. keys: its columns of identity, the slice's number last, which is
    `first_slice` for the first slice of a file. flags: what one says, to its column. row_of: what a
    group of rows is of, in words.
    """

    allow_missing_labels: bool = False

    images: ClassVar[str]
    table: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    flags: ClassVar[Mapping[str, str]]
    first_slice: ClassVar[int]
    row_of: ClassVar[str]

    def scans(self) -> list[ScanRef]:
        """Every scan; its rows of the table lie in `details`. Raises DataError for a missing file,
        mask, column or row, and for a scan of several patients."""
        images, path = self.folder(self.images), self.root / self.table
        columns = self.columns(path)
        table, repeated = read_slice_table(path, self.keys, tuple(columns.values()), self.layout)
        table = table.rename(columns={column: name for name, column in columns.items()})
        by_scan = dict(iter(table.groupby(self.keys_of_rows(path, table))))
        notes = [f"{repeated} rows of {path.name} stood there twice"] if repeated else []
        found = []
        for stem, *files in paired_files(images, self.root / "masks", require_masks=True):
            key = self.key_of_file(stem, files[0])
            if key not in by_scan:
                raise DataError(f"{files[0]}: {path.name} has no row of {self.row_of} {key}")
            rows = by_scan[key]
            details = {"rows": rows.drop(columns=list(self.keys[:-1])), "notes": notes}
            patient = self.patient(stem, rows, files[0])
            found.append(ScanRef(self.name, patient, stem, tuple(files), details))
        return found

    def rows(self, ref: ScanRef, pair: NiftiPair) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """The scan's rows in the order of its slices, and what to note. Raises DataError for slices
        and rows that do not match one to one."""
        rows, notes = rows_by_slice(
            ref.details["rows"],
            self.keys[-1],
            self.first_slice,
            pair.image.file_slices,
            f"{self.row_of} {ref.scan_id}",
            self.allow_missing_labels,
        )
        return rows, (*ref.details["notes"], *notes)

    def columns(self, path: Path) -> Mapping[str, str]:
        """What a flag of the table says, to its column."""
        return self.flags

    def keys_of_rows(self, path: Path, table: pd.DataFrame) -> pd.Series:
        """Which scan each row is of."""
        return table[self.keys[-2]]

    def key_of_file(self, stem: str, path: Path) -> Hashable:
        """The same of a file."""
        return stem

    def patient(self, stem: str, rows: pd.DataFrame, path: Path) -> str:
        """Whose scan it is."""
        return stem
