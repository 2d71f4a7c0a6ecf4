"""Volumes and distances of tilted, sheared and unevenly spaced stacks against coordinates that the
tests work out themselves from what they wrote into the headers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from ich_study.ct.planes import PixelGrid, slice_depths_mm
from ich_study.datasets.contract import ScanRef, ScanVolume, box_frame, mask_labels
from ich_study.datasets.dicom_series import read_series
from ich_study.datasets.instance2022 import Instance2022Reader
from ich_study.errors import DataError
from ich_study.evaluate.truth import read_truth
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.integrity.lesions import lesion_statistics
from ich_study.methods.resnet_lstm.measures import volume_measures
from ich_study.phantom.dicom_slices import Storage, add, add_image, save
from ich_study.store import build_store
from tests.phantom.fake_scans import fake_scan

SLICES, SIDE, PIXEL = 14, 64, 0.5
TILTS = (0, 13, 20, 29)
EVEN = np.arange(SLICES) * 5.0
MIXED = np.concatenate([np.arange(6) * 2.5, 12.5 + 5.0 * np.arange(1, 9)])
"""2.5 mm at the base, 5 mm above, as heads are often scanned."""
TRUTH = np.zeros((SLICES, SIDE, SIDE), bool)
TRUTH[3:9, 20:34, 12:30] = True
PREDICTION = np.zeros_like(TRUTH)
PREDICTION[5:11, 26:38, 14:40] = True


def axes(tilt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along a row, down a column, along the normal, in DICOM's coordinates."""
    angle = np.radians(tilt)
    down = np.array([0, np.cos(angle), -np.sin(angle)])
    return np.array([1.0, 0, 0]), down, np.array([0, np.sin(angle), np.cos(angle)])


@dataclass
class Scan:
    """What was written, in world coordinates: corner of each slice, and the steps to the next
    column and row."""

    volume: ScanVolume
    corners: np.ndarray
    column: np.ndarray
    row: np.ndarray

    def depths(self) -> np.ndarray:
        """Half of the distance to the plane on each side; at an end the one distance."""
        normal = np.cross(self.column, self.row)
        gaps = np.abs(np.diff(self.corners @ normal / np.linalg.norm(normal)))
        return np.array([np.mean(gaps[max(i - 1, 0) : i + 1]) for i in range(len(self.corners))])

    def volume_ml(self, mask: np.ndarray) -> float:
        area = np.linalg.norm(np.cross(self.column, self.row))
        return float((mask.sum((1, 2)) * self.depths()).sum() * area / 1000)

    def surface(self, mask: np.ndarray) -> np.ndarray:
        z, r, c = np.nonzero(mask & ~ndimage.binary_erosion(mask))
        return self.corners[z] + r[:, None] * self.row + c[:, None] * self.column


def dicom(folder: Path, z_mm: np.ndarray, tilt: float, shift: str) -> Scan:
    """shift: "table" moves the slices along z, as under a tilted gantry, "normal" along their
    normal, as in an oblique reformat."""
    scan = fake_scan(1, slices=SLICES, tilt=tilt)
    across, down, normal = axes(tilt)
    centres = np.outer(z_mm, (0, 0, 1) if shift == "table" else normal)
    corners = centres - (SIDE - 1) / 2 * PIXEL * (across + down)
    folder.mkdir()
    for i, corner in enumerate(corners):
        dataset = add(pydicom.Dataset(), SOPInstanceUID=f"1.{i}", SliceThickness="5")
        add(dataset, PatientID="p", StudyInstanceUID="1", SeriesInstanceUID="1.2")
        add_image(dataset, scan, 0.0, Storage().stored(scan.hu[i]), Storage())
        add(dataset, ImagePositionPatient=[f"{value:.6f}" for value in corner])
        save(dataset, folder / f"{SLICES - i}.dcm")
    series, mask = read_series(sorted(folder.iterdir())), np.uint8(TRUTH)
    stack = series.stack
    volume = ScanVolume(
        ref=ScanRef("own", "p", "s", ()),
        hu=series.hu,
        z_mm=stack.z_mm,
        shift_mm=stack.shift_mm,
        spacing_mm=stack.spacing_mm,
        thickness_mm=stack.thickness_mm,
        labels=mask_labels(mask),
        mask=mask,
        boxes=box_frame([]),
        boxes_known=np.zeros(SLICES, bool),
        sources=("",) * SLICES,
    )
    return Scan(volume, corners, PIXEL * across, PIXEL * down)


