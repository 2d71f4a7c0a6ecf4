import json

import nibabel
import numpy as np
import pandas as pd
import pytest

from ich_study.errors import DataError
from ich_study.new_scan import batch, write
from tests.new_scan.heads import head, write_series
from tests.new_scan.methods import bright


@pytest.fixture
def scans(tmp_path):
    """Three studies and a table of them: a head, a head in the other hand, and no head."""
    hu, _ = head()
    write_series(tmp_path / "one", hu, tilt_degrees=10)
    write_series(tmp_path / "two", hu[:, :, ::-1], StudyInstanceUID="1.2.3", uid="two")
    write_series(tmp_path / "three", np.clip(hu, 0, 80), StudyInstanceUID="1.2.4", uid="three")
    table = pd.DataFrame({"scan": ["one", "three", "two"]})
    table.to_csv(tmp_path / "scans.csv", index=False)
    return tmp_path / "scans.csv"


# Classes whose names are not in the order of the alphabet, in which a report's file has them.
METHODS = {"bright": bright(), "fine": bright("fine", ("IPH", "EDH"), size=32)}


def test_a_table_goes_in_and_a_table_comes_out_with_one_bad_scan_passed_over(scans, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="no axial head CT"):
        batch.study_scans(scans, METHODS, out, batch.Wanted(sheet_slices=2))
    # the first scan is done and is not done again
    table, studied = batch.study_scans(
        scans, METHODS, out, batch.Wanted(allow_bad=True, sheet_slices=2)
    )
    assert table["status"].tolist() == ["done", "passed over", "done"]
    volumes = ["bright_any_ml", "fine_any_ml", "fine_IPH_ml", "fine_EDH_ml"]
    assert table.columns.tolist()[4:] == volumes
    again, _ = batch.study_scans(scans, METHODS, out, batch.Wanted(allow_bad=True, sheet_slices=2))
    assert again["status"].tolist() == ["kept", "passed over", "kept"]
    assert again.drop(columns="status").equals(table.drop(columns="status"))
    assert pd.read_csv(out / batch.TABLE)["reason"][1].startswith("no axial head CT")
    assert studied.scan.name == table["scan"][2] != table["scan"][0]


def test_a_scan_is_computed_again_where_weights_or_settings_changed(scans, tmp_path):
    out, one = tmp_path / "out", scans.parent / "one"
    first = {"bright": METHODS["bright"]}

    def status(methods, wanted):
        return batch.study_scans(one, methods, out, wanted)[0]["status"].tolist()

    assert status(first, batch.Wanted(sheet_slices=2)) == ["done"]
    assert status(first, batch.Wanted(sheet_slices=2)) == ["kept"]
    assert status(first, batch.Wanted(inside_brain=False, sheet_slices=2)) == ["done"]
    assert status(METHODS, batch.Wanted(inside_brain=False, sheet_slices=2)) == ["done"]
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    (folder / write.REPORT).unlink()  # killed before its end
    assert status(METHODS, batch.Wanted(inside_brain=False, sheet_slices=2)) == ["done"]


def test_the_files_of_a_scan_agree_and_hold_no_identity(scans, tmp_path):
    out = tmp_path / "out"
    table, studied = batch.study_scans(
        scans.parent / "one", METHODS, out, batch.Wanted(sheet_slices=2)
    )
    folder = out / table["scan"][0]
    names = {path.name for path in folder.iterdir()}
    expected = {
        name.format(method) for name in ("{}_mask.nii.gz", "{}.seg.dcm") for method in METHODS
    }
    expected |= {f"{name}.nii.gz" for name in ("bright_heat_any", "fine_heat_IPH", "fine_heat_EDH")}
    assert names == expected | {"report.json", "contact_sheet.png"}
    assert write.identities_in(folder, studied.scan) == []
    report = json.loads((folder / "report.json").read_text())
    mask = nibabel.load(folder / "bright_mask.nii.gz")
    assert np.allclose(mask.affine, studied.scan.image(studied.scan.hu).affine, atol=1e-5)
    # volume from the file alone: its voxels are a parallelepiped, |det| mm3 each
    voxel_ml = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    volume = (np.asanyarray(mask.dataobj) > 0).sum() * voxel_ml
    assert report["methods"][0]["volumes_ml"]["any"] == pytest.approx(volume, abs=2e-3)
    assert report["methods"][0]["weights_sha256"] == "ab" * 32
    assert report["use"] == write.RESEARCH_USE and len(report["methods"]) == 2


def test_a_table_needs_its_column(tmp_path):
    (tmp_path / "scans.csv").write_text("path\na\n")
    with pytest.raises(DataError, match=r"no columns \['scan'\]"):
        list(batch.studies_of(tmp_path / "scans.csv"))
