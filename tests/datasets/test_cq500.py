from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich_study.datasets import open_dataset
from ich_study.datasets.bhx import BOXED_BY_HAND, BOXED_IN_ALL_SERIES, read_boxes
from ich_study.datasets.cq500 import Cq500Reader, read_majority
from ich_study.datasets.files import SUMS_NAME
from ich_study.errors import DataError, ParameterError
from ich_study.hashing import sha256_file
from ich_study.integrity.scan import note_findings
from ich_study.paths import real_data_root
from ich_study.phantom.dicom_slices import field_of_view
from ich_study.phantom.write_cq500 import write_cq500
from ich_study.schema import LABELS, MASK_CODES
from tests.phantom.fake_scans import fake_scan


def scans():
    return (
        fake_scan(seed, tilt=8.5, positive=seed % 2 == 0, thickness_mm=5.0 if seed % 3 else 1.0)
        for seed in range(8)
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cq500")
    write_cq500(folder, scans(), second_series=False)
    return folder


@pytest.fixture
def root(tmp_path, written):
    """A copy that a test may damage."""
    return shutil.copytree(written, tmp_path / "cq500")


def edit_boxes(root: Path, change) -> None:
    table = pd.read_csv(root / BOXED_BY_HAND, index_col=0)
    change(table).to_csv(root / BOXED_BY_HAND)
    (root / SUMS_NAME).write_text(f"{sha256_file(root / BOXED_BY_HAND)}  {BOXED_BY_HAND}\n")


def load_first(root: Path, **options):
    reader = Cq500Reader(root, **options)
    return reader.load(reader.scans()[0])


def test_round_trip_with_boxes_on_every_lesion(root):
    reader = open_dataset("cq500", str(root))
    refs = reader.scans()
    assert [ref.patient_id for ref in refs] == [
        f"CQ500-CT-{i}" for i in range(8)
    ] and reader.findings == ()
    inside = field_of_view(64, 64)
    for ref, scan in zip(refs, scans()):
        volume = reader.load(ref)
        np.testing.assert_array_equal(volume.hu[:, inside], scan.hu[:, inside])
        np.testing.assert_allclose(volume.z_mm, scan.plane_mm, atol=1e-5)
        assert volume.thickness_mm == scan.thickness_mm and volume.boxes_known.all()
        truth = scan.slice_labels()
        for name in LABELS:
            np.testing.assert_array_equal(volume.labels[name].to_numpy(dtype=bool), truth[name])
        for box in volume.boxes.itertuples():
            y, x = np.nonzero(scan.mask[box.slice_index] == MASK_CODES[box.label])
            assert (
                len(x)
                and box.x <= x.min()
                and box.y <= y.min()
                and box.x + box.width > x.max()
                and box.y + box.height > y.max()
            )
            assert box.width <= np.ptp(x) + 1 + 6 and box.height <= np.ptp(y) + 1 + 6
        assert len(volume.boxes) == (
            3 if ref.patient_id in {"CQ500-CT-0", "CQ500-CT-2", "CQ500-CT-4", "CQ500-CT-6"} else 0
        )


def test_positive_scan_without_boxes_is_unknown_negative_is_false(root):
    reader = Cq500Reader(root, boxes=None)
    positive, negative = (reader.load(ref) for ref in reader.scans()[:2])
    assert positive.labels.isna().all(axis=None) and not positive.boxes_known.any()
    assert not negative.labels.any(axis=None) and negative.boxes_known.all()


def test_chronic_boxes_are_dropped_and_their_series_counts_as_boxed(root):
    def chronic_subdural(table):
        table.loc[table["labelName"] == "Subdural", "labelName"] = "Chronic"
        return table

    edit_boxes(root, chronic_subdural)
    volume = load_first(root)
    assert not volume.labels["any"].iloc[1] and volume.labels["any"].iloc[2]
    assert len(volume.boxes) == 2 and volume.boxes_known.all()


def test_majority_of_three(root):
    majority, table = read_majority(root / "reads.csv"), pd.read_csv(root / "reads.csv")
    assert [majority[f"CQ500-CT-{i}"]["any"] for i in range(8)] == [True, False] * 4
    many = pd.concat([table.iloc[[0]]] * 4, ignore_index=True)
    many["name"] = [f"CQ500-CT-{i}" for i in range(4)]
    for reader, votes in {"R1": [0, 0, 0, 1], "R2": [0, 0, 1, 1], "R3": [0, 1, 1, 1]}.items():
        many[f"{reader}:SAH"] = votes
    many.to_csv(root / "many.csv", index=False)
    assert [read["SAH"] for read in read_majority(root / "many.csv").values()] == [
        False,
        False,
        True,
        True,
    ]


def test_series_are_chosen_by_folder_name(root):
    study = root / "CQ500CT0 CQ500CT0" / "Unknown Study"
    (study / "CT POST CONTRAST").mkdir()
    (study / "CT PRE CONTRAST 5MM STD").mkdir()
    for i, path in enumerate(sorted((study / "CT PLAIN THIN").glob("*.dcm"))):
        (
            study / ("CT POST CONTRAST" if i < 3 else "CT PRE CONTRAST 5MM STD") / path.name
        ).symlink_to(path)
    names = {ref.scan_id for ref in Cq500Reader(root, boxes=None).scans()}
    assert {name for name in names if "CONTRAST" in name} == {"CQ500-CT-0_PRE_CONTRAST_5MM_STD"}
    assert len(Cq500Reader(root, exclude_series=None, boxes=None).scans()) == 10
    with pytest.raises(ParameterError, match="regular expression"):
        Cq500Reader(root, exclude_series="(").scans()
    with pytest.raises(DataError, match="no wanted series"):
        Cq500Reader(root, exclude_series="ct").scans()


def test_two_series_in_one_folder_are_two_scans(root):
    one, two = (root / f"CQ500CT{i} CQ500CT{i}" / "Unknown Study" for i in (1, 2))
    for path in sorted((two / "CT 5mm").glob("*.dcm")):
        path.rename(one / "CT 5mm" / f"X{path.name}")
    reader = Cq500Reader(root)
    refs = [ref for ref in reader.scans() if ref.patient_id == "CQ500-CT-1"]
    assert [ref.scan_id for ref in refs] == ["CQ500-CT-1_5mm", "CQ500-CT-1_5mm_2"]
    assert all(len(reader.load(ref).hu) == 6 for ref in refs)


def test_contradictions_and_orphans_are_reported(root):
    edit_boxes(
        root,
        lambda table: pd.concat(
            [table, table.iloc[[0]].assign(SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2")]
        ),
    )
    reads = pd.read_csv(root / "reads.csv")
    for reader in ("R1", "R2", "R3"):
        reads.loc[0, f"{reader}:ICH"] = 0
    reads.iloc[:7].to_csv(root / "reads.csv", index=False)
    reader = Cq500Reader(root)
    refs = reader.scans()
    assert reader.findings == (
        "1 boxes lie on 1 images that are not read",
        "missing-labels: CQ500-CT-7 has no row in the reads; its labels are unknown",
    )
    assert (
        "boxes on a scan whose majority of readers sees no hemorrhage" in reader.load(refs[0]).notes
    )
    assert reader.load(refs[7]).labels.isna().all(axis=None)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("data", "__import__('os').getcwd()", "has no box in `data`"),
        ("data", "{'x': 1, 'y': 2, 'width': 3}", "has no box in `data`"),
        ("data", "{'x': 1, 'y': 2, 'width': 0, 'height': 4}", "no area"),
        ("data", "{'x': 1, 'y': 2, 'width': 1e999, 'height': 4}", "no area or without finite"),
        ("labelName", "Tumour", "expected one of Intraparenchymal"),
    ],
)
def test_damaged_box_names_its_line(root, column, value, match):
    def damage(table):
        table[column] = table[column].astype(object)
        table.iloc[1, table.columns.get_loc(column)] = value
        return table

    edit_boxes(root, damage)
    with pytest.raises(DataError, match=f"line 3 .*{match}"):
        read_boxes([root / BOXED_BY_HAND])


def test_same_box_in_two_tables_counts_once(root):
    assert len(load_first(root, boxes=(BOXED_BY_HAND, BOXED_IN_ALL_SERIES)).boxes) == 3


def test_a_box_table_that_lost_whole_lines_stops_the_data(root):
    path = root / BOXED_BY_HAND
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-4]))
    with pytest.raises(DataError, match=r"is not the file of .*SHA256SUMS"):
        Cq500Reader(root).scans()
    (root / SUMS_NAME).unlink()
    reader = Cq500Reader(root)
    reader.scans()
    _, finding = note_findings(reader.findings, "cq500", "")
    assert (finding.severity, finding.check) == ("error", "missing-labels")
    assert "holds 8 boxes, expected 6,283" in finding.detail


