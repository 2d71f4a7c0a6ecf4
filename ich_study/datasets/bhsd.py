"""BHSD: 192 head CTs with masks of five subtypes, every one of a patient of RSNA 2019.

Expected under the root::

    label_192/images/ID_<8 hex>_ID_<10 hex>.nii.gz
    label_192/ground truths/<same name>.nii.gz      (or ground_truths)
    dataset.json                                    (optional)

From github.com/White65534/BHSD and huggingface.co/datasets/WuBiao/BHSD. Licence: the repository
says CC BY-NC-ND, the Hugging Face page MIT; keep to the stricter. Cite Wu et al., BHSD: A 3D
Multi-class Brain Hemorrhage Segmentation Dataset, MLMI 2023.

The first token of a file name is the RSNA PatientID: train on RSNA only without these patients.
The paths inside dataset.json do not exist on disk, so only its base names count. Axes are LAS by
the qform, often tilted; four volumes have another affine than their mask.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ich_study.datasets.contract import ScanRef, ScanVolume
from ich_study.datasets.files import read_json
from ich_study.datasets.layout import nifti_stem, paired_files
from ich_study.datasets.nifti_reader import NiftiReader
from ich_study.errors import DataError, require_known
from ich_study.schema import MASK_CODES

LAYOUT = (
    "  label_192/images/*.nii.gz\n  label_192/ground truths/*.nii.gz\n  dataset.json (optional)"
)
ORIGIN = "github.com/White65534/BHSD or huggingface.co/datasets/WuBiao/BHSD (CC BY-NC-ND)."

LONG_NAMES: dict[str, str] = {
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}
PUBLISHED_MAP: dict[int, str] = {1: "EDH", 2: "IPH", 3: "IVH", 4: "SAH", 5: "SDH"}
"""Label map of BHSD's own dataset.json."""
AUTHORS_MAP: dict[int, str] = {1: "EDH", 2: "IPH", 3: "SDH", 4: "SAH", 5: "IVH"}
"""Label map in LSE-UNet's evaluation code: SDH and IVH stand the other way round
(printed_and_authors, 000.10)."""

_NAME = re.compile(r"(ID_[0-9a-fA-F]+)_ID_[0-9a-fA-F]+")


@dataclass
class BhsdReader(NiftiReader):
    """Reader of the labelled part of BHSD.

    label_map: "dataset.json" takes the file's own map, and the published one where there is no
    such file; "authors" takes that of LSE-UNet's code.
    """

    label_map: str = "dataset.json"

    name, title, layout, origin = "bhsd", "BHSD", LAYOUT, ORIGIN

    def __post_init__(self) -> None:
        """Reads dataset.json, where there is one."""
        require_known("label_map", self.label_map, ("dataset.json", "authors"))
        super().__post_init__()
        path = self.root / "dataset.json"
        self._description = _read_description(path) if path.is_file() else {}
        own = _label_map(self._description, path) if self._description else PUBLISHED_MAP
        self.codes = AUTHORS_MAP if self.label_map == "authors" else own
        """Code in a mask to the subtype."""
        self._notes = () if own == PUBLISHED_MAP else (f"dataset.json has its own label map {own}",)

    def scans(self) -> list[ScanRef]:
        """Every labelled volume.

        Raises DataError for a missing folder or mask, a name that is not a BHSD name, and names
        in dataset.json without a file.
        """
        folder = self.folder("label_192")
        images = self.folder("images", under=folder)
        masks = self.folder("ground truths", "ground_truths", under=folder)
        pairs = paired_files(images, masks, require_masks=True)
        absent = sorted(_listed(self._description) - {stem for stem, _, _ in pairs})
        if absent:
            raise DataError(
                f"{self.root / 'dataset.json'} lists {len(absent)} volumes that are not in"
                f" {images}, the first is {absent[0]}"
            )
        return [
            ScanRef(self.name, _patient(path), stem, (path, mask)) for stem, path, mask in pairs
        ]

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU, mask, and the slice labels that the mask implies. Raises DataError naming a damaged
        file."""
        codes = {value: MASK_CODES[subtype] for value, subtype in self.codes.items()}
        volume = self.labelled_by_mask(ref, self.pair(ref, codes))
        return replace(volume, notes=(*volume.notes, *self._notes))


def _read_description(path: Path) -> dict:
    expected = "an object with `labels`, a map from code to name"
    description = read_json(path, expected)
    if not isinstance(description.get("labels"), dict):
        raise DataError(f"{path}: expected {expected}")
    return description


def _label_map(description: dict, path: Path) -> dict[int, str]:
    named = {
        str(code): LONG_NAMES.get(str(label).lower(), str(label).upper())
        for code, label in description["labels"].items()
    }
    own = {int(code): label for code, label in named.items() if code.isdecimal() and int(code) > 0}
    if sorted(own) != [1, 2, 3, 4, 5] or sorted(own.values()) != sorted(MASK_CODES):
        raise DataError(
            f"{path}: labels are {description['labels']}; expected 0 background and 1-5 naming"
            f" {sorted(LONG_NAMES)}"
        )
    return dict(sorted(own.items()))


def _listed(description: dict) -> set[str]:
    """Base name of every volume that dataset.json lists."""
    found = set()
    for part in ("training", "test"):
        entries = description.get(part) or []
        if not isinstance(entries, list):
            raise DataError(
                f"dataset.json: `{part}` is a {type(entries).__name__}; expected a list of volumes,"
                " as published. Fetch it again"
            )
        for entry in entries:
            listed = entry.get("image") if isinstance(entry, dict) else entry
            found.add(nifti_stem(Path(str(listed).replace("\\", "/"))))
    return found


def _patient(image: Path) -> str:
    match = _NAME.fullmatch(nifti_stem(image))
    if match is None:
        raise DataError(
            f"{image}: expected a name like ID_0a1b2c3d_ID_0a1b2c3d4e.nii.gz, whose first token"
            " is the RSNA patient"
        )
    return match[1]
