from __future__ import annotations

import shutil
import warnings

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich_study.datasets import open_dataset
from ich_study.datasets.rsna import KNOWN_CORRUPT, SUBTYPE_NAMES, RsnaReader, read_labels
from ich_study.errors import DataError, ParameterError
from ich_study.phantom.dicom_slices import field_of_view
from ich_study.phantom.write_rsna import VISIBLE_MM2, rsna_patient_id, write_rsna
from ich_study.schema import LABELS
from tests.phantom.fake_scans import fake_scan

SEEDS = range(12)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rsna")
    write_rsna(folder, map(scan_of, SEEDS), patient_seed=lambda scan: scan.seed // 2)
    return folder


def scan_of(seed):
    return fake_scan(seed, tilt=seed - 3.0, positive=seed % 3 > 0)


@pytest.fixture
def labels(root):
    return pd.read_csv(root / "stage_2_train.csv")


def reader_with(root, tmp_path, table):
    table.to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "stage_2_train").symlink_to(root / "stage_2_train")
    return RsnaReader(tmp_path, labels="labels.csv")


def test_round_trip_is_exact_without_a_warning(root):
    reader = open_dataset("rsna", str(root))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refs = reader.scans()
        volumes = [reader.load(ref) for ref in refs]
    assert len(refs) == len(SEEDS) and len({ref.patient_id for ref in refs}) == 6
    by_scan = {volume.ref.scan_id: volume for volume in volumes}
    inside = field_of_view(64, 64)
    for seed in SEEDS:
        scan = scan_of(seed)
        volume = next(
            v for v in by_scan.values() if np.array_equal(v.hu[:, inside], scan.hu[:, inside])
        )
        assert volume.ref.patient_id == rsna_patient_id(seed // 2)
        np.testing.assert_allclose(volume.z_mm, scan.plane_mm, atol=1e-5)
        assert volume.thickness_mm == pytest.approx(5 * np.cos(np.deg2rad(seed - 3.0)), abs=1e-4)
        truth = scan.slice_labels(VISIBLE_MM2)
        for name in LABELS:
            np.testing.assert_array_equal(volume.labels[name].to_numpy(dtype=bool), truth[name])
        assert volume.mask is None and not volume.boxes_known.any()
        assert all((root / source).is_file() for source in volume.sources)


def test_corrupt_image_is_left_out_by_name_and_fails_otherwise(root):
    reader = RsnaReader(root)
    assert all(
        KNOWN_CORRUPT[0] not in source for ref in reader.scans() for source in map(str, ref.files)
    )
    assert any("1 labelled images are not read" in finding for finding in reader.findings)
    strict = RsnaReader(root, known_corrupt=())
    with pytest.raises(DataError, match=KNOWN_CORRUPT[0]):
        for ref in strict.scans():
            strict.load(ref)


def test_duplicate_rows_are_dropped(root, labels):
    assert labels.duplicated().sum() == 24
    assert read_labels(root / "stage_2_train.csv").shape == (len(SEEDS) * 6 + 1, 6)


def test_contradicting_duplicates(root, labels, tmp_path):
    image, subtype = labels["ID"].iloc[40].rsplit("_", 1)
    extra = pd.DataFrame({"ID": [f"{image}_{subtype}"], "Label": [1 - labels["Label"].iloc[40]]})
    reader = reader_with(root, tmp_path, pd.concat([labels, extra]))
    with pytest.raises(DataError, match=f"labelled 0 and 1, such as {image}"):
        reader.scans()
    assert image not in read_labels(tmp_path / "labels.csv", conflicting=(image,)).index


def test_contradiction_of_any_and_unknown_labels_are_noted(root, labels, tmp_path):
    positive = labels.loc[labels["ID"].str.endswith("_any") & (labels["Label"] == 1), "ID"].iloc[0]
    silent = labels.loc[~labels["ID"].str.startswith(positive[:12]), "ID"].iloc[0]
    table = labels.copy()
    table.loc[table["ID"] == positive, "Label"] = 0
    table = table[(table["ID"] != silent) & ~table["ID"].str.startswith("ID_f")]
    reader = reader_with(root, tmp_path, table)
    volumes = [reader.load(ref) for ref in reader.scans()]
    assert any("missing-labels: " in finding for finding in reader.findings)
    notes = [note for volume in volumes for note in volume.notes]
    assert "on 1 slices `any` is not the OR of the subtypes" in notes
    assert any("no complete label" in note for note in notes)
    assert sum(int(volume.labels.isna().to_numpy().sum()) for volume in volumes) > 0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("ID,Wrong\nID_0_any,1\n", "no columns \\['Label'\\]"),
        ("ID,Label\nID_0_any,1\nID_1_any,2\n", "line 3 has label"),
        ("ID,Label\nID_0_any,yes\n", "expected 0 or 1"),
        ("ID,Label\nID_0_any,\n", "expected 0 or 1"),
        ("ID,Label\nID_0_unheard,1\n", "unknown subtypes"),
        ("ID,Label\n,1\n", "unknown subtypes"),
        ("", "Empty CSV"),
    ],
)
def test_damaged_label_table(tmp_path, text, match):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=match):
        read_labels(tmp_path / "labels.csv")


