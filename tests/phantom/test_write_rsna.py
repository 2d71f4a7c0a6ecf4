from __future__ import annotations

import hashlib
import re
import warnings

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich_study.datasets.rsna import KNOWN_CORRUPT, RsnaReader
from ich_study.phantom.dicom_slices import field_of_view
from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_rsna import (
    SIGNED,
    UNSIGNED,
    VISIBLE_MM2,
    WRAPPED,
    family,
    rsna_patient_id,
    rsna_series_id,
    write_rsna,
)
from tests.phantom.fake_scans import fake_scan

ELEMENTS = {
    "SOPInstanceUID",
    "Modality",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "WindowCenter",
    "WindowWidth",
    "RescaleIntercept",
    "RescaleSlope",
    "PixelData",
}


def seed_of(storage) -> int:
    return next(seed for seed in range(1000) if family(seed)[0] is storage)


def tree_hash(folder) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def headers(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            (path, pydicom.dcmread(path)) for path in sorted(folder.glob("stage_2_train/*.dcm"))
        ]


def test_same_scans_same_bytes(tmp_path):
    for name in "ab":
        write_rsna(tmp_path / name, (fake_scan(seed) for seed in range(3)))
    write_rsna(tmp_path / "c", (fake_scan(seed) for seed in range(1, 4)))
    assert tree_hash(tmp_path / "a") == tree_hash(tmp_path / "b") != tree_hash(tmp_path / "c")


@pytest.mark.parametrize("storage", [SIGNED, UNSIGNED, WRAPPED])
def test_header_family(tmp_path, storage):
    scan = fake_scan(seed_of(storage), tilt=14.5)
    write_rsna(tmp_path, [scan])
    files = [
        (path, dataset) for path, dataset in headers(tmp_path) if path.stem != KNOWN_CORRUPT[0]
    ]
    assert len(files) == 6
    for path, dataset in files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert {element.keyword for element in dataset} == ELEMENTS
        assert dataset.file_meta.TransferSyntaxUID.is_implicit_VR == (storage is not SIGNED)
        assert re.fullmatch(r"ID_[0-9a-f]{9}", path.stem) and path.stem == dataset.SOPInstanceUID
        np.testing.assert_allclose(
            [float(v) for v in dataset.ImageOrientationPatient],
            [1, 0, 0, 0, 0.968148, -0.25038],
            atol=1e-5,
        )
        stored = dataset.pixel_array
        if storage is SIGNED:
            assert (dataset.BitsStored, dataset.PixelRepresentation, dataset.RescaleIntercept) == (
                16,
                1,
                -1024,
            )
            assert stored[0, 0] == -2000 and dataset.WindowCenter == 30
        else:
            assert (dataset.BitsStored, dataset.PixelRepresentation) == (
                12,
                0,
            ) and stored.max() < 4096
            assert [value.original_string for value in dataset.WindowCenter] == ["00036", "00036"]
            assert dataset.RescaleIntercept == (0 if storage is WRAPPED else -1024)
    reader = RsnaReader(tmp_path)
    inside = field_of_view(64, 64)
    np.testing.assert_array_equal(reader.load(reader.scans()[0]).hu[:, inside], scan.hu[:, inside])


def test_identifiers(tmp_path):
    written = write_rsna(tmp_path, [fake_scan(4), fake_scan(5)])
    assert written == [
        {"patient_id": rsna_patient_id(seed), "scan_id": rsna_series_id(seed)} for seed in (4, 5)
    ]
    assert re.fullmatch(r"ID_[0-9a-f]{8}", rsna_patient_id(4)) and re.fullmatch(
        r"ID_[0-9a-f]{10}", rsna_series_id(4)
    )
    found = {(ref.patient_id, ref.scan_id) for ref in RsnaReader(tmp_path).scans()}
    assert found == {(row["patient_id"], row["scan_id"]) for row in written}


def test_labels_and_defects(tmp_path):
    write_rsna(tmp_path, [fake_scan(6), fake_scan(7, positive=False)])
    table = pd.read_csv(tmp_path / "stage_2_train.csv")
    assert len(table) == (12 + 1 + 4) * 6 and table.duplicated().sum() == 24
    assert (table["ID"].str.startswith(KNOWN_CORRUPT[0]).sum()) == 6
    corrupt = {path.stem: dataset for path, dataset in headers(tmp_path)}[KNOWN_CORRUPT[0]]
    with pytest.raises(ValueError, match="less than expected"):
        _ = corrupt.pixel_array
    order = [dataset.ImagePositionPatient[2] for path, dataset in headers(tmp_path)]
    assert order != sorted(order)


def test_the_simulated_reader_does_not_label_specks():
    mask = np.zeros((2, 64, 64), np.uint8)
    mask[0, :3, :3], mask[1, :10, :10] = 4, 4
    scan = PhantomScan(np.zeros(mask.shape, np.int16), mask, np.arange(2) * 5.0, 1.0, 5.0, 0.0, 1)
    assert scan.slice_labels()["SDH"].tolist() == [True, True]
    assert scan.slice_labels(VISIBLE_MM2)["SDH"].tolist() == [False, True]
    assert scan.slice_labels(VISIBLE_MM2)["any"].tolist() == [False, True]
