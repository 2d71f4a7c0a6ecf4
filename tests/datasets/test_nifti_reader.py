"""What all readers of NIfTI files share, on a reader of two files."""

from dataclasses import dataclass, replace

import nibabel
import numpy as np
import pandas as pd
import pytest

from ich_study.datasets import open_dataset
from ich_study.datasets.nifti_reader import NiftiReader, TabledReader
from ich_study.errors import DataError
from ich_study.integrity.scan import note_findings
from ich_study.phantom.write_bhsd import write_bhsd
from ich_study.phantom.write_hemorica import write_hemorica
from ich_study.phantom.write_instance2022 import write_instance2022
from ich_study.phantom.write_physionet import write_physionet
from tests.phantom.fake_scans import fake_scan


@dataclass
class PlainReader(NiftiReader):
    name, title, layout, origin = "plain", "Plain", "images/<scan>.nii.gz", "a test"


@dataclass
class TableReader(TabledReader):
    name, title, layout, origin = "tabled", "Tabled", "images/<scan>.nii.gz", "a test"
    images, table, first_slice, row_of = "images", "labels.csv", 1, "scan"
    keys, flags = ("scan", "slice"), {"any": "bleeding"}


@pytest.fixture
def written(tmp_path):
    """Two scans of three slices of 2 x 1 mm, 5 mm apart, the first with blood in its second slice;
    a table that counts slices from 1 and is in no order."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for scan in ("a", "b"):
        hu, mask = np.full((4, 6, 3), 30, np.int16), np.zeros((4, 6, 3), np.uint8)
        mask[1, 2, 1] = scan == "a"
        affine = np.diag([1.0, 2.0, 5.0, 1.0])
        for folder, voxels in (("images", hu), ("masks", mask)):
            image = nibabel.Nifti1Image(voxels, affine)
            nibabel.save(image, tmp_path / folder / f"{scan}.nii.gz")
    rows = [("b", 3, 0), ("a", 2, 1), ("a", 1, 0), ("a", 3, 0), ("b", 1, 0), ("b", 2, 0)]
    table = pd.DataFrame(rows, columns=["scan", "slice", "bleeding"])
    table.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def test_labels_that_a_mask_implies_and_what_a_voxel_measures(written):
    reader, tabled = PlainReader(written), TableReader(written)
    first, second = (
        reader.labelled_by_mask(ref, tabled.pair(ref, {1: 1})) for ref in tabled.scans()
    )
    assert first.labels["any"].tolist() == [False, True, False]
    assert first.mask.sum() == 1 and first.mask[1].any() and first.notes == ()
    assert first.spacing_mm == (1.0, 2.0) and first.thickness_mm == 5.0
    assert np.diff(first.z_mm).tolist() == [5.0, 5.0]
    assert first.sources == ("images/a.nii.gz",) * 3 and not first.boxes_known.any()
    # nothing is drawn: said, not guessed
    assert not second.labels["any"].any() and second.notes[0].startswith("empty-mask")


def test_rows_of_the_table_follow_the_slices_of_the_file(written):
    reader = TableReader(written)
    first, second = reader.scans()
    assert (first.scan_id, second.scan_id) == ("a", "b") and first.dataset == "tabled"
    rows, notes = reader.rows(first, reader.pair(first, {1: 1}))
    assert rows["any"].astype(int).tolist() == [0, 1, 0] and notes == ()


def test_what_the_table_or_the_folder_lacks_is_named(written):
    table = pd.read_csv(written / "labels.csv")
    table[(table["scan"] != "a") | (table["slice"] != 2)].to_csv(
        written / "labels.csv", index=False
    )
    reader = TableReader(written)
    ref = reader.scans()[0]
    with pytest.raises(DataError, match="scan a"):
        reader.rows(ref, reader.pair(ref, {1: 1}))
    rows, _ = TableReader(written, allow_missing_labels=True).rows(ref, reader.pair(ref, {1: 1}))
    assert rows["any"].isna().tolist() == [False, True, False]
    table[table["scan"] == "b"].to_csv(written / "labels.csv", index=False)
    with pytest.raises(DataError, match="has no row of scan a"):
        TableReader(written).scans()
    with pytest.raises(DataError, match="scans"):
        PlainReader(written).folder("scans", "volumes")
    with pytest.raises(DataError, match="Plain"):
        PlainReader(written / "nowhere")


@pytest.mark.parametrize(
    ("dataset", "write", "masks"),
    [
        ("bhsd", write_bhsd, "label_192/ground truths"),
        ("physionet", write_physionet, "masks"),
        ("instance2022", write_instance2022, "train_2/label"),
        ("hemorica", write_hemorica, "masks"),
    ],
)
def test_every_nifti_reader_stops_at_a_mirrored_mask(tmp_path, dataset, write, masks):
    mask = fake_scan(5).mask
    scan = replace(fake_scan(5), hu=np.where(mask > 0, 60, 30).astype(np.int16))
    write(tmp_path, iter([scan]))
    (path,) = (tmp_path / masks).glob("*.nii*")
    image = nibabel.load(path, mmap=False)
    mirrored = image.affine * [[-1], [1], [1], [1]]
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), mirrored), path)
    (ref,) = open_dataset(dataset, tmp_path).scans()
    with pytest.raises(
        DataError, match=f"{path.name}: .*header.* mirrored.*pair_by|{path.name}: axes of .*pair_by"
    ):
        open_dataset(dataset, tmp_path).load(ref)
    named = open_dataset(dataset, tmp_path, pair_by={ref.scan_id: "index"})
    volume = named.load(ref)
    np.testing.assert_array_equal(volume.mask > 0, scan.mask > 0)
    assert "orientation" in {each.check for each in note_findings(volume.notes, "d", "s")}
