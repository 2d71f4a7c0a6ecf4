from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ich_study.datasets import dicom_series
from ich_study.datasets.dicom_headers import (
    dataset_fields,
    dicom_files,
    open_dicom,
    parse_slice,
    read_headers,
)
from ich_study.datasets.dicom_series import parsed_pixels, read_series
from tests.datasets.dicom_files import real, write_series
from tests.phantom.fake_scans import fake_scan


def test_headers_in_processes_equal_headers_in_one(tmp_path, monkeypatch):
    write_series(tmp_path, fake_scan(16))
    files = dicom_files(tmp_path)
    alone, _ = read_headers(files)
    monkeypatch.setattr("ich_study.datasets.dicom_headers._FEW_FILES", 2)
    together, _ = read_headers(files)
    assert together == alone


def assert_parsed_as_pydicom(path: Path) -> None:
    content, dataset = path.read_bytes(), pydicom.dcmread(path)
    parsed = parse_slice(content)
    assert parsed == parse_slice(content[:8192])
    expected = dataset_fields(open_dicom(path, pixels=False))
    for padding in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        assert int(parsed.fields.pop(padding, 0)) % 2**16 == int(expected.pop(padding, 0)) % 2**16
    assert parsed.fields == expected
    stored = parsed_pixels(content, parsed)
    assert stored.dtype == dataset.pixel_array.dtype
    np.testing.assert_array_equal(stored, dataset.pixel_array)


def rewritten(path: Path, syntax: str, padding: tuple[str, int] | None = None, **elements) -> None:
    dataset = pydicom.dcmread(path)
    if padding is not None:
        dataset.add_new("PixelPaddingValue", *padding)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset["PixelData"].value = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    pydicom.dcmwrite(
        path,
        dataset,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits", [12, 16])
def test_parsed_files_are_what_pydicom_reads(tmp_path, syntax, signed, bits):
    noise = np.random.default_rng(bits + signed).integers(0, 2**16, (64, 64), dtype=np.uint16)
    for path in write_series(tmp_path, fake_scan(18, slices=3)):
        rewritten(
            path,
            syntax,
            BitsStored=bits,
            HighBit=bits - 1,
            PixelRepresentation=signed,
            PixelData=noise.tobytes(),
            padding=("SS", -2000) if signed else ("US", 63536),
        )
        assert_parsed_as_pydicom(path)


@pytest.mark.parametrize("name", ["ge_head_dicom", "cq500"])
def test_parsed_real_files_are_what_pydicom_reads(name):
    for path in sorted(real(name).glob("*.dcm")):
        assert_parsed_as_pydicom(path)


def whole(path: Path) -> None:
    """Leaves the file as it is."""


def with_open_sequence(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.RequestAttributesSequence = [pydicom.Dataset()]
    dataset["RequestAttributesSequence"].is_undefined_length = True
    dataset.save_as(path)


def surplus(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PixelData += b"\0\0"
    dataset.save_as(path)


def deflated(path: Path) -> None:
    rewritten(path, DeflatedExplicitVRLittleEndian)


def big_endian(path: Path) -> None:
    rewritten(path, ExplicitVRBigEndian)


def implicit(path: Path) -> None:
    rewritten(path, ImplicitVRLittleEndian)


def eight_bit(path: Path) -> None:
    rewritten(
        path,
        ExplicitVRLittleEndian,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=b"\7" * 64 * 64,
    )


@pytest.mark.parametrize(
    "change", [whole, with_open_sequence, surplus, deflated, big_endian, implicit, eight_bit]
)
def test_series_is_the_same_whoever_parses_it(tmp_path, monkeypatch, change):
    paths = write_series(tmp_path, fake_scan(19))
    for path in paths:
        change(path)
    headers, _ = read_headers(paths)
    series = read_series(paths)
    monkeypatch.setattr(dicom_series, "parse_slice", lambda content: None)
    monkeypatch.setattr("ich_study.datasets.dicom_headers.parse_slice", lambda content: None)
    by_pydicom = read_series(paths)
    np.testing.assert_array_equal(series.hu, by_pydicom.hu)
    assert series.hu.min() < series.hu.max() or change is eight_bit
    assert (
        series.stack.headers == by_pydicom.stack.headers
        and series.notes == by_pydicom.notes
        and read_headers(paths)[0] == headers
    )
