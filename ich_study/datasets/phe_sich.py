"""PHE-SICH-CT-IDS: head CTs of spontaneous intracerebral hemorrhage as 8-bit PNG slices with boxes.

Expected under the root, either the full data set or a flat selection of it::

    SubdatasetC_PNG/set/image<N>/<PPPP>_<SS>.png           images/<PPPP>_<SS>.png
    SubdatasetC_PNG/annotation/annotation<N>/<...>.xml     annotations/<PPPP>_<SS>.xml
                                                           labels.csv   (filename,label)

From figshare.com, article 23957937, CC BY 4.0 (a redistributor says CC BY-SA, the paper asks for
non-commercial use). Cite Ma et al., PHE-SICH-CT-IDS, arXiv:2308.10521.

* The boxes (object name `a`) enclose hematoma and perihematomal edema. The masks of the full data
  set are of edema, not of hematoma, so they are not read. A label of 0 means that no edema was
  drawn: some slices beside a positive one do show blood.
* The pictures lie on their side: anterior left, the patient's right on top. That was seen on all 60
  patients of the flat selection for anterior, and for the side on the chest slices of patient 163
  (descending aorta left of the spine, below it in the file; superior vena cava above). A quarter
  turn clockwise and a mirror, together a transposition, bring them to the contract's orientation.
* Slice 00 is the skull base. Spacing is unknown.
* The grey values step by 255 / 120 in nearly all patients, by 255 / 80 or 255 / 84 in a few:
integer
  HU of a window of that width. So by default the width is read off the number of grey levels. The
  centre cannot be: 40 HU is assumed, which puts brain at a median of 28 HU and ventricles at 2-4
  HU.
* The XML files of patient 13 have three digits; names are matched as numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ich_study.ct.brain_mask import border_connected
from ich_study.datasets.contract import ScanRef, ScanVolume, box_frame, label_frame
from ich_study.datasets.files import read_table, require_file, require_room
from ich_study.datasets.layout import require_root
from ich_study.datasets.voc_boxes import read_voc_boxes
from ich_study.errors import DataError, ParameterError

LAYOUT = (
    "  SubdatasetC_PNG/set/image<N>/*.png, SubdatasetC_PNG/annotation/annotation<N>/*.xml\n  or"
    " images/*.png, annotations, labels.csv"
)
ORIGIN = "figshare.com, article 23957937 (CC BY 4.0)."

AIR_HU = -1000
EXPORT_CENTRE = 40
WHITE_HU = 1000
"""HU of grey 255, which is bone and whatever else lies above the window."""
OBJECT_NAMES = frozenset({"a"})
LEVELS_OF_A_WINDOW = range(41, 251)
"""Numbers of grey levels from which a window's width can be read; with 251 or more, levels
merge."""

_NAME = re.compile(r"(\d{1,6})_(\d{1,4})", re.ASCII)
Key = tuple[int, int]


@dataclass
class PheSichReader:
    """Reader of PHE-SICH-CT-IDS.

    export_width: of the window in HU that the grey values were exported with; None reads it per
    scan off the grey levels. findings: what `scans` found in the data set as a whole, in words;
    empty before.
    """

    root: Path
    export_width: float | None = None
    findings: tuple[str, ...] = field(default=(), init=False)

    name = "phe_sich"

    def __post_init__(self) -> None:
        if self.export_width is not None and not 0 < self.export_width < 5000:
            raise ParameterError(
                f"PHE-SICH: export_width is {self.export_width}; expected a width in HU"
            )
        self.root = require_root(Path(self.root), "PHE-SICH-CT-IDS", LAYOUT, ORIGIN)

    @property
    def intensity(self) -> str:
        """What stands in for HU."""
        width = (
            "as wide as its grey levels show"
            if self.export_width is None
            else f"{self.export_width:g} HU wide"
        )
        return (
            f"8-bit grey of a window around {EXPORT_CENTRE} HU, {width}, mapped back linearly to"
            f" HU; black outside the head is {AIR_HU} HU, grey 255 is {WHITE_HU} HU; what lay"
            " outside the window is lost"
        )

    def scans(self) -> list[ScanRef]:
        """One scan per patient. Raises DataError for a missing folder, a name that is not
        `<patient>_<slice>`, and annotations or labels without their picture."""
        images, annotations = self._folders()
        pictures, boxes = (
            _by_key(images, ".png"),
            _by_key(annotations, ".xml") if annotations.is_dir() else {},
        )
        labels = _read_labels(self.root / "labels.csv")
        for what, keys in {"annotations": boxes, "rows of labels.csv": labels}.items():
            orphans = sorted(set(keys) - set(pictures))
            if orphans:
                first = f"{orphans[0][0]:04d}_{orphans[0][1]:02d}"
                raise DataError(
                    f"{self.root}: {len(orphans)} {what} have no picture, the first is {first}; is"
                    " the copy complete?"
                )
        silent = sorted(set(pictures) - set(labels)) if labels else []
        self.findings = tuple(
            f"missing-labels: {len(silent)} of {len(pictures)} pictures have no row in labels.csv,"
            f" the first is {number:04d}_{index:02d}"
            for number, index in silent[:1]
        )
        if not pictures:
            raise DataError(
                f"{images} holds no PNG. Expected under the root:\n{LAYOUT}\nThe data come from"
                f" {ORIGIN}"
            )
        patients: dict[int, list[int]] = {}
        for patient, number in sorted(pictures):
            patients.setdefault(patient, []).append(number)
        return [
            self._ref(patient, numbers, pictures, boxes, labels)
            for patient, numbers in patients.items()
        ]

    def _folders(self) -> tuple[Path, Path]:
        for folder in (self.root / "SubdatasetC_PNG", self.root):
            if (folder / "set").is_dir():
                return folder / "set", folder / "annotation"
        if (self.root / "images").is_dir():
            return self.root / "images", self.root / "annotations"
        raise DataError(
            f"PHE-SICH-CT-IDS: expected under {self.root}:\n{LAYOUT}\nThe data come from {ORIGIN}"
        )

    def _ref(
        self,
        patient: int,
        numbers: list[int],
        pictures: dict[Key, Path],
        boxes: dict[Key, Path],
        labels: dict[Key, bool],
    ) -> ScanRef:
        keys = [(patient, number) for number in numbers]
        details = {
            "numbers": numbers,
            "annotations": [boxes.get(key) for key in keys],
            "labels": [labels.get(key) for key in keys],
        }
        drawn = [path for path in details["annotations"] if path is not None]
        return ScanRef(
            self.name,
            f"{patient:04d}",
            f"{patient:04d}",
            (*(pictures[key] for key in keys), *drawn),
            details,
        )

    def load(self, ref: ScanRef) -> ScanVolume:
        """HU-equivalents, boxes and `any`; the subtypes are unknown. Raises DataError naming a
        damaged file."""
        numbers = np.asarray(ref.details["numbers"])
        pictures = ref.files[: len(numbers)]
        grey = _read_stack(pictures)
        width, notes = self._width(grey, ref)
        known = np.array([path is not None for path in ref.details["annotations"]])
        boxes = _boxes(ref)
        answers = [
            (
                label
                if label is not None
                else (index in set(boxes["slice_index"]) if known[index] else None)
            )
            for index, label in enumerate(ref.details["labels"])
        ]
        missing = sorted(set(range(int(numbers[0]), int(numbers[-1]))) - set(numbers.tolist()))
        notes += [f"missing-slices: the numbering leaves out {missing}"] if missing else []
        return ScanVolume(
            ref=ref,
            hu=_hounsfield(np.ascontiguousarray(grey.transpose(0, 2, 1)), width),
            z_mm=np.full(len(grey), np.nan),
            spacing_mm=(np.nan, np.nan),
            thickness_mm=np.nan,
            labels=label_frame({"any": answers}, len(grey)),
            mask=None,
            boxes=boxes,
            boxes_known=known,
            sources=tuple(path.relative_to(self.root).as_posix() for path in pictures),
            notes=tuple(notes),
        )

    def _width(self, grey: np.ndarray, ref: ScanRef) -> tuple[float, list[str]]:
        """Export window's width in HU: a window of N HU over integer HU gives N + 1 grey levels."""
        if self.export_width is not None:
            return self.export_width, []
        present = [set(np.unique(picture).tolist()) for picture in grey]
        levels = max(present, key=len)
        if len(levels) not in LEVELS_OF_A_WINDOW:
            raise DataError(
                f"scan {ref.scan_id} has {len(levels)} grey levels, from which no window can be"
                f" read ({LEVELS_OF_A_WINDOW.start} to {LEVELS_OF_A_WINDOW.stop - 1} are expected);"
                " give export_width"
            )
        odd = [
            number for number, found in zip(ref.details["numbers"], present) if not found <= levels
        ]
        notes = [f"{len(levels)} grey levels, so the export window is {len(levels) - 1} HU wide"]
        return len(levels) - 1, notes + (
            [f"slices {odd} have other grey levels than the rest of the scan"] if odd else []
        )


