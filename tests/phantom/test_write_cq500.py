from __future__ import annotations

import ast
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import JPEGLosslessSV1

from ich_study.datasets.bhx import BOXED_BY_HAND
from ich_study.datasets.cq500 import READERS, Cq500Reader
from ich_study.errors import DataError
from ich_study.phantom.write_cq500 import SHARP, SIGNED, UNSIGNED, family, write_cq500
from tests.phantom.fake_scans import LESIONS, fake_scan
from tests.phantom.test_write_rsna import tree_hash


def test_same_scans_same_bytes(tmp_path):
    for name in "ab":
        write_cq500(tmp_path / name, (fake_scan(seed) for seed in range(6)))
    write_cq500(tmp_path / "c", (fake_scan(seed) for seed in range(1, 7)))
    assert tree_hash(tmp_path / "a") == tree_hash(tmp_path / "b") != tree_hash(tmp_path / "c")


@pytest.mark.parametrize("storage", [SIGNED, UNSIGNED])
@pytest.mark.parametrize("compressed", [False, True])
def test_files_of_each_family(tmp_path, storage, compressed):
    seed = next(
        seed
        for seed in range(500)
        if family(seed)[0] is storage and (family(seed)[1] == JPEGLosslessSV1) == compressed
    )
    write_cq500(tmp_path, [fake_scan(seed, tilt=8.5, thickness_mm=0.625)])
    files = sorted(
        (tmp_path / "CQ500CT0 CQ500CT0" / "Unknown Study" / "CT PLAIN THIN").glob("CT00000?.dcm")
    )
    assert len(files) == 6
    datasets = [pydicom.dcmread(path) for path in files]
    assert all(
        (dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1) == compressed
        for dataset in datasets
    )
    assert all(
        dataset.PatientID == "CQ500-CT-0" and float(dataset.GantryDetectorTilt) == 8.5
        for dataset in datasets
    )
    assert all(
        dataset.SliceThickness == 0.625 and dataset.PixelRepresentation == (storage is SIGNED)
        for dataset in datasets
    )
    assert [dataset.get("PixelPaddingValue") for dataset in datasets] == [
        63536 if storage is SIGNED else None
    ] * 6
    order = [int(dataset.InstanceNumber) for dataset in datasets]
    assert order != sorted(order) and order != sorted(order, reverse=True)


def test_reads_disagree_but_the_majority_is_right(tmp_path):
    write_cq500(tmp_path, (fake_scan(seed, slices=3, positive=seed % 2 == 0) for seed in range(40)))
    table = pd.read_csv(tmp_path / "reads.csv")
    assert table.shape == (40, 44)
    for finding, truth in {
        "ICH": True,
        "SDH": True,
        "IPH": True,
        "IVH": True,
        "SAH": False,
        "EDH": False,
    }.items():
        votes = table[[f"{reader}:{finding}" for reader in READERS]].sum(axis=1)
        np.testing.assert_array_equal(votes >= 2, (np.arange(40) % 2 == 0) & truth)
    sdh = table[[f"{reader}:SDH" for reader in READERS]]
    assert 0 < sdh.sum(axis=1).isin([1, 2]).sum() < 20
    for reader in READERS:
        subtypes = table[[f"{reader}:{name}" for name in ("IPH", "IVH", "SDH", "EDH", "SAH")]].max(
            axis=1
        )
        np.testing.assert_array_equal(subtypes, table[f"{reader}:ICH"])


def test_boxes_are_as_bhx_has_them(tmp_path):
    write_cq500(tmp_path, [fake_scan(3)])
    table = pd.read_csv(tmp_path / BOXED_BY_HAND)
    assert list(table.columns[1:]) == [
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "data",
        "labelName",
        "labelType",
    ]
    assert sorted(table["labelName"]) == [
        "Intraparenchymal",
        "Intraventricular",
        "Subdural",
    ] and set(table["labelType"]) == {"handDrawn"}
    box = ast.literal_eval(table.loc[table["labelName"] == "Subdural", "data"].iloc[0])
    _, top, bottom, left, right = LESIONS["SDH"]
    assert left - 3 <= box["x"] <= left and top - 3 <= box["y"] <= top
    assert (
        right <= box["x"] + box["width"] <= right + 3
        and bottom <= box["y"] + box["height"] <= bottom + 3
    )


def test_identifiers(tmp_path):
    scans = [fake_scan(0), fake_scan(1, thickness_mm=1.0), fake_scan(2)]
    written = write_cq500(tmp_path, scans)
    refs = Cq500Reader(tmp_path).scans()
    assert [{"patient_id": ref.patient_id, "scan_id": ref.scan_id} for ref in refs] == written
    boxed = [3, None, 3, 3]  # the second series of the first study has none
    assert [ref.details["boxes"] and len(ref.details["boxes"]) for ref in refs] == boxed


def test_a_second_series_leaves_every_other_file_as_it_is(tmp_path):
    """Own identifiers and an own random stream: no number of what was there before moves."""
    for name, second in (("with", True), ("without", False)):
        write_cq500(tmp_path / name, (fake_scan(seed) for seed in range(2)), second)
    study = tmp_path / "with" / "CQ500CT0 CQ500CT0" / "Unknown Study"
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "with").rglob("*.dcm")]
    assert len(set(uids)) == len(uids) == 18
    assert len(list((study / SHARP).iterdir())) == 6
    shutil.rmtree(study / SHARP)
    assert tree_hash(tmp_path / "with") == tree_hash(tmp_path / "without")


def test_no_hemorrhage_at_all_leaves_an_empty_box_table_which_the_reader_refuses(tmp_path):
    write_cq500(tmp_path, [fake_scan(0, positive=False)])
    assert pd.read_csv(tmp_path / BOXED_BY_HAND).empty
    # the real table has 6,283 boxes: one without any was cut short
    with pytest.raises(DataError, match="no row below its header"):
        Cq500Reader(tmp_path).scans()
