"""Many scans: a table in, a table out, going on after a kill."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from ich_study.atomic import write_csv, write_json
from ich_study.datasets.files import read_table
from ich_study.errors import DataError
from ich_study.evaluate.scan_methods import ScanMethod
from ich_study.figures.style import save_figure
from ich_study.hashing import sha256_lines
from ich_study.new_scan import write
from ich_study.new_scan.apply import Finding, apply_method
from ich_study.new_scan.dicom_seg import write_segmentation
from ich_study.new_scan.find import Candidate, choose_series, find_studies
from ich_study.new_scan.read import OwnScan
from ich_study.schema import LABELS

TABLE = "scans.csv"
CONTACT_SHEET = "contact_sheet.png"


@dataclass(frozen=True)
class Wanted:
    """What is written of a scan. segmentation: "binary", "labelmap" or None for no DICOM SEG.
    anonymise: it too without identity. inside_brain: mark nothing outside the brain. allow_bad:
    pass over a scan that cannot be read, and files of a series that are damaged. sheet_slices: on
    the contact sheet. allow: checks whose errors in a scan's header do not refuse it. label: what
    the scan is, for every title."""

    segmentation: str | None = "binary"
    anonymise: bool = False
    inside_brain: bool = True
    allow_bad: bool = False
    sheet_slices: int = 8
    allow: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class Studied:
    """A scan before the methods. verdicts: on the series of its study."""

    scan: OwnScan
    verdicts: pd.DataFrame
    methods: Mapping[str, ScanMethod]
    wanted: Wanted

    @cached_property
    def findings(self) -> list[Finding]:
        """What every method finds, computed when it is first asked for."""
        found = []
        for name, method in self.methods.items():
            found.append(apply_method(name, method, self.scan, self.wanted.inside_brain))
        return found


def studies_of(path: Path, allow_bad: bool = False) -> Iterator[tuple[str, list[Candidate] | str]]:
    """Every study of `path`, by what it is named in the table: a file, a folder, or a CSV table
    whose column `scan` names files and folders, relative to itself. In place of its series the
    reason, where it could not be searched and `allow_bad`."""
    places = [path]
    if path.suffix.lower() == ".csv":
        table = read_table(path, ["scan"], "Name a file or folder in each row")
        if table["scan"].isna().any():
            raise DataError(f"{path}: a row has no scan; name a file or folder in each row")
        places = [path.parent / place for place in table["scan"]]
    for place in places:
        try:
            for candidates in find_studies(place, allow_bad).values():
                yield place.name, candidates
        except DataError as error:
            if not allow_bad:
                raise
            yield place.name, str(error)


def study_scans(
    path: Path, methods: Mapping[str, ScanMethod], output: Path, wanted: Wanted
) -> tuple[pd.DataFrame, Studied | None]:
    """Every scan of `path` through every method, a folder of `output` each, and `scans.csv`: the
    table, and the last scan that was taken (None where none was).

    A scan whose report is of the same pixels, weights and settings is not computed again. Raises
    DataError at the first scan that cannot be taken, unless `allow_bad`.
    """
    rows, studied = [], None
    for place, candidates in studies_of(path, wanted.allow_bad):
        started = time.perf_counter()
        row: dict[str, Any] = {"place": place, "scan": "", "status": "done", "reason": ""}
        try:
            if isinstance(candidates, str):
                raise DataError(candidates)
            studied = Studied(*choose_series(candidates, wanted.allow), methods, wanted)
            content, row["status"] = study_scan(studied, output)
            row["scan"] = studied.scan.name
            for method in content["methods"]:
                volumes = method["volumes_ml"]  # of a kept scan as its file sorts them
                for name in (label for label in LABELS if label in volumes):
                    row[f"{method['name']}_{name}_ml"] = volumes[name]
        except DataError as error:
            if not wanted.allow_bad:
                raise
            row |= {"status": "passed over", "reason": str(error)}
        rows.append(row)
        write_csv(output / TABLE, pd.DataFrame(rows))
        seconds = time.perf_counter() - started
        print(f"{row['scan'] or place}: {row['status']} in {seconds:.1f} s {row['reason']}")
    return pd.DataFrame(rows), studied


def study_scan(studied: Studied, output: Path) -> tuple[dict[str, Any], str]:
    """One scan in its folder of `output`: its report, which is written last, and whether that was
    "done" now or "kept"."""
    scan, wanted, key = studied.scan, studied.wanted, key_of(studied)
    folder = output / scan.name
    content = finished(folder, key)
    if content is not None:
        return content, "kept"
    for finding in studied.findings:
        write.write_finding(folder, scan, finding)
        if wanted.segmentation and scan.headers:
            path = folder / f"{finding.name}.seg.dcm"
            write_segmentation(path, scan, finding, wanted.segmentation, wanted.anonymise)
    slices = write.shown_slices(studied.findings, wanted.sheet_slices)
    sheet = write.contact_sheet(scan, studied.findings, slices, label=wanted.label)
    save_figure(sheet, folder / CONTACT_SHEET)
    plt.close(sheet)
    content = write.report(scan, studied.verdicts, studied.findings, asdict(wanted), key)
    write_json(folder / write.REPORT, content)
    return content, "done"


def key_of(studied: Studied) -> str:
    """What must be the same for a report to be kept: pixels, place, what was noted of them and cut,
    weights, recipes, settings."""
    scan, methods = studied.scan, studied.methods
    recipes = [json.dumps(each.recipe.describe(), sort_keys=True) for each in methods.values()]
    weights = [f"{name} {each.sha256}" for name, each in methods.items()]
    place = [str(scan.affine.round(6).tolist()), str(scan.depth_mm.round(6).tolist())]
    seen = [scan.source.content_hash, *place, *scan.all_notes]
    parts = [*seen, *weights, *recipes, str(studied.wanted)]
    return sha256_lines(parts)


def finished(folder: Path, key: str) -> dict[str, Any] | None:
    """The report in `folder`, if it is of this key."""
    path = folder / write.REPORT
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if content.get("key") == key else None
