import numpy as np
import pytest

from ich_study.errors import DataError
from ich_study.new_scan.find import choose_series, find_studies
from tests.new_scan.heads import IDENTITY, head, write_series


def verdicts_of(folder) -> dict[str, str]:
    """Verdict by what is said of the number of slices."""
    (candidates,) = find_studies(folder).values()
    _, table = choose_series(candidates)
    return {row.described.split(" ")[0]: row.verdict for row in table.itertuples()}


def test_of_a_study_the_axial_head_series_is_taken_and_every_other_has_a_reason(tmp_path):
    hu, _ = head(20)
    spaced = {"z_mm": 5.0 * np.arange(20)}
    write_series(tmp_path / "a", hu, uid="axial", **spaced)
    write_series(
        tmp_path / "b", hu[:19], uid="sharp", ConvolutionKernel="H70f", z_mm=5.0 * np.arange(19)
    )
    write_series(
        tmp_path / "c",
        hu[:18],
        uid="contrast",
        ContrastBolusAgent="Iomeron",
        z_mm=5.0 * np.arange(18),
    )
    write_series(tmp_path / "d", hu[:17], uid="mr", Modality="MR")
    write_series(tmp_path / "e", hu[:16], uid="chest", BodyPartExamined="CHEST")
    write_series(tmp_path / "f", hu[:15], uid="units", RescaleType="US")
    write_series(
        tmp_path / "g",
        hu[:14],
        uid="sagittal",
        ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"],
    )
    write_series(
        tmp_path / "h", hu[:3], uid="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    write_series(tmp_path / "i", hu[:7], uid="few")
    found = verdicts_of(tmp_path)
    assert found["20"] == "taken"
    assert "comes first" in found["19"] and "comes first" in found["18"]
    assert "modality is MR" in found["17"] and "body part is CHEST" in found["16"]
    assert "values are US" in found["15"] and "not axial" in found["14"]
    assert "at least 8" in found["7"] and "3" not in found  # a localizer is no series of slices


def test_a_series_that_is_no_head_gives_way_to_the_next(tmp_path):
    hu, _ = head(20)
    windowed = np.clip(hu, 0, 80)
    write_series(tmp_path / "a", windowed, uid="windowed", z_mm=5.0 * np.arange(20))
    write_series(tmp_path / "b", hu[:19], uid="thin", z_mm=2.0 * np.arange(19))
    found = verdicts_of(tmp_path)
    assert "windowed, cropped or no HU" in found["20"] and found["19"] == "taken"


def test_thick_slices_come_before_thin_ones_of_the_same_head(tmp_path):
    hu, _ = head(21)
    write_series(tmp_path / "a", hu, uid="thin", z_mm=2.5 * np.arange(21))
    write_series(tmp_path / "b", hu[:11], uid="thick", z_mm=5.0 * np.arange(11))
    assert verdicts_of(tmp_path)["11"] == "taken"


def test_without_any_head_all_reasons_are_listed_and_no_identity(tmp_path):
    write_series(tmp_path / "a", head()[0], uid="a", Modality="MR")
    write_series(tmp_path / "b", head()[0], uid="b", BodyPartExamined="LEG")
    (candidates,) = find_studies(tmp_path).values()
    with pytest.raises(DataError) as caught:
        choose_series(candidates)
    text = str(caught.value)
    assert "MR" in text and "LEG" in text
    assert not any(value in text for value in IDENTITY.values() if len(value) > 3)


def test_a_damaged_file_stops_unless_it_may_be_left_out(tmp_path):
    paths = write_series(tmp_path, head()[0])
    paths[-1].write_bytes(paths[-1].read_bytes()[:400])
    with pytest.raises(DataError, match="allow_bad"):
        find_studies(tmp_path)
    (candidates,) = find_studies(tmp_path, allow_bad=True).values()
    scan, _ = choose_series(candidates)
    assert len(scan.hu) == 11 and any("damaged" in note for note in scan.notes)


def test_studies_are_told_apart(tmp_path):
    write_series(tmp_path / "a", head()[0], uid="a")
    write_series(tmp_path / "b", head()[0], uid="b", StudyInstanceUID="1.2.3.4")
    assert len(find_studies(tmp_path)) == 2
    with pytest.raises(DataError, match="no folder"):
        find_studies(tmp_path / "absent")
