"""The integrity report: names of the checks, one table worst first, and the stop on errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from ich_study.errors import DataError, ParameterError

SEVERITIES: tuple[str, ...] = ("error", "warning", "note")

CHECKS: dict[str, str] = {
    "unreadable-scan": "the reader could not load the scan",
    "scan-without-slices": "the data set names a scan that has no slice",
    "not-finite": "the source holds NaN or infinite values",
    "orientation": "the headers of a scan and its mask contradict each other about direction",
    "voxel-units": "sizes in metres or microns",
    "mask-geometry": "shape or spacing of mask and scan disagree",
    "mask-place": "affines say that mask and scan lie at different places",
    "voxel-size": "pixdim and affine of a NIfTI file disagree",
    "mask-code": "the mask holds a code that is not 0-6",
    "empty-mask": "an empty mask makes a scan negative",
    "label-denies-mask": "the mask shows hemorrhage, the slice label says none",
    "mask-denies-label": "the slice label says hemorrhage, the mask shows none",
    "any-is-not-or": "`any` is not the OR of the five subtypes",
    "label-denies-box": "a box lies on a slice whose label says no hemorrhage",
    "box-outside-image": "a box leaves the image or has no area",
    "mask-outside-head": "the mask lies in the air around the head",
    "patient-under-two-names": "one volume stands under two patient ids",
    "patient-id-spelling": "two patient ids differ by case or blanks alone",
    "image-in-two-patients": "one image stands under two patient ids",
    "duplicate-scan": "one volume stands twice under one patient id",
    "duplicate-image": "one image stands twice under one patient id",
    "constant-image": "all pixels of the slice are equal",
    "too-few-slices": "too few slices for a head",
    "slices-out-of-order": "slice positions do not ascend",
    "several-stacks": "one series held several stacks of slices, of which one was read",
    "repeated-position": "two slices at one position",
    "missing-slices": "gaps in the slice positions",
    "irregular-spacing": "the distance between slices varies",
    "unknown-position": "slice positions are unknown",
    "unknown-spacing": "pixel size or slice thickness is unknown",
    "implausible-spacing": "a pixel size that no head CT has",
    "missing-labels": "images that the label table leaves out",
    "hu-range": "intensities are not those of a head CT in HU",
    "not-ct": "the modality is not CT",
    "not-hu": "the values are of another kind than HU",
    "burned-in": "text may be burned into the picture",
    "rescale": "slope or intercept that no CT has",
    "bits-stored": "the header says of fewer bits than the pixels use",
    "clipped": "values above 32767 HU were cut off",
    "reader-note": "what the reader repaired or dropped",
}
"""Every check, by the name that reports print and `allow` parameters use."""

TABLE_COLUMNS: tuple[str, ...] = (
    "severity",
    "check",
    "dataset",
    "scan_id",
    "slice_index",
    "detail",
)
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One line of the report; `slice_index` is None where the whole scan is meant."""

    severity: str
    check: str
    dataset: str
    scan_id: str
    slice_index: int | None
    detail: str


def findings_table(findings: Iterable[Finding | dict[str, Any]]) -> pd.DataFrame:
    """Findings as the report's table (`TABLE_COLUMNS`), worst severity first, in a stable order."""
    rows = [asdict(item) if isinstance(item, Finding) else item for item in findings]
    table = pd.DataFrame(rows, columns=list(TABLE_COLUMNS)).astype({"slice_index": "Int32"})
    table["severity"] = pd.Categorical(table["severity"], SEVERITIES, ordered=True)
    return table.sort_values(list(TABLE_COLUMNS), ignore_index=True)


def check_names(allow: Sequence[str]) -> None:
    """Raise ParameterError when `allow` is no list, or names a check that does not exist."""
    unknown = [allow] if isinstance(allow, str) else sorted(set(allow) - set(CHECKS))
    if unknown:
        raise ParameterError(
            f"allow: {unknown} are not checks; expected a list out of {', '.join(CHECKS)}"
        )


def stop_on_errors(table: pd.DataFrame, allow: Sequence[str] = ()) -> None:
    """Raise DataError that names the errors of the report whose check is not in `allow`."""
    check_names(allow)
    errors = table[(table["severity"] == "error") & ~table["check"].isin(list(allow))]
    if errors.empty:
        return
    counts = ", ".join(
        f"{name} ({count})" for name, count in errors["check"].value_counts(sort=False).items()
    )
    lines = [f"{len(errors)} integrity errors: {counts}"]
    for row in errors.head(SHOWN).itertuples():
        place = (
            row.scan_id if pd.isna(row.slice_index) else f"{row.scan_id}, slice {row.slice_index}"
        )
        lines.append(f"  {row.check}: {row.dataset}, {place}: {row.detail}")
    if len(errors) > SHOWN:
        lines.append(f"  and {len(errors) - SHOWN} more, in the report's table")
    lines.append(
        "Repair the data, or name these checks in the `allow` parameter to go on despite them."
    )
    raise DataError("\n".join(lines))
