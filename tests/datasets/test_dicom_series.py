from __future__ import annotations

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut

from ich_study.datasets import dicom_series
from ich_study.datasets.dicom_headers import dicom_files, read_headers
from ich_study.datasets.dicom_series import read_series
from ich_study.datasets.slice_geometry import InPlane, group_series, missing_gaps
from ich_study.errors import DataError, ParameterError
from tests.datasets.dicom_files import real, write_series
from tests.phantom.fake_scans import fake_scan


@pytest.mark.parametrize("tilt", [0.0, 18.5, -9.0])
def test_round_trip_orders_slices_and_reports_tilt(tmp_path, tilt):
    scan = fake_scan(1, columns=48, tilt=tilt)
    series = read_series(write_series(tmp_path, scan))
    np.testing.assert_array_equal(series.hu, scan.hu)
    np.testing.assert_allclose(series.stack.z_mm, scan.plane_mm, atol=1e-5)
    assert series.stack.tilt_degrees == pytest.approx(tilt, abs=1e-3)
    assert series.stack.spacing_mm == (0.5, 0.5)
    assert any("gantry tilt" in note for note in series.notes) == (tilt != 0)


@pytest.mark.parametrize(
    ("orientation", "in_plane"),
    [
        ((1, 0, 0, 0, 1, 0), InPlane()),
        ((-1, 0, 0, 0, 1, 0), InPlane(flip_columns=True)),
        ((1, 0, 0, 0, -1, 0), InPlane(flip_rows=True)),
        ((-1, 0, 0, 0, -1, 0), InPlane(flip_rows=True, flip_columns=True)),
        ((0, 1, 0, 1, 0, 0), InPlane(transpose=True)),
        ((0, -1, 0, 1, 0, 0), InPlane(transpose=True, flip_rows=True)),
    ],
)
def test_any_axial_orientation_is_turned_to_the_contract(tmp_path, orientation, in_plane):
    scan = fake_scan(2, rows=40, columns=32)
    paths = write_series(
        tmp_path,
        scan,
        ImageOrientationPatient=[str(value) for value in orientation],
        PixelSpacing=["0.4", "0.6"],
    )
    series = read_series(paths)
    assert series.stack.in_plane == in_plane
    expected = scan.hu.transpose(0, 2, 1) if in_plane.transpose else scan.hu
    expected = expected[
        :, :: -1 if in_plane.flip_rows else 1, :: -1 if in_plane.flip_columns else 1
    ]
    np.testing.assert_array_equal(series.hu, expected)
    assert series.stack.spacing_mm == ((0.4, 0.6) if in_plane.transpose else (0.6, 0.4))


@pytest.mark.parametrize(
    "in_plane",
    [InPlane(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)],
)
def test_boxes_turn_with_the_image(in_plane):
    stored = np.zeros((20, 30), bool)
    stored[4:9, 11:25] = True
    image = in_plane.image(stored)
    x, y, width, height = in_plane.box(11, 4, 14, 5, image.shape)
    drawn = np.zeros_like(image)
    drawn[int(y) : int(y + height), int(x) : int(x + width)] = True
    np.testing.assert_array_equal(image, drawn)


def test_not_axial_is_refused(tmp_path):
    paths = write_series(
        tmp_path, fake_scan(3), ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"]
    )
    with pytest.raises(DataError, match="not that of an axial slice"):
        read_series(paths)


def test_missing_slice_is_noted(tmp_path):
    series = read_series(write_series(tmp_path, fake_scan(4, slices=9), skip=(4,)))
    assert len(series.hu) == 8
    assert any(
        note.startswith("missing-slices: 1 gaps") and "10.00 mm after slice 3" in note
        for note in series.notes
    )


def test_a_change_of_slice_distance_is_no_gap():
    assert missing_gaps(np.array([4.0] * 12 + [7.0] * 12)).size == 0
    np.testing.assert_array_equal(missing_gaps(np.array([5.0, 5, 5, 10, 5, 5])), [3])


def test_identical_copies_are_dropped(tmp_path):
    scan = fake_scan(5)
    first = write_series(tmp_path, scan, name="a")
    second = write_series(tmp_path, scan, name="b")
    series = read_series(second + first)
    np.testing.assert_array_equal(series.hu, scan.hu)
    assert "6 identical copies of slices dropped" in series.notes
    assert {item.path for copies in series.copies for item in copies} == set(second)
    for kept, copies in zip(series.stack.headers, series.copies):
        assert [item.position_mm for item in copies] == [kept.position_mm]
    assert not any(series.beside)