def test_boxes_of_a_second_series_stand_in_the_table_of_all_series(root, tmp_path):
    """BHX drew in one series by hand and carried the boxes over to the others of the study."""
    study, other = "CQ500CT0 CQ500CT0/Unknown Study", tmp_path / "other"
    write_cq500(other, [fake_scan(100, slices=9, thickness_mm=1.0)], second_series=False)
    (other / study / "CT PLAIN THIN").rename(root / study / "CT PLAIN THIN 2")
    boxes = [pd.read_csv(folder / BOXED_IN_ALL_SERIES, index_col=0) for folder in (root, other)]
    pd.concat(boxes).to_csv(root / BOXED_IN_ALL_SERIES)
    edit_boxes(root, lambda table: table)
    name = "CQ500-CT-0_PLAIN_THIN_2"
    for tables, boxed in ((BOXED_BY_HAND, 0), ((BOXED_BY_HAND, BOXED_IN_ALL_SERIES), 3)):
        reader = Cq500Reader(root, boxes=tables)
        found = {ref.scan_id: reader.load(ref) for ref in reader.scans()}
        assert len(found.pop(name).boxes) == boxed
        assert len(found["CQ500-CT-0_PLAIN_THIN"].boxes) == 3
    thin = reader.load(next(ref for ref in reader.scans() if ref.scan_id == name))
    assert (
        thin.boxes_known.all() and thin.labels["any"].tolist() == [False, True, True] + [False] * 6
    )


