"""What a DICOM slice says against being HU of a head CT, in the files of every DICOM reader."""

import os
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ich_study.datasets import dicom_headers
from ich_study.datasets.dicom_headers import open_dicom, read_headers
from ich_study.datasets.dicom_series import read_series
from ich_study.errors import DataError
from ich_study.integrity.scan import note_findings
from ich_study.new_scan.read import check_head, read_dicom
from tests.datasets.dicom_files import real, write_series
from tests.phantom.fake_scans import fake_scan

SCAN = fake_scan(3, slices=12)


def errors(series):
    return {
        finding.check: finding.detail
        for finding in note_findings(series.notes, "d", "s")
        if finding.severity == "error"
    }


HEADERS = [
    ("not-ct", {"Modality": "MR"}),
    ("not-ct", {"Modality": "PT"}),
    ("not-hu", {"RescaleType": "Z_EFF"}),
    ("not-hu", {"RescaleType": "US"}),
    ("burned-in", {"BurnedInAnnotation": "YES"}),
    ("rescale", {"RescaleSlope": "-1"}),
    ("rescale", {"RescaleSlope": "1e30"}),
    ("rescale", {"RescaleIntercept": "1e9"}),
    ("bits-stored", {"BitsStored": 8}),
]


@pytest.mark.parametrize(("check", "elements"), HEADERS)
def test_a_header_that_denies_hu_is_an_error_by_name_and_stops_a_scan_of_ones_own(
    tmp_path, check, elements
):
    paths = write_series(tmp_path, SCAN, **elements)
    assert errors(read_series(paths))[check].startswith("12 of 12 slices")
    own = read_dicom(tuple(paths), "anon")
    with pytest.raises(DataError, match=check):
        check_head(own)
    others = ["clipped", "rescale", "bits-stored"]
    with pytest.raises(DataError, match=r"no head|no HU"):  # it goes on to the pixels
        check_head(own, allow=[check, *others])


@pytest.mark.parametrize(
    "elements",
    [{"Modality": "CT", "RescaleType": "HU", "BurnedInAnnotation": "NO"}, {"RescaleSlope": "0.5"}],
)
def test_a_ct_in_hu_has_no_error(tmp_path, elements):
    assert errors(read_series(write_series(tmp_path, SCAN, **elements))) == {}


def test_free_text_of_a_header_never_reaches_a_finding(tmp_path):
    paths = write_series(tmp_path, SCAN, RescaleType="HU of Jane Doe")
    assert "Jane" not in errors(read_series(paths))["not-hu"]


def test_bits_that_the_header_denies_are_counted(tmp_path):
    """Fewer bits than the pixels use, with a HighBit that fits: only the pixels tell."""
    whole = read_series(write_series(tmp_path / "a", SCAN)).hu
    cut = read_series(write_series(tmp_path / "b", SCAN, BitsStored=12, HighBit=11))
    assert (cut.hu != whole).any()
    assert "above the 12 of BitsStored" in errors(cut)["bits-stored"]
    same = read_series(write_series(tmp_path / "c", SCAN, BitsStored=14, HighBit=13))
    np.testing.assert_array_equal(same.hu, whole)
    assert errors(same) == {}


def test_values_beyond_int16_are_counted(tmp_path):
    paths = write_series(tmp_path, SCAN)
    dataset = pydicom.dcmread(paths[0])
    values = dataset.pixel_array.astype("<u2")
    values[0, :3] = 65535
    dataset.PixelData, dataset.PixelRepresentation = values.tobytes(), 0
    dataset.save_as(paths[0])
    detail = errors(read_series(paths))["clipped"]
    assert detail == "1 of 12 slices, such as: 3 pixels above 32767 HU became 32767"


def test_one_uid_at_two_places_is_refused_and_an_identical_copy_dropped(tmp_path):
    paths = write_series(tmp_path, SCAN)
    (tmp_path / "z_copy.dcm").write_bytes(paths[0].read_bytes())
    series = read_series([*paths, tmp_path / "z_copy.dcm"])
    assert len(series.hu) == 12
    dataset = pydicom.dcmread(paths[1])
    dataset.SOPInstanceUID = pydicom.dcmread(paths[0], stop_before_pixels=True).SOPInstanceUID
    dataset.save_as(paths[1])
    with pytest.raises(DataError, match="share one SOPInstanceUID"):
        read_series(paths)


def test_sequences_nested_without_end_are_damage(tmp_path):
    (path, *_) = write_series(tmp_path, SCAN)
    dataset = pydicom.dcmread(path)
    inner = b""
    for _ in range(3000):  # (0040,A730) of undefined length, one item in it
        inner = (
            b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
            + inner
            + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
        )
    del dataset.PixelData
    dataset.save_as(path)
    path.write_bytes(path.read_bytes() + inner)
    with pytest.raises(DataError, match=path.name):
        read_series([path])
    with pytest.raises(DataError, match=path.name):
        read_headers([path])


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.dcm")
    with pytest.raises(DataError, match=r"x\.dcm: is a folder, pipe or device"):
        read_headers([tmp_path / "x.dcm"])
    with pytest.raises(DataError, match="pipe"):
        read_series([tmp_path / "x.dcm"])


def deflated(path, dataset, zeros):
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    if zeros:
        content = path.read_bytes()
        start = 144 + int(read_file_meta_info(path).FileMetaInformationGroupLength)
        whole = zlib.decompress(content[start:], -zlib.MAX_WBITS) + bytes(zeros)
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        path.write_bytes(content[:start] + packer.compress(whole) + packer.flush())
    return path


def test_a_deflated_file_is_unpacked_as_far_as_it_may_go(tmp_path, monkeypatch):
    (path, *_) = write_series(tmp_path, SCAN)
    expected = read_series([path]).hu
    dataset = pydicom.dcmread(path)
    np.testing.assert_array_equal(read_series([deflated(path, dataset, 0)]).hu, expected)
    monkeypatch.setattr(dicom_headers, "_LARGEST_SLICE", 2**20)
    bomb = deflated(path, dataset, 2**24)
    assert bomb.stat().st_size < 2**16
    with pytest.raises(DataError, match="expected at most 1 MiB"):
        open_dicom(bomb)
    with pytest.raises(DataError, match="expected at most 1 MiB"):
        read_headers([bomb])


def test_a_picture_of_65535_rows_takes_no_memory(tmp_path):
    paths = write_series(tmp_path, SCAN, Rows=65535, Columns=65535)
    with pytest.raises(DataError, match="Rows and Columns are 65535 and 65535"):
        read_series(paths)


@pytest.mark.parametrize("name", ["ge_head_dicom", "cq500"])
def test_real_series_have_no_error(name):
    files = sorted(real(name).glob("*.dcm"))
    series = read_series(files)
    assert errors(series) == {} and len(series.hu) == len(files)