def test_different_images_at_one_position_are_refused_unless_allowed(tmp_path):
    scan = fake_scan(5)
    first = write_series(tmp_path, scan, name="a")
    second = write_series(tmp_path, replace(scan, hu=scan.hu[::-1].copy()), name="b")
    with pytest.raises(DataError, match=r"b\d\.dcm and .*a\d\.dcm are different images at one"):
        read_series(second + first)
    series = read_series(second + first, same_position="first")
    np.testing.assert_array_equal(series.hu, scan.hu)
    assert any(note.startswith("repeated-position: 6 other images") for note in series.notes)
    assert {item.path for others in series.beside for item in others} == set(second)
    assert not any(series.copies)
    with pytest.raises(ParameterError, match="same_position"):
        read_series(first, same_position="last")


def test_slices_without_a_position_of_their_own_are_refused(tmp_path):
    paths = write_series(tmp_path, fake_scan(5), ImagePositionPatient=["0", "0", "0"])
    with pytest.raises(DataError, match="different images at one position"):
        read_series(paths)


def test_plain_and_contrast_in_one_series_are_not_one_volume(tmp_path):
    plain = fake_scan(5)
    enhanced = replace(plain, hu=np.clip(plain.hu + 100, None, 3000).astype(np.int16))
    paths = write_series(tmp_path, enhanced, name="a", AcquisitionNumber="12")
    paths += write_series(tmp_path, plain, name="b", AcquisitionNumber="2")
    with pytest.raises(DataError, match=r"2 stacks of slices: .*acquisition 2.*acquisition 12"):
        read_series(paths)
    longer = replace(
        plain, hu=np.concatenate([plain.hu, plain.hu]), z_mm=np.arange(12) * 5 + plain.z_mm[0]
    )
    paths += write_series(tmp_path, longer, name="c", AcquisitionNumber="3", skip=range(6))
    series = read_series(paths, mixed="largest")
    np.testing.assert_array_equal(series.hu, longer.hu)
    assert [len(others) for others in series.beside] == [1] * 6 + [0] * 6


def test_two_series_in_one_folder(tmp_path):
    one = write_series(tmp_path, fake_scan(6), series="1.2.3", name="a")
    two = write_series(tmp_path, fake_scan(7), series="1.2.4", name="b")
    headers, _ = read_headers(dicom_files(tmp_path))
    assert [len(items) for items in group_series(headers).values()] == [6, 6]
    with pytest.raises(DataError, match="hold 2 series"):
        read_series(one + two)


@pytest.mark.parametrize("change", [{"rows": 40}, {"tilt": 5.0}])
def test_mixed_geometry_in_one_series_names_files(tmp_path, change):
    many, few = (
        write_series(tmp_path, fake_scan(8), name="a"),
        write_series(tmp_path, fake_scan(8, slices=3, **change), name="b"),
    )
    with pytest.raises(DataError, match=r"6 of 64 x 64.*a0\.dcm; 3 of .*b0\.dcm"):
        read_series(many + few)
    series = read_series(many + few, mixed="largest")
    assert series.hu.shape == (6, 64, 64) and any(
        note.startswith("several-stacks: the largest of 2") for note in series.notes
    )
    with pytest.raises(ParameterError, match="mixed"):
        read_series(many, mixed="any")


@pytest.mark.parametrize("keep", [0, 100, 140, 700, 3000, -2])
def test_truncated_file_is_named_or_skipped(tmp_path, keep):
    paths = write_series(tmp_path, fake_scan(9))
    paths[2].write_bytes(paths[2].read_bytes()[:keep])
    with pytest.raises(DataError, match=paths[2].name):
        read_series(paths)
    series = read_series(paths, skip_bad=True)
    assert len(series.hu) == 5 and any("skipped" in note for note in series.notes)


def test_every_truncation_is_found(tmp_path):
    paths = write_series(tmp_path, fake_scan(10, slices=2, rows=8, columns=8, positive=False))
    whole = paths[0].read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keep in range(0, len(whole), 7):
            paths[0].write_bytes(whole[:keep])
            with pytest.raises(DataError, match=paths[0].name):
                read_series(paths)