def _hounsfield(grey: np.ndarray, width: float) -> np.ndarray:
    """HU of pictures (slices, rows, columns). Black that touches a picture's border is air; black
    inside the head (fat, air cells) is the window's lower end."""
    table = np.rint(EXPORT_CENTRE + width * (np.arange(256) / 255 - 0.5)).astype(np.int16)
    table[255] = WHITE_HU
    hu = table[grey]
    hu[border_connected(grey == 0)] = AIR_HU
    return hu


def _boxes(ref: ScanRef) -> pd.DataFrame:
    """Boxes in the contract's orientation: x and y change places, as in the pictures."""
    rows = []
    for index, path in enumerate(ref.details["annotations"]):
        for x, y, width, height in read_voc_boxes(path, OBJECT_NAMES) if path is not None else []:
            place = {"scan_id": ref.scan_id, "slice_index": index, "label": "any"}
            rows.append({**place, "x": y, "y": x, "width": height, "height": width})
    return box_frame(rows)


def _read_stack(files: tuple[Path, ...]) -> np.ndarray:
    """Pictures as uint8 (slices, rows, columns)."""
    pictures = []
    for path in files:
        require_file(path, "an 8-bit grey PNG")
        try:
            with Image.open(path) as picture:
                require_room(path, picture.width * picture.height * len(files))
                if picture.format != "PNG" or picture.mode != "L":
                    raise DataError(
                        f"{path} is {picture.format}, mode {picture.mode}; expected an 8-bit"
                        " grey PNG"
                    )
                pictures.append(np.array(picture))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} is truncated or not a PNG ({error}); copy it again") from error
        if pictures[-1].shape != pictures[0].shape:
            raise DataError(
                f"{path} is {pictures[-1].shape}, the scan's first picture {files[0].name} is"
                f" {pictures[0].shape}"
            )
    return np.stack(pictures)


