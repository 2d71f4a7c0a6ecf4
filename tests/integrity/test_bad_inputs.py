"""Bad inputs that change what a study reads, through the reader, the store and the report: each
stops 00_data by a sentence that names it, and the same data without the defect pass."""

import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from ich_study.datasets import open_dataset
from ich_study.errors import DataError
from ich_study.integrity import stop_on_errors
from ich_study.integrity.stores import check_stores
from ich_study.phantom.scan import PhantomScan
from ich_study.phantom.write_cq500 import write_cq500
from ich_study.phantom.write_hemorica import write_hemorica
from ich_study.phantom.write_instance2022 import write_instance2022
from ich_study.phantom.write_physionet import write_physionet
from ich_study.phantom.write_rsna import write_rsna
from ich_study.store import build_store
from tests.store.fake_reader import head

WRITERS = {
    "rsna": write_rsna,
    "cq500": write_cq500,
    "physionet": write_physionet,
    "hemorica": write_hemorica,
    "instance2022": write_instance2022,
}
SLICES = 10
IDENTITY_TEXTS = (
    "PatientName",
    "OtherPatientNames",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientComments",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "StudyDescription",
    "SeriesDescription",
    "InstitutionName",
    "InstitutionAddress",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "StationName",
    "DeviceSerialNumber",
    "ImageComments",
    "RequestedProcedureDescription",
)


def scan(seed: int) -> PhantomScan:
    hu = head(seed, SLICES, 64)
    mask = np.zeros(hu.shape, np.uint8)
    mask[4, 28:36, 24:36] = 1
    return PhantomScan(
        hu,
        mask,
        np.arange(SLICES) * 5.0,
        spacing_mm=0.5,
        thickness_mm=5.0,
        tilt_degrees=0.0,
        seed=seed,
    )


def write_phe_sich(root: Path, scans: list[PhantomScan]) -> None:
    """Its pictures lie on their side: transposed."""
    rows = ["filename,label"]
    sides = "<xmin>20</xmin><ymin>20</ymin><xmax>40</xmax><ymax>40</ymax>"
    box = f"<object><name>a</name><bndbox>{sides}</bndbox></object>"
    for folder in ("images", "annotations"):
        (root / folder).mkdir(parents=True)
    for patient, each in enumerate(scans, start=1):
        each.hu[0, 30, :] = np.arange(-12, 52)  # as many levels as tell a window
        grey = np.rint((np.clip(each.hu, -20, 100) + 20) * (255 / 120)).astype(np.uint8)
        for number in range(SLICES):
            name = f"{patient:04d}_{number:02d}"
            Image.fromarray(grey[number].T).save(root / "images" / f"{name}.png")
            text = f"<annotation>{box if number == 4 else ''}</annotation>"
            (root / "annotations" / f"{name}.xml").write_text(text)
            rows.append(f"{name}.png,{int(number == 4)}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


def judge(name: str, root: Path, store: Path, allow: tuple[str, ...] = ()) -> None:
    """What 00_data does before it splits."""
    reader = open_dataset(name, root)
    stores = {name: build_store(reader, store, workers=1, allow=allow)}
    stop_on_errors(check_stores(stores), allow)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    for name, write in WRITERS.items():
        write(root / name, iter([scan(1), scan(2)]))
    write_phe_sich(root / "phe_sich", [scan(1), scan(2)])
    return root


def slices(root: Path) -> list[Path]:
    """DICOM files of a data set, by patient, series and place."""
    found = []
    for path in root.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        z_mm = float(header.ImagePositionPatient[2])
        found.append((header.PatientID, str(path.parent), z_mm, path))
    return [path for *_, path in sorted(found)]


def edit_dicom(paths: list[Path], **elements: object) -> None:
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


def edit_nifti(path: Path, change) -> None:
    image = nibabel.load(path)
    nibabel.save(change(np.asanyarray(image.dataobj), image), path)


def halve(path: Path, whole_lines: bool = True) -> None:
    content = path.read_bytes()
    half = content[: len(content) // 2]
    path.write_bytes(half[: half.rindex(b"\n") + 1] if whole_lines else half)


def without_last_row(path: Path) -> None:
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:-1]))


