"""INSTANCE 2022: 100 head CTs with binary masks of all subtypes together.

Expected under the root::

    train_2/data/001.nii.gz ...     (or train/)
    train_2/label/001.nii.gz ...

From instance.grand-challenge.org after a signed agreement; no redistribution. Cite Li et al.,
The state-of-the-art 3D anisotropic intracranial hemorrhage segmentation on non-contrast head CT:
The INSTANCE challenge, arXiv:2301.03281. The mask merges all subtypes, so it is read as code 6
and the subtypes of a slice with hemorrhage are unknown. There is one scan per patient.
"""

from __future__ import annotations

from pathlib import Path

from ich_study.datasets.contract import ScanRef, ScanVolume
from ich_study.datasets.layout import first_folder, paired_files, require_root
from ich_study.datasets.nifti import (
    Pairing,
    empty_mask_notes,
    load_pair,
    mask_labels,
    pair_volume,
    unknown_labels,
)
from ich_study.schema import UNSPECIFIED_HEMORRHAGE

LAYOUT = "  train_2/data/001.nii.gz ... (or train/)\n  train_2/label/001.nii.gz ..."
ORIGIN = "instance.grand-challenge.org, after a signed agreement."


class Instance2022Reader:
    """Reader of INSTANCE 2022.

    require_masks: False reads a part that has no label folder, with masks and labels unknown.
    allow_nan: read NaN as air, with a note. pair_by: scan id to what decides where headers of scan
    and mask contradict each other about direction, see `nifti.Pairing`.
    """

    name = "instance2022"
    intensity = "hu"

    def __init__(
        self,
        root: Path,
        require_masks: bool = True,
        allow_nan: bool = False,
        pair_by: dict[str, Pairing] | None = None,
    ) -> None:
        self.root = require_root(Path(root), "INSTANCE 2022", LAYOUT, ORIGIN)
        self.require_masks = require_masks
        self.allow_nan, self.pair_by = allow_nan, pair_by or {}

    def scans(self) -> list[ScanRef]:
        """Every scan of train_2, or of train. Raises DataError for a missing folder or mask."""
        folder = first_folder(self.root, ("train_2", "train"), "INSTANCE 2022", LAYOUT, ORIGIN)
        images = first_folder(folder, ("data",), "INSTANCE 2022", LAYOUT, ORIGIN)
        pairs = paired_files(images, folder / "label", self.require_masks)
        return [
            ScanRef(self.name, stem, stem, (image, *([mask] if mask else [])))
            for stem, image, mask in pairs
        ]

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU, binary mask as code 6, slice labels from it. Raises DataError naming a damaged
        file."""
        image, *masks = ref.files
        pair = load_pair(
            image,
            masks[0] if masks else None,
            {1: UNSPECIFIED_HEMORRHAGE},
            self.allow_nan,
            self.pair_by.get(ref.scan_id),
        )
        if pair.mask is None:
            return pair_volume(ref, self.root, pair, unknown_labels(len(pair.hu)))
        notes = empty_mask_notes(pair.mask)
        return pair_volume(ref, self.root, pair, mask_labels(pair.mask), notes)
