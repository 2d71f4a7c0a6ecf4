import os

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_fill_holes

from ich_study.ct.brain_mask import border_connected
from ich_study.datasets import open_dataset
from ich_study.datasets.phe_sich import WHITE_HU, PheSichReader, _boxes
from ich_study.errors import DataError, ParameterError
from ich_study.integrity.scan import note_findings
from ich_study.paths import real_data_root
from ich_study.store.fingerprint import fingerprint, source_marks

BOX = (
    "<object><name>a</name><bndbox><xmin>8</xmin><ymin>20</ymin>"
    "<xmax>16</xmax><ymax>26</ymax></bndbox></object>"
)
LEVELS_120 = np.floor(np.arange(121) * 255 / 120 + 0.4999).astype(np.uint8)


def picture(seed=0, levels=LEVELS_120):
    """A head on its side: anterior left, right on top; bone ring, black air around it and one black
    cell inside."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((48, 40), np.uint8)
    grey[8:40, 4:36] = 255
    grey[10:38, 6:34] = rng.permutation(np.resize(levels[1:-1], 28 * 28)).reshape(28, 28)
    grey[20:22, 30:32] = 0
    return grey


def write(folder, stem, grey, boxes="", annotations=None, xml_stem=None, filename="x.jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(folder / f"{stem}.png")
    if annotations is not None:
        annotations.mkdir(parents=True, exist_ok=True)
        text = f"<annotation><filename>{filename}</filename>{boxes}</annotation>"
        (annotations / f"{xml_stem or stem}.xml").write_text(text)


@pytest.fixture
def flat(tmp_path):
    root = tmp_path / "phe"
    for number in range(3):
        write(
            root / "images",
            f"0007_{number:02d}",
            picture(number),
            BOX if number == 1 else "",
            root / "annotations",
        )
    (root / "labels.csv").write_text(
        "filename,label\n0007_00.png,0\n0007_01.png,1\n0007_02.png,0\n"
    )
    return root


def test_the_flat_layout(flat):
    reader = PheSichReader(flat)
    (ref,) = reader.scans()
    assert (ref.patient_id, ref.scan_id) == ("0007", "0007")
    volume = reader.load(ref)
    assert volume.hu.shape == (3, 40, 48)
    assert volume.labels["any"].tolist() == [False, True, False]
    assert volume.labels.drop(columns="any").isna().all(axis=None)
    assert volume.mask is None
    assert volume.boxes_known.all()
    assert volume.boxes[
        ["slice_index", "x", "y", "width", "height", "label"]
    ].to_numpy().tolist() == [[1, 20, 8, 6, 8, "any"]]
    assert np.isnan([*volume.z_mm, *volume.spacing_mm, volume.thickness_mm]).all()
    assert volume.sources[2] == "images/0007_02.png"
    assert volume.notes == ("121 grey levels, so the export window is 120 HU wide",)


def test_grey_becomes_hu(flat):
    reader = PheSichReader(flat)
    volume = reader.load(reader.scans()[0])
    grey = picture().T
    levels = {int(level): hu for hu, level in enumerate(LEVELS_120, start=-20)}
    inside = (grey > 0) & (grey < 255)
    np.testing.assert_array_equal(
        volume.hu[0][inside], [levels[int(value)] for value in grey[inside]]
    )
    assert (volume.hu[0][grey == 255] == 1000).all()
    assert (volume.hu[0][30:32, 20:22] == -20).all()
    assert volume.hu[0, 0, 0] == volume.hu[0, -1, 20] == -1000
    assert "around 40 HU" in reader.intensity


def test_the_width_can_be_given(flat):
    reader = PheSichReader(flat, export_width=80)
    volume, grey = reader.load(reader.scans()[0]), picture().T
    inside = (grey > 0) & (grey < 255)
    expected = np.rint(grey * (80 / 255)).astype(np.int16)
    np.testing.assert_array_equal(volume.hu[0][inside], expected[inside])
    assert "80 HU wide" in reader.intensity
    with pytest.raises(ParameterError, match="export_width"):
        PheSichReader(flat, export_width=0.0)


def test_a_window_of_80_is_read_off_the_levels(tmp_path):
    write(
        tmp_path / "images", "0165_00", picture(levels=(np.arange(81) * 255 // 80).astype(np.uint8))
    )
    reader = PheSichReader(tmp_path)
    volume = reader.load(reader.scans()[0])
    assert volume.notes == ("81 grey levels, so the export window is 80 HU wide",)
    assert volume.labels["any"].isna().all()
    assert not volume.boxes_known.any()


def test_levels_that_tell_no_window_ask_for_it(tmp_path):
    write(tmp_path / "images", "0001_00", np.arange(256, dtype=np.uint8).reshape(16, 16))
    reader = PheSichReader(tmp_path)
    with pytest.raises(DataError, match=r"256 grey levels.*give export_width"):
        reader.load(reader.scans()[0])


def test_the_full_layout_with_three_digit_names_and_gaps(tmp_path):
    images, annotations = (
        tmp_path / "SubdatasetC_PNG/set/image13",
        tmp_path / "SubdatasetC_PNG/annotation/annotation13",
    )
    for number in (0, 1, 3, 10):
        boxes = BOX if number == 3 else ""
        write(
            images,
            f"0013_{number:02d}",
            picture(number),
            boxes,
            annotations,
            f"013_{number:02d}",
            filename="../../../etc/passwd",
        )
    reader = PheSichReader(tmp_path)
    volume = reader.load(reader.scans()[0])
    assert volume.labels["any"].tolist() == [False, False, True, False]
    assert volume.boxes["slice_index"].tolist() == [2]
    assert volume.notes[-1] == "missing-slices: the numbering leaves out [2, 4, 5, 6, 7, 8, 9]"
    assert volume.sources[3].endswith("image13/0013_10.png")


def test_damaged_pictures_are_named(flat):
    reader = PheSichReader(flat)
    ref = reader.scans()[0]
    path = ref.files[1]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"0007_01\.png"):
        reader.load(ref)
    Image.fromarray(np.zeros((48, 40, 3), np.uint8)).save(path)
    with pytest.raises(DataError, match="8-bit grey"):
        reader.load(ref)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    with pytest.raises(DataError, match=r"\(8, 8\)"):
        reader.load(ref)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../../0007_00.png,1", "is not <patient>_<slice>"),
        ("0099_00.png,1", "1 rows of labels.csv have no picture, the first is 0099_00"),
        ("0007_01.png,2", "labelled '2'"),
        ("0007_01.png,0", "both 0 and 1"),
    ],
)
def test_bad_labels(flat, line, message):
    with (flat / "labels.csv").open("a") as table:
        table.write(f"{line}\n")
    with pytest.raises(DataError, match=message):
        PheSichReader(flat).scans()


def test_a_picture_without_a_row_is_an_error_of_the_data_set(flat):
    reader = PheSichReader(flat)
    reader.scans()
    assert reader.findings == ()
    (flat / "labels.csv").write_text("filename,label\n0007_00.png,0\n")
    reader.scans()
    (finding,) = note_findings(reader.findings, "phe_sich", "")
    assert (finding.severity, finding.check) == ("error", "missing-labels")
    assert finding.detail.startswith("2 of 3 pictures") and finding.detail.endswith("0007_01")


def test_a_corrected_box_makes_the_scan_be_built_anew(flat):
    def found() -> str:
        ref = PheSichReader(flat).scans()[0]
        return fingerprint(ref, "", flat, source_marks(ref, flat))

    before = found()
    path = flat / "annotations" / "0007_01.xml"
    path.write_text(path.read_text().replace("<xmax>16<", "<xmax>17<"))
    os.utime(path, ns=(1, 1))
    assert found() != before


def test_bad_folders(flat, tmp_path):
    with pytest.raises(DataError, match=r"(?s)no folder .*none.*figshare"):
        PheSichReader(tmp_path / "none")
    (flat / "labels.csv").write_text("name,answer\n")
    with pytest.raises(DataError, match="no columns"):
        PheSichReader(flat).scans()
    (flat / "labels.csv").unlink()
    (flat / "images" / "0007_02.png").unlink()
    with pytest.raises(DataError, match="1 annotations have no picture"):
        PheSichReader(flat).scans()
    Image.fromarray(picture()).save(flat / "images" / "7_2.png")
    Image.fromarray(picture()).save(flat / "images" / "07_2.png")
    with pytest.raises(DataError, match="the same slice twice"):
        PheSichReader(flat).scans()
    (flat / "images").rename(flat / "pictures")
    with pytest.raises(DataError, match="SubdatasetC_PNG"):
        PheSichReader(flat).scans()


def test_border_connection_needs_edges_not_corners():
    black = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    expected = np.zeros((4, 4), bool)
    expected[0, 0] = expected[3, 3] = True
    np.testing.assert_array_equal(border_connected(black[None])[0], expected)


REAL = real_data_root()
ABSENT = REAL is None or not (REAL / "phe_sich").is_dir()
needs_real = pytest.mark.skipif(
    ABSENT, reason="the real PHE-SICH slices are not here (ICH_REAL_DATA)"
)


@pytest.fixture(scope="module")
def real():
    reader = open_dataset("phe_sich", REAL / "phe_sich")
    return reader, reader.scans()


@needs_real
def test_real_counts(real):
    _, refs = real
    assert len(refs) == 60
    assert sum(len(ref.details["numbers"]) for ref in refs) == 1785
    assert sum(sum(ref.details["labels"]) for ref in refs) == 353
    assert sum(len(_boxes(ref)) for ref in refs) == 353


@needs_real
def test_real_scans_lie_in_the_contracts_orientation(real):
    reader, refs = real
    brains, boxes = [], 0
    for ref in [*refs[::6], refs[-3]]:
        volume = reader.load(ref)
        for box in volume.boxes.itertuples():
            head = binary_fill_holes(volume.hu[box.slice_index] > -1000)
            left, top = int(box.x), int(box.y)
            assert head[top : top + int(box.height), left : left + int(box.width)].mean() > 0.97, (
                ref.scan_id,
                box,
            )
            assert volume.labels["any"].iloc[box.slice_index]
            boxes += 1
        white = volume.hu == WHITE_HU
        assert white[:, -80:].sum() > white[:, :80].sum(), (
            f"{ref.scan_id}: the head rest does not lie below the head"
        )
        middle = volume.hu[len(volume.hu) // 2]
        brains.append(np.median(middle[(middle > 0) & (middle < 60)]))
    assert boxes > 40
    assert 20 < np.median(brains) < 40


@needs_real
def test_the_real_chest_shows_the_descending_aorta_on_the_patients_left(real):
    """Patient 163 was scanned from the chest up; in slice 0 the descending aorta lies beside the
    vertebra."""
    reader, refs = real
    volume = reader.load(next(ref for ref in refs if ref.patient_id == "0163"))
    chest = volume.hu[0]
    left_of_spine, right_of_spine = chest[300:340, 300:330], chest[300:340, 192:222]
    assert np.median(left_of_spine) > 20
    assert np.median(right_of_spine) < 0
