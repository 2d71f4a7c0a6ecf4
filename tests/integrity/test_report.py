from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_study.datasets.contract import ScanRef, box_frame
from ich_study.errors import DataError, ParameterError
from ich_study.integrity import (
    CHECKS,
    SEVERITIES,
    Finding,
    check_index,
    check_volume,
    findings_table,
    stop_on_errors,
)
from ich_study.store import build_store
from tests.store.fake_reader import FakeReader, make_scan, write_source


def found(volume, intensity="hu"):
    """(severity, check, slice) of a scan, without the plain notes."""
    return {
        (item.severity, item.check, item.slice_index)
        for item in check_volume(volume, intensity)
        if item.check != "reader-note"
    }


def labelled(name, slice_index, value):
    volume = make_scan(0)
    volume.labels.loc[slice_index, name] = value
    return volume


def box(**changes):
    row = {
        "scan_id": "scan 0",
        "slice_index": 3,
        "x": 12,
        "y": 14,
        "width": 6,
        "height": 4,
        "label": "any",
        **changes,
    }
    return make_scan(0, boxes=box_frame([row]))


def moved_mask(rows, columns):
    mask = np.zeros_like(make_scan(0).mask)
    mask[3, rows, columns] = 1
    return make_scan(0, mask=mask)


def with_hu(change):
    volume = make_scan(0)
    change(volume.hu)
    return volume


def z(*positions):
    return make_scan(0, z_mm=np.array(positions, dtype=float))


REGULAR = list(range(0, 60, 5))


def test_a_good_scan_has_only_its_reader_note():
    assert found(make_scan(0)) == set()
    assert [item.detail for item in check_volume(make_scan(0))] == ["padding set to air"]


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (
            labelled("any", 3, False),
            {
                ("error", "any-is-not-or", 3),
                ("error", "label-denies-mask", 3),
                ("warning", "label-denies-box", 3),
            },
        ),
        (
            labelled("IPH", 3, False),
            {("error", "any-is-not-or", 3), ("error", "label-denies-mask", 3)},
        ),
        (
            labelled("any", 7, True),
            {("error", "any-is-not-or", 7), ("warning", "mask-denies-label", 7)},
        ),
        (labelled("EDH", 3, True), {("warning", "mask-denies-label", 3)}),
        (labelled("IPH", 3, pd.NA), set()),
        (labelled("any", 3, pd.NA), set()),
        (box(x=40), {("error", "box-outside-image", 3)}),
        (box(width=0), {("error", "box-outside-image", 3)}),
        (box(slice_index=12), {("error", "box-outside-image", 12)}),
        (box(x=-0.5), set()),
        (box(y=30), {("warning", "box-outside-image", 3)}),
        (box(slice_index=4), {("warning", "label-denies-box", 4)}),
        (moved_mask(slice(0, 3), slice(0, 8)), {("error", "mask-outside-head", None)}),
        (moved_mask(slice(1, 12), slice(16, 17)), {("warning", "mask-outside-head", None)}),
        (with_hu(lambda hu: hu[2].fill(-1000)), {("warning", "constant-image", 2)}),
        (with_hu(lambda hu: np.clip(hu, -100, None, out=hu)), {("warning", "hu-range", None)}),
        (with_hu(lambda hu: np.clip(hu, None, 100, out=hu)), {("warning", "hu-range", None)}),
        (
            with_hu(lambda hu: np.add(hu, 1024, out=hu)),
            {("warning", "hu-range", None), ("error", "hu-range", None)},
        ),
        (
            z(*REGULAR[:5], *[position + 5 for position in REGULAR[5:]]),
            {("warning", "missing-slices", 4)},
        ),
        (
            z(*REGULAR[:5], REGULAR[4], *REGULAR[5:11]),
            {("warning", "repeated-position", 4), ("note", "irregular-spacing", None)},
        ),
        (
            z(*REGULAR[:5], *[position + 1 for position in REGULAR[5:]]),
            {("note", "irregular-spacing", None)},
        ),
        (z(*REGULAR[::-1]), {("error", "slices-out-of-order", 0)}),
        (z(*REGULAR[:11], np.nan), {("note", "unknown-position", None)}),
        (make_scan(0, thickness_mm=float("nan")), {("note", "unknown-spacing", None)}),
        (make_scan(0, spacing_mm=(5.0, 5.0)), {("warning", "implausible-spacing", None)}),
        (
            make_scan(0, notes=("mask-geometry: mask 0.49 mm, scan 0.50 mm",)),
            {("error", "mask-geometry", None)},
        ),
        (
            make_scan(0, notes=("voxel-size: pixdim says 5 mm, the affine 4 mm",)),
            {("warning", "voxel-size", None)},
        ),
        (
            make_scan(0, notes=("not-finite: 12 voxels set to air",)),
            {("warning", "not-finite", None)},
        ),
        (make_scan(0, notes=("tilt: 18 degrees",)), set()),
    ],
)
def test_each_defect_is_found_and_nothing_else(volume, expected):
    assert found(volume) == expected