def test_a_second_series_without_boxes_is_unknown_and_reported(tmp_path):
    """Unknown, and not free of hemorrhage: it shows the bleeding of the series beside it."""
    write_cq500(tmp_path, (fake_scan(seed, slices=16, positive=seed > 0) for seed in range(3)))
    reader = Cq500Reader(tmp_path)
    refs = {ref.scan_id: ref for ref in reader.scans()}
    assert list(refs) == ["CQ500-CT-0_5mm", "CQ500-CT-1_5mm", "CQ500-CT-1_SHARP", "CQ500-CT-2_5mm"]
    first, sharp = (reader.load(refs[f"CQ500-CT-1_{name}"]) for name in ("5mm", "SHARP"))
    assert sharp.labels.isna().all(axis=None) and not sharp.boxes_known.any()
    assert first.boxes_known.all() and len(first.boxes) == 3
    # the same places, other pixels
    np.testing.assert_allclose(sharp.z_mm, first.z_mm[2:14])
    assert (sharp.hu != first.hu[2:14]).any((1, 2)).all()
    assert reader.findings == (
        "1 series of scans with hemorrhage stand in no table of boxes; labels and boxes of their"
        " 12 images are unknown: CQ500-CT-1_SHARP",
    )


def test_another_pathology_counts_only_beside_hemorrhage(root):
    reads = pd.read_csv(root / "reads.csv")
    for patient, readers in ((0, "123"), (1, "13"), (3, "2"), (5, "")):
        for reader in readers:
            reads.loc[patient, f"R{reader}:CalvarialFracture"] = 1
    reads.to_csv(root / "reads.csv", index=False)
    reader = Cq500Reader(root, other_pathologies="leave_out")
    found = {ref.patient_id for ref in reader.scans()}
    # 0 bleeds too; of 3 one reader alone says so; 1 has a fracture and nothing else
    assert found == {f"CQ500-CT-{i}" for i in (0, 2, 3, 4, 5, 6, 7)}
    assert reader.findings == (
        "1 scans without hemorrhage but with another pathology left out: CQ500-CT-1",
    )
    assert len(Cq500Reader(root).scans()) == 8
    with pytest.raises(ParameterError, match="other_pathologies is 'drop'"):
        Cq500Reader(root, other_pathologies="drop").scans()


def test_missing_files_and_columns(root, tmp_path):
    with pytest.raises(DataError, match=r"no folder .*expected CQ500 there.*CC BY-NC-SA"):
        Cq500Reader(tmp_path / "absent").scans()
    with pytest.raises(DataError, match=r"none\.csv does not exist .*box table of BHX"):
        Cq500Reader(root, boxes="none.csv").scans()
    edit_boxes(root, lambda table: table.drop(columns="data"))
    with pytest.raises(DataError, match=r"no columns \['data'\]"):
        Cq500Reader(root).scans()
    pd.read_csv(root / "reads.csv").drop(columns="R2:EDH").to_csv(root / "reads.csv", index=False)
    with pytest.raises(DataError, match=r"no columns \['R2:EDH'\]"):
        Cq500Reader(root).scans()
    (root / "reads.csv").unlink()
    with pytest.raises(DataError, match=r"reads\.csv does not exist .*R1:ICH.*CC BY-NC-SA"):
        Cq500Reader(root).scans()