def header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes().split(b"\n", 1)[0] + b"\n")


def share_uid(root: Path) -> None:
    first, other = slices(root)[3:5]
    edit_dicom([other], SOPInstanceUID=pydicom.dcmread(first).SOPInstanceUID)


def unlike_patients(root: Path) -> None:
    table = root / "slice_labels.csv"
    first, *rows = table.read_text().splitlines()
    names = sorted({row.split(",")[0] for row in rows})
    ids = dict(zip(names, ("p1", "P1 ")))
    renamed = [ids[row.split(",")[0]] + row[row.index(",") :] for row in rows]
    table.write_text("\n".join([first, *renamed]))


def as_unsigned(root: Path) -> None:
    for path in slices(root)[:1]:
        dataset = pydicom.dcmread(path)
        values = np.full((64, 64), 65000, "<u2")
        dataset.PixelData, dataset.PixelRepresentation = values.tobytes(), 0
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.save_as(path)


def mask(root: Path) -> Path:
    return root / "train_2/label/001.nii.gz"


def image(root: Path) -> Path:
    return root / "train_2/data/001.nii.gz"


def metres(data, found):
    found.header.set_xyzt_units("meter")
    return found


def mirrored(data, found):
    return nibabel.Nifti1Image(data, found.affine * [-1, 1, 1, 1], found.header)


def two_forms(data, found):
    found.set_qform(found.affine, 1)
    found.set_sform(found.affine * [[-1], [1], [1], [1]], 1)
    return found


BAD = {
    "no PatientID": ("rsna", lambda root: edit_dicom(slices(root), PatientID=""), "no patient id"),
    "labels cut": ("rsna", lambda root: halve(root / "stage_2_train.csv"), "missing-labels"),
    "labels cut in a line": (
        "rsna",
        lambda root: halve(root / "stage_2_train.csv", whole_lines=False),
        "missing-labels|stage_2_train.csv cannot be read",
    ),
    "no labels": ("rsna", lambda root: header_only(root / "stage_2_train.csv"), "holds no row"),
    "MR": ("rsna", lambda root: edit_dicom(slices(root), Modality="MR"), "not-ct"),
    "Z_EFF": ("cq500", lambda root: edit_dicom(slices(root), RescaleType="Z_EFF"), "not-hu"),
    "text": ("cq500", lambda root: edit_dicom(slices(root), BurnedInAnnotation="YES"), "burned-in"),
    "PixelSpacing 0": (
        "cq500",
        lambda root: edit_dicom(slices(root), PixelSpacing=["0", "0"]),
        "implausible-spacing",
    ),
    "slope -1": ("rsna", lambda root: edit_dicom(slices(root), RescaleSlope="-1"), "rescale"),
    "slope 1e30": ("rsna", lambda root: edit_dicom(slices(root), RescaleSlope="1e30"), "rescale"),
    "no offset": (
        "rsna",
        lambda root: edit_dicom(slices(root), RescaleIntercept="900"),
        "hu-range",
    ),
    "BitsStored 8": ("cq500", lambda root: edit_dicom(slices(root), BitsStored=8), "bits-stored"),
    "BitsStored 9, fitting": (
        "rsna",
        lambda root: edit_dicom(slices(root), BitsStored=9, HighBit=8),
        "bits-stored",
    ),
    "beyond int16": ("cq500", as_unsigned, "clipped"),
    "one UID twice": ("cq500", share_uid, "share one SOPInstanceUID"),
    "boxes cut": (
        "cq500",
        lambda root: halve(root / "1_Initial_Manual_Labeling.csv", whole_lines=False),
        "1_Initial_Manual_Labeling.csv",
    ),
    "reads cut": ("cq500", lambda root: without_last_row(root / "reads.csv"), "missing-labels"),
    "patient spelled twice": ("hemorica", unlike_patients, "patient-id-spelling"),
    "rows cut": ("hemorica", lambda root: halve(root / "slice_labels.csv"), "slice_labels.csv"),
    "table cut": (
        "physionet",
        lambda root: halve(root / "hemorrhage_diagnosis_raw_ct.csv"),
        "hemorrhage_diagnosis_raw_ct.csv",
    ),
    "zeros": (
        "instance2022",
        lambda root: edit_nifti(
            image(root), lambda data, found: found.__class__(data * 0, found.affine)
        ),
        "constant-image",
    ),
    "metres": ("instance2022", lambda root: edit_nifti(image(root), metres), "voxel-units"),
    "mask mirrored": ("instance2022", lambda root: edit_nifti(mask(root), mirrored), "pair_by"),
    "two forms": ("instance2022", lambda root: edit_nifti(image(root), two_forms), "pair_by"),
    "rows of labels cut": ("phe_sich", lambda root: halve(root / "labels.csv"), "missing-labels"),
    "no VOC": (
        "phe_sich",
        lambda root: (root / "annotations/0001_04.xml").write_text("<boxes/>"),
        "expected <annotation>",
    ),
    "a name in Latin-1": (
        "instance2022",
        lambda root: [
            path(root).rename(path(root).with_name(os.fsdecode(b"\xe9.nii.gz")))
            for path in (image, mask)
        ],
        "not UTF-8",
    ),
}