def test_unspecified_hemorrhage_contradicts_only_any():
    volume = make_scan(0)
    volume.mask[volume.mask > 0] = 6
    assert found(volume) == set()
    volume.labels.loc[3, ["any", "IPH"]] = False
    assert ("error", "label-denies-mask", 3) in found(volume)
    volume.mask[3, 15, 15] = 7
    assert ("error", "mask-code", None) in found(volume)


def test_few_slices():
    whole = make_scan(0)
    volume = make_scan(
        0,
        hu=whole.hu[:6],
        z_mm=whole.z_mm[:6],
        labels=whole.labels[:6],
        mask=None,
        boxes_known=np.ones(6, bool),
        sources=whole.sources[:6],
    )
    assert found(volume) == {("warning", "too-few-slices", None)}


def test_grey_values_are_not_judged_as_hu():
    volume = with_hu(lambda hu: np.clip(hu, 0, 80, out=hu))
    assert len(found(volume)) == 1
    assert found(volume, "8-bit grey of an unknown window") == set()


def images(*scans):
    """images of scans: (scan_id, patient_id, list of image names); names starting with `=` are
    constant."""
    return pd.DataFrame(
        [
            {
                "dataset": "fake",
                "patient_id": patient,
                "scan_id": scan,
                "slice_index": i,
                "image_hash": name,
                "constant": name.startswith("="),
            }
            for scan, patient, names in scans
            for i, name in enumerate(names)
        ]
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (images(("a", "1", ["p", "q"]), ("b", "2", ["r", "s"])), []),
        (images(("a", "1", ["p", "="]), ("b", "2", ["=", "r"])), []),
        (images(("a", "1", ["=", "="]), ("b", "2", ["=", "="])), []),
        (
            images(("a", "1", ["p", "q"]), ("b", "2", ["p", "q"])),
            [("error", "patient-under-two-names", "a", None)],
        ),
        (
            images(("a", "1", ["p", "q"]), ("b", "1", ["p", "q"])),
            [("warning", "duplicate-scan", "a", None)],
        ),
        (
            images(("a", "1", ["p", "q"]), ("b", "2", ["r", "q"])),
            [("error", "image-in-two-patients", "a", 1)],
        ),
        (
            images(("a", "1", ["p", "q"]), ("b", "1", ["r", "q"])),
            [("warning", "duplicate-image", "a", 1)],
        ),
        (images(("a", "1", ["p", "p"])), [("warning", "duplicate-image", "a", 0)]),
    ],
)
def test_duplicates_across_scans(table, expected):
    report = check_index(table.sample(frac=1, random_state=0))
    slices = [None if pd.isna(index) else index for index in report["slice_index"]]
    assert list(zip(report["severity"], report["check"], report["scan_id"], slices)) == expected


def test_report_of_a_store_finds_the_copied_patient(tmp_path):
    reader = write_source(tmp_path / "source", 3)
    (tmp_path / "source" / "7.npz").write_bytes((tmp_path / "source" / "1.npz").read_bytes())
    store = build_store(reader, tmp_path, workers=1)
    report = check_index(store.images)
    assert report["check"].tolist() == ["patient-under-two-names"]
    assert "scan 7" in report["detail"][0] and "P1, P7" in report["detail"][0]
    assert (store.findings["check"] == "reader-note").sum() == 4


def test_a_scan_without_files_is_an_error(tmp_path):
    class Empty(FakeReader):
        def scans(self):
            return [*super().scans(), ScanRef("fake", "P9", "scan 9", ())]

    reader = Empty(write_source(tmp_path / "source", 1).root)
    with pytest.raises(DataError, match="scan-without-slices"):
        build_store(reader, tmp_path, workers=1)
    store = build_store(reader, tmp_path, workers=1, allow=["scan-without-slices"])
    assert store.findings["check"].tolist() == ["scan-without-slices", "reader-note"]


def test_table_is_worst_first_and_stops_the_run_by_name():
    table = findings_table(
        [
            Finding("note", "unknown-spacing", "d", "s", None, "x"),
            Finding("error", "mask-code", "d", "s", None, "code 9"),
            Finding("warning", "constant-image", "d", "s", 4, "y"),
            Finding("error", "any-is-not-or", "d", "s", 2, "z"),
        ]
    )
    assert table["severity"].tolist() == ["error", "error", "warning", "note"]
    with pytest.raises(
        DataError,
        match=r"2 integrity errors: any-is-not-or \(1\), mask-code \(1\)[\s\S]*d, s, slice 2: z",
    ):
        stop_on_errors(table)
    with pytest.raises(DataError, match="1 integrity errors"):
        stop_on_errors(table, allow=["mask-code"])
    stop_on_errors(table, allow=["mask-code", "any-is-not-or"])
    for wrong in (["mask_code"], "mask-code"):
        with pytest.raises(ParameterError, match="not checks"):
            stop_on_errors(table, allow=wrong)
    assert findings_table([]).empty


def test_every_finding_has_a_documented_check():
    source = "".join(
        path.read_text()
        for path in (Path(__file__).parents[2] / "ich_study").glob("integrity/*.py")
    )
    assert all(source.count(f'"{name}"') >= 1 for name in CHECKS) and SEVERITIES == (
        "error",
        "warning",
        "note",
    )