@pytest.mark.parametrize(
    "missing",
    ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept", "Rows"],
)
def test_missing_element_names_the_file(tmp_path, missing):
    paths = write_series(tmp_path, fake_scan(11), **{missing: None})
    with pytest.raises(DataError, match=r"s\d\.dcm"):
        read_series(paths)


def test_localizer_is_set_aside(tmp_path):
    paths = write_series(tmp_path, fake_scan(12), name="a")
    one = fake_scan(13, slices=1, rows=90, positive=False)
    scout = write_series(tmp_path, one, name="b", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series = read_series(scout + paths)
    assert series.hu.shape == (6, 64, 64) and "1 localizer images set aside" in series.notes


def test_missing_decoder_says_what_to_install(tmp_path, monkeypatch):
    paths = write_series(tmp_path, fake_scan(14))
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
        dataset["PixelData"].is_undefined_length = True
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset.save_as(path)
    monkeypatch.setattr(dicom_series, "_decodable", lambda syntax: False)
    with pytest.raises(DataError, match="install one with `python -m pip install python-gdcm`"):
        read_series(paths, skip_bad=True)


def test_folder_without_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="no DICOM file"):
        dicom_files(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        dicom_files(tmp_path / "absent")


def brain_median(slice_hu: np.ndarray) -> float:
    rows, columns = slice_hu.shape
    middle = slice_hu[rows // 3 : 2 * rows // 3, columns // 3 : 2 * columns // 3]
    return float(np.median(middle[(middle > -20) & (middle < 100)]))


def test_real_ge_head(tmp_path):
    folder = real("ge_head_dicom")
    files = sorted(folder.glob("*.dcm"))
    series = read_series(files[::-1])
    assert series.hu.shape == (28, 512, 512)
    assert series.stack.tilt_degrees == pytest.approx(18.5, abs=0.05)
    assert (np.diff(series.stack.z_mm) > 0).all() and series.hu.min() == -1024
    assert 20 <= brain_median(series.hu[18]) <= 45
    assert np.median(series.hu[:, :20, 226:286]) == pytest.approx(-1000, abs=40)
    assert any(note.startswith("irregular-spacing: 1.08 to 7.00 mm") for note in series.notes)
    assert not any(note.startswith("missing-slices") for note in series.notes)
    for header, hu in zip(series.stack.headers, series.hu):
        dataset = pydicom.dcmread(header.path)
        np.testing.assert_array_equal(
            hu, np.maximum(apply_modality_lut(dataset.pixel_array, dataset), -1024)
        )


def test_real_cq500_jpeg_lossless():
    gdcm = pytest.importorskip("gdcm")
    folder = real("cq500")
    files = sorted(folder.glob("*.dcm"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series = read_series(files)
    assert series.hu.shape == (51, 512, 512) and series.stack.thickness_mm == 0.625
    assert series.stack.tilt_degrees == pytest.approx(8.5, abs=0.05)
    assert any(note.startswith("missing-slices") for note in series.notes)
    assert 20 <= brain_median(series.hu[3]) <= 45
    reader = gdcm.ImageReader()
    reader.SetFileName(str(series.stack.headers[25].path))
    assert reader.Read()
    stored = np.frombuffer(
        reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape"), "<i2"
    ).reshape(512, 512)
    np.testing.assert_array_equal(series.hu[25], np.maximum(stored.astype(int) - 1024, -1024))


def test_real_orientation_nose_is_on_top(tmp_path):
    """The GE head: at the orbits, air of the sinuses lies in front of the middle, the table behind
    the head."""
    series = read_series(sorted(real("ge_head_dicom").glob("*.dcm")))
    base = series.hu[7]
    head = np.argwhere(base > -300)
    sinuses = np.argwhere((base < -400)[120:400, 180:330]) + np.array([120, 180])
    assert sinuses[:, 0].mean() < head[:, 0].mean()
    assert (series.hu[-4][400:] > 0).sum() > (series.hu[-4][:110] > 0).sum()


def test_foreign_file_among_slices(tmp_path):
    paths = write_series(tmp_path, fake_scan(17))
    shutil.copyfile(__file__, tmp_path / "x.dcm")
    with pytest.raises(DataError, match=r"x\.dcm"):
        read_series([*paths, tmp_path / "x.dcm"])
    headers, rejected = read_headers(dicom_files(tmp_path), skip_bad=True)
    assert len(headers) == 6 and [item.kind for item in rejected] == ["damaged"]
