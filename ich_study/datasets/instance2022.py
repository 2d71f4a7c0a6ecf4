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

from dataclasses import dataclass

from ich_study.datasets.contract import ScanRef, ScanVolume, label_frame
from ich_study.datasets.layout import paired_files
from ich_study.datasets.nifti_reader import NiftiReader
from ich_study.schema import UNSPECIFIED_HEMORRHAGE

LAYOUT = "  train_2/data/001.nii.gz ... (or train/)\n  train_2/label/001.nii.gz ..."
ORIGIN = "instance.grand-challenge.org, after a signed agreement."


@dataclass
class Instance2022Reader(NiftiReader):
    """Reader of INSTANCE 2022.

    require_masks: False reads a part that has no label folder, with masks and labels unknown.
    """

    require_masks: bool = True

    name, title, layout, origin = "instance2022", "INSTANCE 2022", LAYOUT, ORIGIN

    def scans(self) -> list[ScanRef]:
        """Every scan of train_2, or of train. Raises DataError for a missing folder or mask."""
        folder = self.folder("train_2", "train")
        pairs = paired_files(
            self.folder("data", under=folder), folder / "label", self.require_masks
        )
        return [
            ScanRef(self.name, stem, stem, (image, *([mask] if mask else [])))
            for stem, image, mask in pairs
        ]

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU, binary mask as code 6, slice labels from it. Raises DataError naming a damaged
        file."""
        pair = self.pair(ref, {1: UNSPECIFIED_HEMORRHAGE})
        if pair.mask is None:
            return self.volume(ref, pair, label_frame({}, len(pair.hu)))
        return self.labelled_by_mask(ref, pair)