def test_damaged_slice_is_named_or_skipped(root):
    path = next((root / "CQ500CT0 CQ500CT0").rglob("*.dcm"))
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(DataError, match=path.name):
        load_first(root)
    volume = load_first(root, skip_bad=True)
    assert len(volume.hu) == 5 and "1 damaged files skipped" in volume.notes


def test_real_series_reads_and_boxes(tmp_path):
    real = real_data_root()
    if real is None or not (real / "cq500").is_dir():
        pytest.skip("no real scans: cq500 is not under ICH_REAL_DATA or ../shared/real")
    series = (
        tmp_path / "CQ500-CT-0" / "CQ500CT0 CQ500CT0" / "Unknown Study" / "CT 4cc sec 150cc D3D on"
    )
    series.mkdir(parents=True)
    for path in (real / "cq500").glob("*.dcm"):
        (series / path.name).symlink_to(path)
    for name in ("reads.csv", BOXED_BY_HAND):
        (tmp_path / name).symlink_to(real / "cq500" / name)
    reader = Cq500Reader(tmp_path)
    (ref,) = reader.scans()
    assert reader.findings == ("6283 boxes lie on 3558 images that are not read",)
    assert not ref.details["majority"]["any"] and ref.details["boxes"] is None
    volume = reader.load(ref)
    assert (
        volume.hu.shape == (51, 512, 512)
        and not volume.labels.any(axis=None)
        and volume.boxes_known.all()
    )
    majority = read_majority(tmp_path / "reads.csv")
    assert len(majority) == 491 and sum(read["any"] for read in majority.values()) == 205
    alone = [read for read in majority.values() if read["other"] and not read["any"]]
    assert len(alone) == 13
    boxes = read_boxes([tmp_path / BOXED_BY_HAND])
    assert (
        len(boxes) == 6283 and boxes["chronic"].sum() == 740 and boxes["sop_uid"].nunique() == 3558
    )


def with_copy(root: Path, index: int, change=lambda pixels: None) -> None:
    """A second file of one slice of the first scan, to which its boxes are moved."""
    path = next(
        path
        for path in sorted(next(root.glob("CQ500CT0 *")).rglob("*.dcm"))
        if path.name == f"CT{index:06d}.dcm"
    )
    dataset = pydicom.dcmread(path)
    uid, dataset.SOPInstanceUID = str(dataset.SOPInstanceUID), "1.2.3.99"
    dataset.decompress()
    pixels = dataset.pixel_array.copy()
    change(pixels)
    dataset.set_pixel_data(pixels, "MONOCHROME2", dataset.BitsStored)
    dataset.SOPInstanceUID = "1.2.3.99"
    dataset.save_as(path.with_name("zz.dcm"))
    edit_boxes(root, lambda table: table.replace({"SOPInstanceUID": {uid: "1.2.3.99"}}))


def test_a_box_on_an_identical_copy_belongs_to_the_slice_that_is_kept(root):
    before = load_first(root)
    boxed = int(before.boxes["slice_index"].iloc[0])
    index = int(Path(before.sources[boxed]).stem.removeprefix("CT"))
    with_copy(root, index)
    after = load_first(root)
    assert "1 identical copies of slices dropped" in after.notes
    pd.testing.assert_frame_equal(after.boxes, before.boxes)
    pd.testing.assert_frame_equal(after.labels, before.labels)
    assert after.sources == before.sources and after.boxes_known.all()


def test_a_slice_at_whose_place_another_image_is_boxed_is_not_negative(root):
    before = load_first(root)
    boxed = int(before.boxes["slice_index"].iloc[0])
    index = int(Path(before.sources[boxed]).stem.removeprefix("CT"))
    with_copy(root, index, lambda pixels: np.add(pixels, 1, out=pixels))
    with pytest.raises(DataError, match="different images at one position"):
        load_first(root)
    after = load_first(root, same_position="first")
    assert boxed not in set(after.boxes["slice_index"]) and not after.boxes_known[boxed]
    assert after.labels.loc[boxed].isna().all()
    others = [i for i in range(len(after.hu)) if i != boxed]
    pd.testing.assert_frame_equal(after.labels.loc[others], before.labels.loc[others])
    assert after.boxes_known[others].all()
