from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest

from ich_study.errors import DataError, ParameterError
from ich_study.new_scan.apply import apply_method
from ich_study.new_scan.dicom_seg import pseudonymous_uid, write_segmentation
from ich_study.new_scan.read import read_dicom
from ich_study.new_scan.write import RESEARCH_USE
from tests.new_scan.heads import IDENTITY, head, positions, write_series
from tests.new_scan.methods import bright


@pytest.fixture(params=[False, True], ids=["upright", "flipped"])
def series(tmp_path, request):
    paths = write_series(tmp_path / "in", head()[0], tilt_degrees=18, flipped=request.param)
    return paths, read_dicom(tuple(paths), "anon-1")


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_every_frame_lies_on_its_source_slice_and_marks_its_pixels(series, tmp_path, kind):
    paths, scan = series
    assert write_segmentation(tmp_path / "a.dcm", scan, apply_method("b", bright(), scan), kind)
    read = hd.seg.segread(tmp_path / "a.dcm")
    # the oracle: 70 HU in the stored pixels of each file of the series
    expected, places = {}, positions(paths)
    for path in paths:
        image = pydicom.dcmread(path)
        expected[str(image.SOPInstanceUID)] = image.pixel_array - 1024 == 70
    uids = list(expected)
    pixels = read.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    for uid, frame in zip(uids, pixels):
        assert np.array_equal(frame > 0, expected[uid])
    for frame in read.PerFrameFunctionalGroupsSequence:
        derived = frame.DerivationImageSequence[0].SourceImageSequence[0]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(position, places[str(derived.ReferencedSOPInstanceUID)], atol=1e-4)
    first = pydicom.dcmread(paths[0])
    assert read.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert read.StudyInstanceUID == first.StudyInstanceUID and read.PatientID == first.PatientID
    shared = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert np.allclose(shared.PixelSpacing, first.PixelSpacing)


def test_a_segment_says_what_made_it_and_that_it_is_for_research(series, tmp_path):
    _, scan = series
    finding = apply_method("b", bright("toy", ("SAH",)), scan)
    write_segmentation(tmp_path / "a.dcm", scan, finding)
    (segment,) = hd.seg.segread(tmp_path / "a.dcm").SegmentSequence
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("50960005", "SCT")
    assert segment.AnatomicRegionSequence[0].CodeValue == "33930006"
    assert segment.SegmentLabel == "Subarachnoid hemorrhage"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    shown = hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
    assert shown == pytest.approx((0x8E, 0x2F, 0xF0), abs=2), "the violet of SAH in every figure"
    identified = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert "ab" * 32 in identified.AlgorithmParameters and "research" in identified.AlgorithmSource
    assert pydicom.dcmread(tmp_path / "a.dcm").SeriesDescription in RESEARCH_USE


def test_anonymised_it_holds_no_identity_and_no_identifier_of_the_study(series, tmp_path):
    paths, scan = series
    write_segmentation(tmp_path / "a.dcm", scan, apply_method("b", bright(), scan), anonymise=True)
    written, first = (tmp_path / "a.dcm").read_bytes(), pydicom.dcmread(paths[0])
    hidden = [value for value in IDENTITY.values() if len(value) > 3]
    hidden += [str(first.StudyInstanceUID), str(first.SeriesInstanceUID)]
    hidden += [str(first.FrameOfReferenceUID), *positions(paths), "STUDY-31415"]
    assert [value for value in hidden if value.encode() in written] == []
    read = pydicom.dcmread(tmp_path / "a.dcm")
    assert read.PatientID == "anon-1"
    assert read.StudyInstanceUID == pseudonymous_uid(first.StudyInstanceUID)


def test_nothing_marked_writes_nothing_and_a_scan_without_a_series_is_refused(series, tmp_path):
    _, scan = series
    finding = apply_method("b", bright(), scan)
    finding.mask[:] = 0
    assert not write_segmentation(tmp_path / "a.dcm", scan, finding)
    assert not (tmp_path / "a.dcm").exists()
    with pytest.raises(ParameterError, match="binary, labelmap"):
        write_segmentation(tmp_path / "a.dcm", scan, finding, "fractional")
    bare = replace(scan, headers=())
    with pytest.raises(DataError, match="no DICOM series"):
        write_segmentation(tmp_path / "a.dcm", bare, finding)