@pytest.mark.parametrize("name", [*WRITERS, "phe_sich"])
def test_the_sources_themselves_pass(sources, tmp_path, name):
    judge(name, sources / name, tmp_path)


@pytest.mark.parametrize(("name", "damage", "says"), BAD.values(), ids=BAD)
def test_bad_input_stops_and_is_named(sources, tmp_path, name, damage, says):
    root = tmp_path / name
    shutil.copytree(sources / name, root)
    damage(root)
    with pytest.raises(DataError, match=says):
        judge(name, root, tmp_path / "store")


@pytest.mark.parametrize("bad", ["MR", "Z_EFF", "text", "metres", "reads cut"])
def test_an_error_that_is_allowed_by_name_lets_the_run_go_on(sources, tmp_path, bad):
    name, damage, check = BAD[bad]
    root = tmp_path / name
    shutil.copytree(sources / name, root)
    damage(root)
    judge(name, root, tmp_path / "store", (check,))


def test_a_mask_of_zeros_is_a_warning_and_a_corrected_box_reaches_the_store(sources, tmp_path):
    root = tmp_path / "instance2022"
    shutil.copytree(sources / "instance2022", root)
    edit_nifti(mask(root), lambda data, found: found.__class__(data * 0, found.affine))
    reader = open_dataset("instance2022", root)
    store = build_store(reader, tmp_path / "store", workers=1)
    severe = store.findings[store.findings["severity"] != "note"]
    assert severe["check"].tolist() == ["empty-mask"] and severe["scan_id"].tolist() == ["001"]

    root = tmp_path / "phe_sich"
    shutil.copytree(sources / "phe_sich", root)
    heights = []
    for corner in ("40", "44"):
        path = root / "annotations/0001_04.xml"
        path.write_text(path.read_text().replace("<xmax>40", f"<xmax>{corner}"))
        reader = open_dataset("phe_sich", root)
        store = build_store(reader, tmp_path / "store", workers=1)
        heights.append(store.boxes["height"].max())
    assert heights == [20, 24]


@pytest.mark.parametrize("name", ["rsna", "cq500"])
def test_no_identity_of_a_header_reaches_the_store_or_its_report(sources, tmp_path, name):
    """Patient and study are known by what the data set calls them, and by nothing else."""
    root = tmp_path / name
    shutil.copytree(sources / name, root)
    hidden = {keyword: f"Geheim {keyword}"[:16] for keyword in IDENTITY_TEXTS}
    dates = dict.fromkeys(("PatientBirthDate", "StudyDate", "ContentDate"), "19500304")
    edit_dicom(slices(root), **hidden, **dates)
    store = build_store(open_dataset(name, root), tmp_path / "store", workers=1)
    found = b"".join(
        path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()
    )
    tables = (store.index, store.boxes, store.images, store.findings, store.notes)
    written = found.decode("latin-1") + "".join(table.to_csv() for table in tables)
    assert "Geheim" not in written and "19500304" not in written