def _by_key(folder: Path, suffix: str) -> dict[Key, Path]:
    """Files of a folder and its subfolders by (patient, slice)."""
    found: dict[Key, Path] = {}
    for path in sorted(folder.rglob(f"*{suffix}")):
        key = _key(path.stem, path)
        if key in found:
            raise DataError(f"{path} and {found[key]} are the same slice twice; remove one")
        found[key] = path
    return found


def _key(stem: str, where: Path) -> Key:
    match = _NAME.fullmatch(stem)
    if match is None:
        raise DataError(f"{where}: {stem!r} is not <patient>_<slice>, such as 0001_00")
    return int(match[1]), int(match[2])


def _read_labels(path: Path) -> dict[Key, bool]:
    if not path.is_file():
        return {}
    frame = read_table(path, ["filename", "label"], f"The data come from {ORIGIN}").fillna("")
    labels: dict[Key, bool] = {}
    for name, label in zip(frame["filename"], frame["label"]):
        key = _key(name.removesuffix(".png"), path)
        if label not in ("0", "1") or labels.get(key, label == "1") != (label == "1"):
            raise DataError(
                f"{path}: {name} is labelled {label!r}, or both 0 and 1; expected one label of 0"
                " or 1"
            )
        labels[key] = label == "1"
    return labels
