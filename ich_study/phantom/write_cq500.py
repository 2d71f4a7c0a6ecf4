"""Phantom scans in the on-disk layout of CQ500, with three readers' reads and BHX boxes.

Half of the studies are JPEG Lossless, half uncompressed; 16-bit signed with the padding value -2000
written unsigned (63536) stands beside 12-bit unsigned. File names are in no order. A reader who
disagrees is always alone, so that the majority is right. Boxes enclose the connected parts of the
mask on each slice, drawn a little wide, as by hand. The first study with hemorrhage has a second
series, of a sharp kernel, in which nobody drew boxes, as most studies of the real data have. See
`datasets.cq500` and `datasets.bhx`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEGLosslessSV1, generate_uid

from ich_study.atomic import write_csv, write_text
from ich_study.ct.hounsfield import AIR_HU
from ich_study.datasets.bhx import BOXED_BY_HAND, BOXED_IN_ALL_SERIES, LABEL_NAMES
from ich_study.datasets.cq500 import OTHER_PATHOLOGIES, READERS, READS_NAMES, scan_name
from ich_study.datasets.files import SUMS_NAME
from ich_study.hashing import sha256_file
from ich_study.phantom.dicom_slices import Storage, add, add_image, digest, save
from ich_study.phantom.scan import PhantomScan
from ich_study.schema import MASK_CODES, SUBTYPES

SIGNED = Storage(padding=-2000)
UNSIGNED = Storage(signed=False, bits_stored=12)
THIN_MM = 2.5
DISAGREEMENT = 0.3
"""Share of scans on which one reader differs, and of the subtypes on which that reader does."""
SMALLEST_BOX_PIXELS = 4
WIDEST_MARGIN_PIXELS = 3.0
SHARP = "CT SHARP"
"""Folder of the second series."""
SHARP_SLICES = 12
SHARP_NOISE_HU = 8.0
_READS = "reads.csv"
_UNUSED_FINDINGS = (
    "BleedLocation-Left",
    "BleedLocation-Right",
    "ChronicBleed",
    *OTHER_PATHOLOGIES,
)


def write_cq500(
    root: Path, scans: Iterable[PhantomScan], second_series: bool = True
) -> list[dict[str, str]]:
    """Writes a study folder per scan, `reads.csv`, BHX's tables of boxes drawn by hand and of all
    series, and their checksums under `root`. Both tables are the same.

    second_series: the first study with hemorrhage has one, which stands in no table of boxes.
    Returns `patient_id` and `scan_id` of each series, as `Cq500Reader` gives them; the tables come
    last. One scan is in memory at a time.
    """
    written = []
    reads: list[dict[str, object]] = []
    boxes: list[dict[str, object]] = []
    for number, scan in enumerate(scans):
        patient_id = f"CQ500-CT-{number}"
        folder = "CT PLAIN THIN" if scan.thickness_mm < THIN_MM else "CT 5mm"
        study = root / f"CQ500CT{number} CQ500CT{number}" / "Unknown Study"
        _write_series(study / folder, scan, patient_id, folder.removeprefix("CT "))
        reads.append(_reads_row(scan, patient_id, number))
        boxes += _box_rows(scan)
        written.append({"patient_id": patient_id, "scan_id": scan_name(patient_id, folder)})
        if second_series and scan.mask.any():
            second_series = False
            _write_series(study / SHARP, _sharp(scan), patient_id, SHARP.removeprefix("CT "), SHARP)
            written.append({"patient_id": patient_id, "scan_id": scan_name(patient_id, SHARP)})
    write_csv(root / _READS, pd.DataFrame(reads))
    sums = []
    for name in (BOXED_BY_HAND, BOXED_IN_ALL_SERIES):
        write_csv(root / name, _box_table(boxes))
        sums.append(f"{sha256_file(root / name)}  {name}\n")
    write_text(root / SUMS_NAME, "".join(sums))
    return written


def _sharp(scan: PhantomScan) -> PhantomScan:
    """The middle slices with edges and noise of a sharp kernel."""
    from scipy.ndimage import uniform_filter  # slow to import

    first = max(len(scan.hu) - SHARP_SLICES, 0) // 2
    middle = slice(first, first + SHARP_SLICES)
    hu = scan.hu[middle].astype(np.float64)
    noise = np.random.default_rng([scan.seed, 502]).normal(0, SHARP_NOISE_HU, hu.shape)
    sharp = np.rint(2 * hu - uniform_filter(hu, (1, 3, 3)) + noise)
    hu = np.clip(sharp, AIR_HU, np.iinfo(np.int16).max).astype(np.int16)
    return replace(scan, hu=hu, mask=scan.mask[middle], z_mm=scan.z_mm[middle])


def _write_series(
    folder: Path, scan: PhantomScan, patient_id: str, description: str, *uid: str
) -> None:
    """uid: what the identifiers of a second series are drawn from beside those of the first."""
    storage, syntax = family(scan.seed)
    names = np.random.default_rng(scan.seed).permutation(len(scan.hu))
    for i, name in enumerate(names):
        dataset = add(
            Dataset(),
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=_uid(scan, *uid, "image", i),
            Modality="CT",
            SeriesDescription=description,
            PatientID=patient_id,
            SliceThickness=f"{scan.thickness_mm:.6f}",
            GantryDetectorTilt=f"{scan.tilt_degrees:.6f}",
            StudyInstanceUID=_uid(scan, "study"),
            SeriesInstanceUID=_uid(scan, *uid, "series"),
            InstanceNumber=str(len(scan.hu) - i),
            WindowCenter="30",
            WindowWidth="300",
        )
        if storage.padding is not None:
            add(dataset, PixelPaddingValue=storage.padding % 2**16)
        add_image(dataset, scan, float(scan.z_mm[i]), storage.stored(scan.hu[i]), storage)
        save(dataset, folder / f"CT{name:06d}.dcm", syntax)


def family(seed: int) -> tuple[Storage, UID]:
    """How the scan of `seed` is stored."""
    drawn = int(digest("cq500 family", seed, digits=1), 16)
    return (
        UNSIGNED if drawn % 2 else SIGNED,
        JPEGLosslessSV1 if drawn < 8 else ExplicitVRLittleEndian,
    )


def _uid(scan: PhantomScan, *what: object) -> str:
    return generate_uid(entropy_srcs=["phantom cq500", str(scan.seed), *map(str, what)])


def _reads_row(scan: PhantomScan, patient_id: str, number: int) -> dict[str, object]:
    rng = np.random.default_rng([scan.seed, 500])
    truth = {name: bool((scan.mask == code).any()) for name, code in MASK_CODES.items()}
    right, left = np.array_split((scan.mask > 0).any((0, 1)), 2)
    sides = {"BleedLocation-Right": bool(right.any()), "BleedLocation-Left": bool(left.any())}
    odd_one = READERS[rng.integers(len(READERS))] if rng.random() < DISAGREEMENT else None
    row = {"name": patient_id, "Category": f"B{1 + number % 2}"}
    for reader in READERS:
        seen = {
            name: yes ^ bool(reader == odd_one and rng.random() < DISAGREEMENT)
            for name, yes in truth.items()
        }
        seen["any"] = any(seen.values())
        row |= {f"{reader}:{finding}": int(seen[name]) for finding, name in READS_NAMES.items()}
        row |= {
            f"{reader}:{finding}": int(sides.get(finding, False)) for finding in _UNUSED_FINDINGS
        }
    return row


def _box_rows(scan: PhantomScan) -> list[dict[str, object]]:
    from skimage.measure import label as connected, regionprops  # slow to import

    rng = np.random.default_rng([scan.seed, 501])
    uids = {"SeriesInstanceUID": _uid(scan, "series"), "StudyInstanceUID": _uid(scan, "study")}
    names = {subtype: name for name, subtype in LABEL_NAMES.items()}
    rows = []
    for i, mask in enumerate(scan.mask):
        for subtype in SUBTYPES if mask.any() else ():
            for part in regionprops(connected(mask == MASK_CODES[subtype], connectivity=2)):
                if part.area >= SMALLEST_BOX_PIXELS:
                    data = repr(_drawn_box(part.bbox, mask.shape, rng))
                    rows.append(
                        {
                            "SOPInstanceUID": _uid(scan, "image", i),
                            **uids,
                            "data": data,
                            "labelName": names[subtype],
                        }
                    )
    return rows


def _drawn_box(
    bbox: tuple[int, int, int, int], shape: tuple[int, int], rng: np.random.Generator
) -> dict[str, float]:
    """A box around `bbox` (first row, first column, row and column past the end), up to 3 pixels
    wide of it on each side."""
    margin = rng.uniform(0, WIDEST_MARGIN_PIXELS, 4)
    top, left = max(bbox[0] - margin[0], 0.0), max(bbox[1] - margin[1], 0.0)
    bottom, right = (
        min(bbox[2] + margin[2], float(shape[0])),
        min(bbox[3] + margin[3], float(shape[1])),
    )
    sides = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return {side: round(float(value), 5) for side, value in sides.items()}


def _box_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    columns = ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "data", "labelName"]
    return (
        pd.DataFrame(rows, columns=columns)
        .assign(labelType="handDrawn")
        .rename_axis("")
        .reset_index()
    )
