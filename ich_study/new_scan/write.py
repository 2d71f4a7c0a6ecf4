"""What is found in a scan on disk: NIfTI in the original geometry, a report, a contact sheet."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
from matplotlib.figure import Figure

from ich_study.atomic import atomic_path
from ich_study.ct.windows import named_window
from ich_study.figures.heatmaps import SIDE, MapColumn, heatmap_grid
from ich_study.figures.names import readable
from ich_study.new_scan.apply import Finding
from ich_study.new_scan.read import OwnScan

RESEARCH_USE = "Research use only: not a medical device, not for diagnosis or treatment."
REPORT = "report.json"
NIFTI_HEADER = 352
THRESHOLD = 0.5
"""Where a method's own threshold lies among the colours of its heat."""
SHEET_COLUMNS = 6
"""Pictures of a contact sheet beside each other: slices share a row where few methods are shown."""
IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "PatientSize",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "InstitutionName",
    "StationName",
)
"""Header fields that say who or where, which only a DICOM segmentation may hold."""
IDENTIFIERS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
)


def write_nifti(path: Path, scan: OwnScan, voxels: np.ndarray) -> None:
    """`voxels` (slices, rows, columns) in the scan's original geometry, atomically."""
    with atomic_path(path) as temporary:
        # fast, and without a time stamp: the same voxels give the same file
        temporary.write_bytes(gzip.compress(scan.image(voxels).to_bytes(), 1, mtime=0))


def write_finding(folder: Path, scan: OwnScan, finding: Finding) -> None:
    """Heat of every class and the mask of one method."""
    for number, name in enumerate(finding.method.recipe.classes):
        write_nifti(folder / f"{finding.name}_heat_{name}.nii.gz", scan, finding.heat[number])
    write_nifti(folder / f"{finding.name}_mask.nii.gz", scan, finding.mask)


def report(
    scan: OwnScan,
    verdicts: pd.DataFrame,
    findings: Sequence[Finding],
    settings: Mapping[str, Any],
    key: str,
) -> dict[str, Any]:
    """All that is found, JSON-able; no identity from the headers. key: of `batch.key_of`."""
    return {
        "use": RESEARCH_USE,
        "key": key,
        "scan": {
            "name": scan.name,
            "slices": len(scan.hu),
            "rows": scan.hu.shape[1],
            "columns": scan.hu.shape[2],
            "pixel_mm": list(scan.spacing_mm),
            "slice_depth_mm": scan.depth_mm.round(4).tolist(),
            "affine_ras": scan.affine.round(6).tolist(),
            "notes": scan.all_notes,
            "series": verdicts.to_dict("records"),
        },
        "settings": settings,
        "methods": [_method(finding) for finding in findings],
    }


def _method(finding: Finding) -> dict[str, Any]:
    recipe = finding.method.recipe
    return {
        "name": finding.name,
        "recipe": recipe.describe(),
        "weights_sha256": finding.method.sha256,
        "volumes_ml": {name: round(value, 3) for name, value in finding.volumes_ml.items()},
        "probability": finding.probability.round(5).to_dict("list"),
        "points": finding.points.round(2).to_dict("records"),
        "seconds": round(finding.seconds, 2),
    }


def shown_heat(
    finding: Finding, index: int | np.ndarray | slice = slice(None), share: float = THRESHOLD
) -> np.ndarray:
    """Heat of all classes together for pictures, float32 in [0, 1]: from `THRESHOLD` on it
    is marked, 1 is the scan's highest value; see `apply.shown_span`. Hot pixels that are not
    marked, in slices that are not called or outside the brain, stay below `share`, from which a
    picture draws heat."""
    shown = []
    recipe = finding.method.recipe
    for heat, threshold, span in zip(finding.heat, recipe.thresholds, finding.spans):
        above = (heat[index] - threshold) / span
        shown.append(np.clip(THRESHOLD + (1 - THRESHOLD) * above, 0, 1))
    together = np.max(shown, axis=0).astype(np.float32)
    below = np.nextafter(np.float32(share), np.float32(0))
    return np.where(finding.mask[index] > 0, together, np.minimum(together, below))


def shown_slices(findings: Sequence[Finding], count: int) -> np.ndarray:
    """Which slices to show, by rule: those that the methods mark most, then others evenly spread,
    `count` at most, in order."""
    marked = sum((finding.mask > 0).sum((1, 2)) for finding in findings)
    chosen = np.argsort(-marked, kind="stable")[: count - count // 4]
    chosen = chosen[marked[chosen] > 0]
    others = np.setdiff1d(np.arange(len(marked)), chosen)
    spare = min(count - len(chosen), len(others))
    spread = np.linspace(0, len(others) - 1, spare + 2)[1:-1].round().astype(int)
    return np.sort(np.concatenate([chosen, others[spread]]))


def contact_sheet(
    scan: OwnScan,
    findings: Sequence[Finding],
    slices: Sequence[int] | np.ndarray,
    window: str = "brain",
    opacity: float = 0.55,
    label: str = "",
    side: float = SIDE,
    share: float = THRESHOLD,
) -> Figure:
    """Every slice bare, then by each method: heat, outline of the mask, points; titled with its
    number and the height of its middle in patient coordinates. side: of a picture, inches. share:
    of the colours (`shown_heat`) from which heat is drawn, each method's threshold if not said.
    """
    index = np.asarray(slices)
    columns = []
    for finding in findings:
        places = finding.points
        points = [
            places.loc[places["slice_index"] == number, ["row", "column"]].to_numpy()
            for number in index
        ]
        volume = f"{readable(finding.name)}\n{finding.volumes_ml['any']:.1f} mL"
        columns.append(
            MapColumn(volume, shown_heat(finding, index, share), finding.mask[index], points)
        )
    middle = (np.array(scan.hu.shape[1:]) - 1) / 2
    heights = scan.world_mm([(number, *middle) for number in index])[:, 2]
    return heatmap_grid(
        scan.hu[index],
        columns,
        f"{label or scan.name}\n{RESEARCH_USE}\n",
        # two lines: one is longer than a picture is high, and runs into the next
        row_titles=[f"slice {number}\nz {z:.0f} mm" for number, z in zip(index, heights)],
        window=named_window(window),
        opacity=opacity,
        across=max(1, SHEET_COLUMNS // (1 + len(columns))),
        side=side,
        shown_from=share,
    )


def identities_in(folder: Path, scan: OwnScan) -> list[str]:
    """Fields of the source's headers whose words stand in a file of `folder`, DICOM files left out:
    none should."""
    if not scan.headers:
        return []
    image = pydicom.dcmread(scan.headers[0].path, stop_before_pixels=True)
    texts = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)[:NIFTI_HEADER]
        if path.suffix != ".dcm":
            texts.append(content)
    found = []
    for name in (*IDENTITY, *IDENTIFIERS):
        value = str(image.get(name, "")).strip()
        # a shorter word stands in any number by chance
        if len(value) >= 4 and any(value.encode() in text for text in texts):
            found.append(name)
    return found