def test_missing_files_say_what_where_and_from_whom(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*stage_2_train.*kaggle\.com.*non-commercial"):
        RsnaReader(tmp_path).scans()
    (tmp_path / "stage_2_train").mkdir()
    with pytest.raises(DataError, match=r"holds no \.dcm"):
        RsnaReader(tmp_path).scans()
    (tmp_path / "stage_2_train" / "ID_0.dcm").touch()
    with pytest.raises(DataError, match=r"stage_2_train\.csv does not exist .*ID, Label"):
        RsnaReader(tmp_path).scans()


def test_without_labels_all_are_unknown(root):
    reader = RsnaReader(root, labels=None)
    volume = reader.load(reader.scans()[0])
    assert volume.labels.isna().all(axis=None) and not any("label" in note for note in volume.notes)


def test_ids_given_as_text_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="known_corrupt"):
        open_dataset("rsna", tmp_path, known_corrupt="ID_6431af929")


def test_csv_order_of_subtypes_is_mapped():
    assert list(SUBTYPE_NAMES.values()) == ["EDH", "IPH", "IVH", "SAH", "SDH", "any"] and set(
        SUBTYPE_NAMES.values()
    ) == set(LABELS)


def test_patients_without_id_are_refused_and_not_made_one(root, tmp_path):
    folder = tmp_path / "stage_2_train"
    shutil.copytree(root / "stage_2_train", folder)
    refs = RsnaReader(tmp_path, labels=None).scans()
    for ref in refs[:3]:
        for path in ref.files:
            dataset = pydicom.dcmread(path)
            del dataset.PatientID
            dataset.save_as(path)
    with pytest.raises(DataError, match=r"\.dcm: it has no patient id"):
        RsnaReader(tmp_path, labels=None).scans()


def with_copy(root, folder, labels, answers, brighter):
    """RSNA with a second file of one positive slice. answers: labels of the slice to those of the
    copy, by subtype. Returns the volume as it was, the index of the slice, and both labels."""
    reader = RsnaReader(root)
    volumes = (reader.load(ref) for ref in reader.scans())
    volume = next(volume for volume in volumes if volume.labels["any"].any())
    index = int(np.flatnonzero(volume.labels["any"])[0])
    (folder / "stage_2_train").mkdir(parents=True)
    for path in (root / "stage_2_train").iterdir():
        (folder / "stage_2_train" / path.name).symlink_to(path)
    dataset = pydicom.dcmread(root / volume.sources[index])
    dataset["SOPInstanceUID"].value = "ID_zzz"
    if brighter:
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.uint16) ^ 1).tobytes()
    dataset.save_as(folder / "stage_2_train" / "ID_zzz.dcm")
    own = {name: int(volume.labels[name][index]) for name in LABELS}
    copied = answers(own)
    rows = [(f"ID_zzz_{name}", copied[label]) for name, label in SUBTYPE_NAMES.items()]
    table = pd.concat([labels, pd.DataFrame(rows, columns=["ID", "Label"])])
    table.to_csv(folder / "stage_2_train.csv", index=False)
    return volume, index, own, copied


def labels_again(folder, volume, **options):
    reader = RsnaReader(folder, **options)
    ref = next(ref for ref in reader.scans() if ref.scan_id == volume.ref.scan_id)
    return reader.load(ref).labels.astype("Int8").fillna(-1)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    "answers",
    [dict, lambda own: dict.fromkeys(own, 0), lambda own: dict.fromkeys(own, 1)],
    ids=["the same", "nothing there", "everything"],
)
def test_labels_of_an_identical_copy_go_to_the_slice_that_is_kept(root, labels, tmp_path, answers):
    volume, index, own, copied = with_copy(root, tmp_path, labels, answers, brighter=False)
    found = labels_again(tmp_path, volume)
    for name in LABELS:
        # where the copies contradict each other, nobody knows
        assert found[name][index] == (own[name] if own[name] == copied[name] else -1)
    before = volume.labels.astype("Int8")
    pd.testing.assert_frame_equal(found.drop(index), before.drop(index))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_no_slice_is_negative_where_another_image_of_its_place_is_positive(root, labels, tmp_path):
    everything = {"answers": lambda own: dict.fromkeys(own, 1), "brighter": True}
    volume, index, own, _ = with_copy(root, tmp_path, labels, **everything)
    with pytest.raises(DataError, match="different images at one position"):
        labels_again(tmp_path, volume)
    found = labels_again(tmp_path, volume, same_position="first")
    for name in LABELS:
        assert found[name][index] == (1 if own[name] else -1)
