"""Checks across the scans of one data set: duplicate images, patients under two names."""

from __future__ import annotations

import pandas as pd

from ich_study.datasets.contract import folded_id
from ich_study.errors import first_of
from ich_study.hashing import sha256_lines
from ich_study.integrity.report import Finding, findings_table

SHOWN = 5


def check_index(images: pd.DataFrame) -> pd.DataFrame:
    """Findings across scans, as the report's table.

    images: a row per slice, `dataset, patient_id, scan_id, slice_index, image_hash, constant`;
    `image_hash` is of the slice's HU. Constant slices never count as duplicates. A scan found to
    be the copy of another is reported once as a whole, not once per slice.
    """
    ordered = images.sort_values(["scan_id", "slice_index"])
    volumes = ordered.groupby("scan_id", sort=True).agg(
        dataset=("dataset", "first"),
        patient_id=("patient_id", "first"),
        constant=("constant", "all"),
        images=("image_hash", sha256_lines),
    )
    copies = volumes[~volumes["constant"] & volumes.duplicated("images", keep=False)].reset_index()
    later = copies.loc[copies.duplicated("images"), "scan_id"]
    single = ordered[~ordered["constant"] & ~ordered["scan_id"].isin(later)]
    single = single[single.duplicated("image_hash", keep=False)]
    found = [_volume_finding(group) for _, group in copies.groupby("images")]
    found += [
        _spelling_finding(group)
        for _, group in volumes.groupby(volumes["patient_id"].map(folded_id))
        if len(set(group["patient_id"])) > 1
    ]
    return findings_table(
        found + [_image_finding(group) for _, group in single.groupby("image_hash")]
    )


def _volume_finding(group: pd.DataFrame) -> Finding:
    first, patients = group.iloc[0], sorted(set(group["patient_id"]))
    detail = f"same volume as scan {first_of(list(group['scan_id'][1:]), SHOWN)}"
    if len(patients) > 1:
        detail += f", under patients {first_of(patients, SHOWN)}"
        return Finding(
            "error", "patient-under-two-names", first["dataset"], first["scan_id"], None, detail
        )
    return Finding("warning", "duplicate-scan", first["dataset"], first["scan_id"], None, detail)


def _spelling_finding(group: pd.DataFrame) -> Finding:
    first, spellings = group.iloc[0], sorted(set(group["patient_id"]))
    shown = first_of([repr(name) for name in spellings], SHOWN)
    detail = f"patients {shown} differ by case or blanks alone"
    return Finding("error", "patient-id-spelling", first["dataset"], first.name, None, detail)


def _image_finding(group: pd.DataFrame) -> Finding:
    first = group.iloc[0]
    others = [f"{row.scan_id} slice {row.slice_index}" for row in group.iloc[1:].itertuples()]
    crossing = len(set(group["patient_id"])) > 1
    severity, check = (
        ("error", "image-in-two-patients") if crossing else ("warning", "duplicate-image")
    )
    return Finding(
        severity,
        check,
        first["dataset"],
        first["scan_id"],
        int(first["slice_index"]),
        f"same image as {first_of(others, SHOWN)}",
    )