def nifti(root: Path, tilt: float, kind: str) -> Scan:
    """kind: "rotated" (the slices step along their normal, by qform) or "sheared" (along z, by
    sform)."""
    across, down, normal = axes(tilt)
    step = 5 * normal if kind == "rotated" else np.array([0, 0, 5.0])
    affine = np.eye(4)  # LPS to RAS turns the first two coordinates round
    affine[:3, :3] = np.diag([-1, -1, 1]) @ np.stack([PIXEL * across, PIXEL * down, step], axis=1)
    for name, array in (("data", fake_scan(1, slices=SLICES).hu), ("label", np.uint8(TRUTH))):
        image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine)
        image.set_qform(affine if kind == "rotated" else None, int(kind == "rotated"))
        image.set_sform(affine if kind == "sheared" else None, int(kind == "sheared"))
        (root / "train_2" / name).mkdir(parents=True)
        nibabel.save(image, root / "train_2" / name / "001.nii.gz")
    reader = Instance2022Reader(root)
    volume = reader.load(reader.scans()[0])
    return Scan(volume, np.outer(np.arange(SLICES), step), PIXEL * across, PIXEL * down)


@dataclass
class Loaded:
    """A reader of one scan that is in memory."""

    root: Path
    _volume: ScanVolume
    intensity: str = "hu"

    @property
    def name(self) -> str:
        return self._volume.ref.dataset

    def scans(self) -> list[ScanRef]:
        return [replace(self._volume.ref, files=(self.root,))]

    def load(self, ref: ScanRef) -> ScanVolume:
        return self._volume


KINDS = {}
for _tilt in TILTS:
    for _shift in ("table", "normal"):
        KINDS[f"dicom {_tilt} {_shift}"] = (dicom, (EVEN, _tilt, _shift))
        KINDS[f"dicom mixed {_tilt} {_shift}"] = (dicom, (MIXED, _tilt, _shift))
    for _kind in ("rotated", "sheared"):
        KINDS[f"nifti {_tilt} {_kind}"] = (nifti, (_tilt, _kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_ml_and_mm_is_that_of_the_planes(tmp_path, kind):
    write, arguments = KINDS[kind]
    scan = write(tmp_path / "scan", *arguments)
    store = build_store(Loaded(tmp_path, scan.volume), tmp_path / "store", workers=1)
    expected = scan.volume_ml(TRUTH)
    within = {"rel": 1e-3}
    assert lesion_statistics(store)["volume_ml"].sum() == pytest.approx(expected, **within)

    grid = Preprocessing(("brain",), "fixed", 1, SIDE, "none", (0.0,), (1.0,))
    truth = read_truth(store, store.index, grid, brain=False, progress=False)
    measured = truth.mask().sum((1, 2)) @ truth.pixel_ml
    assert measured == pytest.approx(expected, **within)

    found = volume_measures(PREDICTION, TRUTH, PixelGrid.of(store.index), 1.0)
    predicted = scan.volume_ml(PREDICTION)
    assert found["truth_ml"] == pytest.approx(expected, **within)
    assert found["predicted_ml"] == pytest.approx(predicted, **within)
    assert found["rvd"] == pytest.approx(abs(predicted - expected) / expected, **within)
    apart = cdist(scan.surface(PREDICTION), scan.surface(TRUTH))
    nearest = np.concatenate([apart.min(1), apart.min(0)])
    assert found["hausdorff"] == pytest.approx(nearest.max(), **within)
    for tolerance in (1.1, 2.6, 4.7):
        near = volume_measures(PREDICTION, TRUTH, PixelGrid.of(store.index), tolerance)
        # no distance lies within rounding of these tolerances
        assert near["surface_dice"] == pytest.approx((nearest <= tolerance).mean())


def test_the_median_step_of_the_table_would_not_do(tmp_path):
    """That right and wrong differ in the test above: by the table's step 29 degrees are 14 %."""
    tilted = dicom(tmp_path / "tilted", EVEN, 29, "table")
    assert TRUTH.sum() * 5 * PIXEL**2 / 1000 > 1.14 * tilted.volume_ml(TRUTH)
    mixed = dicom(tmp_path / "mixed", MIXED, 0, "table")
    assert TRUTH.sum() * 5 * PIXEL**2 / 1000 > 1.25 * mixed.volume_ml(TRUTH)


def test_depth_is_half_of_each_gap_and_at_an_end_the_one_gap():
    assert slice_depths_mm(np.array([0.0, 2.0, 4.0, 9.0]), 7).tolist() == [2, 2, 3.5, 5]
    assert slice_depths_mm(np.array([9.0, 0.0, 4.0, 2.0]), 7).tolist() == [5, 2, 3.5, 2]
    assert slice_depths_mm(np.array([3.0]), 7).tolist() == [7]
    assert slice_depths_mm(np.array([0.0, np.nan, 4.0]), 7).tolist() == [7, 7, 7]
    assert np.isnan(slice_depths_mm(np.full(2, np.nan), np.nan)).all()


def test_a_grid_needs_every_slice_of_its_scan():
    rows = pd.DataFrame({"slice_index": [0, 2], "z_mm": 0.0})
    with pytest.raises(DataError, match="needs all slices of one scan"):
        PixelGrid.of(rows)
