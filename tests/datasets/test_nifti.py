import gzip
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from nibabel.orientations import axcodes2ornt, ornt_transform

from ich_study.datasets import open_dataset
from ich_study.datasets.contract import mask_labels
from ich_study.datasets.instance2022 import Instance2022Reader
from ich_study.datasets.nifti import load_nifti, load_pair, recode, to_hounsfield
from ich_study.errors import DataError, ParameterError
from ich_study.integrity.scan import note_findings

ORIENTATIONS = [
    "".join(axes)
    for order in permutations((("L", "R"), ("P", "A"), ("I", "S")))
    for axes in product(*order)
]


def asymmetric(shape=(7, 6, 5)):
    """(x to the left, y to posterior, z to superior), every voxel different."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def in_axes(lps, axes, zooms=(0.5, 0.6, 5.0)):
    """The same voxels in a file of other axes, flipped and transposed by plain NumPy, with its
    affine."""
    place = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    array = lps.transpose([place[code][0] for code in axes])
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(axes):
        world, sign = place[code]
        array = array if sign > 0 else np.flip(array, axis)
        affine[world, axis] = sign * zooms[world] * (1 if world == 2 else -1)
        affine[world, 3] = 0 if sign > 0 else -affine[world, axis] * (lps.shape[world] - 1)
    return np.ascontiguousarray(array), affine


def save(path, array, affine, qform=0, sform=2):
    image = nibabel.Nifti1Image(array, None)
    image.header.set_qform(affine, qform)
    image.header.set_sform(affine if sform else None, sform)
    nibabel.save(image, path)
    return path


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_every_orientation_gives_the_same_volume(tmp_path, axes):
    lps = asymmetric()
    array, affine = in_axes(lps, axes)
    read = load_nifti(save(tmp_path / "scan.nii", array, affine))
    np.testing.assert_array_equal(read.voxels, lps.transpose(2, 1, 0))
    assert read.spacing_mm == (0.5, 0.6, 5.0)
    np.testing.assert_allclose(read.z_mm, np.arange(5) * 5.0, atol=1e-4)
    along = next(axis for axis, code in enumerate(axes) if code in "SI")
    for position, index in enumerate(read.file_slices):
        np.testing.assert_array_equal(
            np.sort(np.take(array, index, along), axis=None),
            np.sort(lps[:, :, position], axis=None),
        )


@settings(max_examples=25, deadline=None)
@given(angles=st.tuples(*[st.floats(-40, 40)] * 3), axes=st.sampled_from(ORIENTATIONS))
def test_oblique_volumes_agree_with_closest_canonical(tmp_path_factory, angles, axes):
    from scipy.spatial.transform import Rotation

    array, affine = in_axes(asymmetric(), axes)
    affine[:3] = (
        Rotation.from_euler("xyz", [a / 3 for a in angles], degrees=True).as_matrix() @ affine[:3]
    )
    path = save(tmp_path_factory.mktemp("nifti") / "scan.nii", array, affine)
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    to_lps = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("LPS"))
    oracle = canonical.as_reoriented(to_lps)
    read = load_nifti(path)
    np.testing.assert_array_equal(read.voxels, np.asarray(oracle.dataobj).transpose(2, 1, 0))
    np.testing.assert_allclose(read.affine, oracle.affine, atol=1e-4)


def test_tilt_and_shear_are_noted(tmp_path):
    array, affine = in_axes(asymmetric(), "LAS")
    angle = np.radians(19)
    turned = affine.copy()
    turned[:3, 1:3] = (
        np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        @ affine[:3, 1:3]
    )
    tilted = save(tmp_path / "tilt.nii", array, turned, qform=1, sform=0)
    assert load_nifti(tilted).notes == ("slices are tilted by 19.0 degrees against the table",)
    sheared = turned.copy()
    sheared[:3, 2] = 0, 0, 5
    notes = load_nifti(save(tmp_path / "shear.nii", array, sheared, sform=1)).notes
    assert "slices are sheared by 19.0 degrees" in notes


def test_where_pixdim_contradicts_the_affine_the_affine_wins_and_a_finding_says_so(tmp_path):
    array, affine = in_axes(asymmetric(), "SAL")
    image = nibabel.Nifti1Image(array, None)
    image.header.set_sform(affine, 2)
    image.header["pixdim"][1:4] = 4, 0.6, 0.5
    nibabel.save(image, tmp_path / "scan.nii")
    read = load_nifti(tmp_path / "scan.nii")
    assert read.spacing_mm == (0.5, 0.6, 5.0)
    assert read.notes == (
        "voxel-size: pixdim of scan.nii says 0.5 x 0.6 x 4 mm, its affine 0.5 x 0.6 x 5 mm; the"
        " affine was used",
    )
    for agreeing in ((5, 0.6, 0.5), (5.001, 0.6, 0.5)):
        image.header["pixdim"][1:4] = agreeing
        nibabel.save(image, tmp_path / "scan.nii")
        assert load_nifti(tmp_path / "scan.nii").notes == ()


def test_a_sheared_stack_is_measured_between_its_planes(tmp_path):
    array, affine = in_axes(asymmetric(), "LAS")
    affine[:3, 2] = 0.5, 2, 5
    read = load_nifti(save(tmp_path / "scan.nii", array, affine, sform=1))
    # the planes lie 5 mm apart, each 0.5 mm to the patient's right and 2 mm to anterior of the last
    assert read.spacing_mm == (0.5, 0.6, 5.0) and read.step_mm == (-0.5, -2.0)
    np.testing.assert_allclose(np.diff(read.z_mm), 5)


def test_files_without_forms_are_las_or_inherit(tmp_path):
    lps = asymmetric()
    array, affine = in_axes(lps, "LAS")
    path = save(tmp_path / "bare.nii", array, affine, sform=0, qform=0)
    read = load_nifti(path)
    np.testing.assert_array_equal(read.voxels, lps.transpose(2, 1, 0))
    assert any("neither qform nor sform" in note for note in read.notes)
    array, affine = in_axes(lps, "PIR")
    scan = save(tmp_path / "scan.nii", array, affine)
    mask = save(tmp_path / "mask.nii", (array > 100).astype(np.uint8), affine, sform=0, qform=0)
    pair = load_pair(scan, mask, {1: 6})
    np.testing.assert_array_equal(pair.mask > 0, pair.hu > 100)
    assert any("mask.nii" in note for note in pair.notes)


def test_slope_and_intercept_are_applied(tmp_path):
    array, affine = in_axes(asymmetric(), "LAS")
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_slope_inter(1, -1024)
    image = nibabel.Nifti1Image.from_bytes(_with_raw(image, array))
    nibabel.save(image, tmp_path / "a.nii")
    hu, _ = to_hounsfield(load_nifti(tmp_path / "a.nii").voxels, tmp_path / "a.nii")
    np.testing.assert_array_equal(hu, asymmetric().transpose(2, 1, 0) - 1024)


def _with_raw(image, array):
    """Bytes of an image whose stored values are `array`; nibabel itself would fit slope and
    intercept anew."""
    header = image.header.copy()
    header.set_data_dtype(np.int16)
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = 1, -1024, 352
    return header.binaryblock + b"\0" * 4 + array.tobytes(order="F")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_every_number_type_becomes_int16(tmp_path, dtype):
    hu, notes = to_hounsfield(np.full((2, 3, 4), 70, dtype), tmp_path)
    assert hu.dtype == np.int16
    assert (hu == 70).all()
    assert notes == []


def test_hu_are_rounded_and_clipped(tmp_path):
    hu, notes = to_hounsfield(np.array([[[-2579.0, -1024.0, 39.6, 5147.2, 1e6]]]), tmp_path)
    assert hu.ravel().tolist() == [-1024, -1024, 40, 5147, 32767]
    assert notes == [
        "1 voxels below -1024 HU were clipped",
        "clipped: 1 voxels above 32767 HU became 32767",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_is_refused_unless_allowed(tmp_path, value):
    voxels = np.array([[[1.0, value]]])
    with pytest.raises(DataError, match="1 of 2 voxels are NaN"):
        to_hounsfield(voxels, tmp_path)
    hu, notes = to_hounsfield(voxels, tmp_path, allow_nan=True)
    assert hu.ravel().tolist() == [1, -1024]
    assert notes[0].startswith("not-finite: ")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_truncated_files_are_named(tmp_path, name, kept):
    array = np.random.default_rng(0).integers(0, 1000, (40, 40, 10)).astype(np.int16)
    path = save(tmp_path / name, array, np.eye(4))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataError, match=name):
        load_nifti(path)


def test_other_bad_files(tmp_path):
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.nii"):
        load_nifti(tmp_path / "text.nii")
    with pytest.raises(DataError, match="does not exist"):
        load_nifti(tmp_path / "absent.nii")
    with pytest.raises(DataError, match="expected one volume"):
        load_nifti(save(tmp_path / "four.nii", np.zeros((4, 4, 4, 2), np.int16), np.eye(4)))
    with pytest.raises(DataError, match="expected numbers"):
        load_nifti(
            save(
                tmp_path / "rgb.nii",
                np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]),
                np.eye(4),
            )
        )
    path = save(tmp_path / "flat.nii", np.zeros((4, 4, 4), np.int16), np.eye(4), sform=1, qform=0)
    content = bytearray(path.read_bytes())
    content[312:328] = bytes(16)  # srow_z
    path.write_bytes(content)
    with pytest.raises(DataError, match="singular"):
        load_nifti(path)


def test_a_single_fourth_dimension_is_dropped(tmp_path):
    lps = asymmetric()
    array, affine = in_axes(lps, "RAS")
    read = load_nifti(save(tmp_path / "scan.nii", array[..., None], affine))
    np.testing.assert_array_equal(read.voxels, lps.transpose(2, 1, 0))


def test_masks_must_fit_their_scan(tmp_path):
    scan = save(tmp_path / "scan.nii", np.zeros((6, 5, 4), np.int16), np.diag([-1.0, 1, 5, 1]))
    other = save(tmp_path / "other.nii", np.zeros((6, 5, 3), np.uint8), np.diag([-1.0, 1, 5, 1]))
    with pytest.raises(DataError, match=r"other\.nii: mask is \(3, 5, 6\)"):
        load_pair(scan, other, {1: 1})
    moved = np.diag([-1.0, 1, 5, 1])
    moved[2, 3] = 40
    pair = load_pair(
        scan, save(tmp_path / "moved.nii", np.zeros((6, 5, 4), np.uint8), moved), {1: 1}
    )
    said = "affines of mask and scan disagree by {} voxels; voxels were paired by index"
    assert pair.notes == (f"mask-place: {said.format('8.0')}",)
    assert [item.severity for item in note_findings(pair.notes, "d", "s")] == ["warning"]
    moved[2, 3] = 2
    pair = load_pair(
        scan, save(tmp_path / "little.nii", np.zeros((6, 5, 4), np.uint8), moved), {1: 1}
    )
    assert pair.notes == (said.format("0.4"),)
    pair = load_pair(
        scan,
        save(tmp_path / "thin.nii", np.zeros((6, 5, 4), np.uint8), np.diag([-1.0, 1, 4, 1])),
        {1: 1},
    )
    assert pair.notes[0].startswith("mask-geometry: ")


def test_a_mask_in_other_axes_still_lies_on_its_scan(tmp_path):
    lps = asymmetric()
    scan = save(tmp_path / "scan.nii", *in_axes(lps, "LAS"))
    mask = save(tmp_path / "mask.nii", *in_axes((lps > 150).astype(np.uint8), "SPR"))
    pair = load_pair(scan, mask, {1: 6})
    np.testing.assert_array_equal(pair.mask > 0, pair.hu > 150)


def test_unknown_mask_values_are_refused(tmp_path):
    np.testing.assert_array_equal(
        recode(np.array([0.0, 1, 2]), {1: 5, 2: 3}, tmp_path), np.array([0, 5, 3], np.uint8)
    )
    for values in ([0, 7], [0, 0.5], [0, np.nan]):
        with pytest.raises(DataError, match="are not among"):
            recode(np.array(values), {1: 5}, tmp_path)


def test_mask_labels_leave_subtypes_of_unspecified_blood_unknown():
    mask = np.zeros((4, 2, 2), np.uint8)
    mask[1, 0, 0], mask[2, 0, 0], mask[3, 0] = 6, 3, (6, 1)
    labels = mask_labels(mask)
    assert labels["any"].tolist() == [False, True, True, True]
    assert labels["IPH"].isna().tolist() == [False, True, False, False]
    assert labels["SAH"].isna().tolist() == [False, True, False, True]
    assert labels["SAH"].fillna(False).tolist() == [False, False, True, False]


def findings(pair):
    return {
        item.check: (item.severity, item.detail) for item in note_findings(pair.notes, "d", "s")
    }


def two_forms(path, array, qform, sform):
    image = nibabel.Nifti1Image(array, None)
    image.header.set_qform(qform, 1)
    image.header.set_sform(sform, 2)
    nibabel.save(image, path)
    return path


def test_forms_of_other_axes_stop_unless_one_is_named(tmp_path):
    lps = asymmetric()
    array, right = in_axes(lps, "LAS")
    mirrored = right.copy()
    mirrored[0] *= -1
    scan = two_forms(tmp_path / "scan.nii", array, right, mirrored)
    for pair_by in (None, "index"):
        with pytest.raises(
            DataError, match=r"scan\.nii: qform says LAS, sform RAS.*\{scan id: qform"
        ):
            load_pair(scan, None, {}, pair_by=pair_by)
    pair = load_pair(scan, None, {}, pair_by="qform")
    np.testing.assert_array_equal(pair.hu, lps.transpose(2, 1, 0))
    severity, detail = findings(pair)["orientation"]
    assert severity == "warning" and detail.endswith("qform was used, as `pair_by` says")
    other = load_pair(scan, None, {}, pair_by="sform")
    np.testing.assert_array_equal(other.hu, lps.transpose(2, 1, 0)[:, :, ::-1])


def test_forms_that_differ_and_name_the_same_axes_are_noted(tmp_path):
    array, right = in_axes(asymmetric(), "LAS")
    moved = right.copy()
    moved[2, 3] += 40
    pair = load_pair(two_forms(tmp_path / "scan.nii", array, right, moved), None, {})
    assert "qform and sform of scan.nii differ; the sform was used" in pair.notes
    assert "orientation" not in findings(pair)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAI", "SPR"])
def test_a_mask_mirrored_by_its_header_alone_stops_unless_pairing_is_named(tmp_path, axes):
    """The mask's voxels lie as the scan's do; its header names other axes from the same corner."""
    lps = asymmetric((6, 6, 6))
    array, affine = in_axes(lps, "LAS", (0.5, 0.5, 0.5))
    wrong = in_axes(lps, axes, (0.5, 0.5, 0.5))[1]
    wrong[:3, 3] = affine[:3, 3]
    scan = save(tmp_path / "scan.nii", array, affine)
    mask = save(tmp_path / "mask.nii", (array > 150).astype(np.uint8), wrong)
    with pytest.raises(
        DataError, match=rf"mask\.nii: axes of the scan are LAS, {axes} of its mask"
    ):
        load_pair(scan, mask, {1: 6})
    pair = load_pair(scan, mask, {1: 6}, pair_by="index")
    np.testing.assert_array_equal(pair.mask > 0, pair.hu > 150)
    severity, detail = findings(pair)["orientation"]
    assert severity == "warning" and "paired by index, as `pair_by` says" in detail
    pair = load_pair(scan, mask, {1: 6}, pair_by="sform")
    assert ((pair.mask > 0) != (pair.hu > 150)).any()
    assert "each was turned by its own sform" in findings(pair)["orientation"][1]


@pytest.mark.parametrize(("degrees", "wrong"), [(0.5, False), (3.0, True)])
def test_a_mask_turned_against_its_scan_stops(tmp_path, degrees, wrong):
    array, affine = in_axes(asymmetric(), "LAS")
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = affine.copy()
    turned[:3] = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ affine[:3]
    scan = save(tmp_path / "scan.nii", array, affine)
    mask = save(tmp_path / "mask.nii", (array > 150).astype(np.uint8), turned)
    if wrong:
        with pytest.raises(DataError, match=r"lie 3\.0 degrees"):
            load_pair(scan, mask, {1: 6})
    else:
        pair = load_pair(scan, mask, {1: 6})
        np.testing.assert_array_equal(pair.mask > 0, pair.hu > 150)


@pytest.mark.parametrize("scan_axes", ["LAS", "RPI"])
@pytest.mark.parametrize("mask_axes", ["RAS", "LPI", "SAR"])
def test_truly_mirrored_storage_still_reads_exactly(tmp_path, scan_axes, mask_axes):
    lps = asymmetric()
    scan = save(tmp_path / "scan.nii", *in_axes(lps, scan_axes))
    mask = save(tmp_path / "mask.nii", *in_axes((lps > 150).astype(np.uint8), mask_axes))
    pair = load_pair(scan, mask, {1: 6})
    np.testing.assert_array_equal(pair.mask > 0, lps.transpose(2, 1, 0) > 150)
    assert "orientation" not in findings(pair)


def test_a_reader_takes_the_exception_by_the_scans_name(tmp_path):
    array, affine = in_axes(asymmetric(), "LAS")
    wrong = affine * [[-1], [1], [1], [1]]
    for folder in ("data", "label"):
        (tmp_path / "train" / folder).mkdir(parents=True)
    save(tmp_path / "train/data/001.nii", array, affine)
    save(tmp_path / "train/label/001.nii", (array > 150).astype(np.uint8), wrong)
    reader = Instance2022Reader(tmp_path, pair_by={"002": "index"})
    with pytest.raises(DataError, match="pair_by"):
        reader.load(reader.scans()[0])
    options = {"pair_by": {"001": "index"}}
    volume = open_dataset("instance2022", tmp_path, **options).load(reader.scans()[0])
    np.testing.assert_array_equal(volume.mask > 0, volume.hu > 150)
    with pytest.raises(ParameterError, match="pair_by"):
        open_dataset("instance2022", tmp_path, pair_by={"001": "guess"})


@pytest.mark.parametrize(
    ("code", "wrong"), [(0, False), (2, False), (1, True), (3, True), (5, True)]
)
def test_sizes_in_another_unit_are_an_error(tmp_path, code, wrong):
    path = save(tmp_path / "scan.nii", *in_axes(asymmetric(), "LAS"))
    content = bytearray(path.read_bytes())
    content[123] = code  # xyzt_units: 0 unknown, 1 metre, 2 mm, 3 micron
    path.write_bytes(content)
    found = findings(load_pair(path, None, {}))
    assert ("voxel-units" in found) is wrong
    assert not wrong or found["voxel-units"][0] == "error"


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_small_file_that_states_a_large_volume_is_not_unpacked(tmp_path, dtype):
    image = nibabel.Nifti1Image(np.zeros((1, 1, 1), dtype), np.eye(4))
    image.header.set_data_shape((1024, 1024, 1100))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(image.header.binaryblock + bytes(2**20)))
    with pytest.raises(
        DataError, match=r"bomb\.nii\.gz: unpacked it is .*expected at most 1024 MiB"
    ):
        load_nifti(path)
