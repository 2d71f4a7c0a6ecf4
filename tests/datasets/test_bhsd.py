import json
import shutil

import nibabel
import numpy as np
import pytest

from ich_study.datasets.bhsd import BhsdReader
from ich_study.errors import DataError, ParameterError
from ich_study.phantom.write_bhsd import write_bhsd
from ich_study.schema import MASK_CODES
from tests.phantom.fake_scans import fake_scan


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("bhsd")
    scans = [fake_scan(seed, tilt=tilt) for seed, tilt in ((1, 0.0), (2, 17.5))]
    return root, scans, write_bhsd(root, iter(scans))


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written[0], tmp_path / "bhsd")


def test_round_trip(written):
    root, scans, ids = written
    reader = BhsdReader(root)
    found = {ref.scan_id: ref for ref in reader.scans()}
    assert {name: ref.patient_id for name, ref in found.items()} == {
        row["scan_id"]: row["patient_id"] for row in ids
    }
    for row, scan in zip(ids, scans):
        volume = reader.load(found[row["scan_id"]])
        np.testing.assert_array_equal(volume.hu, scan.hu)
        np.testing.assert_array_equal(volume.mask, scan.mask)
        np.testing.assert_allclose(np.diff(volume.z_mm), np.diff(scan.plane_mm), atol=1e-4)
        assert volume.spacing_mm == (scan.spacing_mm, scan.spacing_mm)
        assert volume.thickness_mm == pytest.approx(
            scan.thickness_mm * np.cos(np.radians(scan.tilt_degrees)), abs=1e-5
        )
        for name, truth in scan.slice_labels().items():
            assert volume.labels[name].tolist() == truth.tolist()
        assert set(volume.sources) == {f"label_192/images/{row['scan_id']}.nii.gz"}
        assert any("17.5 degrees" in note for note in volume.notes) == (scan.tilt_degrees > 0)


def test_the_authors_label_map_swaps_sdh_and_ivh(written):
    root, *_ = written
    own, authors = BhsdReader(root), BhsdReader(root, label_map="authors")
    for ref in own.scans():
        read, swapped = own.load(ref).mask, authors.load(ref).mask
        assert (read == MASK_CODES["SDH"]).any()
        np.testing.assert_array_equal(read == MASK_CODES["SDH"], swapped == MASK_CODES["IVH"])
        np.testing.assert_array_equal(read == MASK_CODES["IVH"], swapped == MASK_CODES["SDH"])
        np.testing.assert_array_equal(read == MASK_CODES["IPH"], swapped == MASK_CODES["IPH"])


def test_the_files_own_map_is_used_and_checked(copy):
    path = copy / "dataset.json"
    description = json.loads(path.read_text())
    description["labels"].update({"3": "subdural", "5": "intraventricular"})
    path.write_text(json.dumps(description))
    reader = BhsdReader(copy)
    assert reader.codes == BhsdReader(copy, label_map="authors").codes
    assert any("its own label map" in note for note in reader.load(reader.scans()[0]).notes)
    description["labels"]["3"] = "epidural"
    path.write_text(json.dumps(description))
    with pytest.raises(DataError, match="labels are"):
        BhsdReader(copy)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        BhsdReader(copy)


def test_dataset_json_is_optional_and_the_other_folder_name_works(copy):
    (copy / "dataset.json").unlink()
    (copy / "label_192" / "ground truths").rename(copy / "label_192" / "ground_truths")
    reader = BhsdReader(copy)
    volume = reader.load(reader.scans()[0])
    assert volume.mask.any()
    assert len(reader.scans()) == 2


def test_missing_things_are_named(copy, tmp_path):
    with pytest.raises(DataError, match=r"no folder .*absent.*\n.*label_192/images"):
        BhsdReader(tmp_path / "absent")
    with pytest.raises(ParameterError, match="label_map"):
        BhsdReader(copy, label_map="json")
    image = sorted((copy / "label_192" / "images").iterdir())[0]
    mask = copy / "label_192" / "ground truths" / image.name
    hidden = mask.rename(tmp_path / mask.name)
    with pytest.raises(DataError, match=image.name.removesuffix(".nii.gz")):
        BhsdReader(copy).scans()
    hidden.rename(mask)
    image.unlink()
    with pytest.raises(DataError, match="1 masks"):
        BhsdReader(copy).scans()
    mask.unlink()
    with pytest.raises(DataError, match="lists 1 volumes"):
        BhsdReader(copy).scans()


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": {}', '{"labels": 1}'])
def test_a_damaged_description_is_named(copy, content):
    (copy / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json.*expected an object with `labels`"):
        BhsdReader(copy)


def test_a_part_that_is_no_list_is_named(copy):
    description = json.loads((copy / "dataset.json").read_text()) | {"training": 96}
    (copy / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match=r"`training` is a int; expected a list"):
        BhsdReader(copy).scans()


def test_a_name_without_patient_is_refused(copy):
    (copy / "dataset.json").unlink()
    for folder in ("images", "ground truths"):
        first = sorted((copy / "label_192" / folder).iterdir())[0]
        first.rename(first.with_name("volume-1.nii.gz"))
    with pytest.raises(DataError, match="RSNA patient"):
        BhsdReader(copy).scans()


def test_damaged_volumes_are_named(copy):
    reader = BhsdReader(copy)
    first, second = reader.scans()
    first.files[0].write_bytes(first.files[0].read_bytes()[:3000])
    with pytest.raises(DataError, match=first.scan_id):
        reader.load(first)
    image = nibabel.load(second.files[0])
    voxels = np.asarray(image.dataobj).copy()
    voxels[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, None, image.header), second.files[0])
    with pytest.raises(DataError, match="NaN"):
        reader.load(second)
    volume = BhsdReader(copy, allow_nan=True).load(second)
    assert any(note.startswith("not-finite: ") for note in volume.notes)
