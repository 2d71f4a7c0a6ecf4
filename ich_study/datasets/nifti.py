"""NIfTI volumes and masks in the orientation of the readers' contract, read with nibabel.

SimpleITK refuses four of BHSD's volumes ("only orthonormal direction cosines"); nibabel reads them.
The array is permuted and flipped to the closest axes, never resampled: a tilted gantry stays in the
picture, as it does for the radiologist, and is noted.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError

from ich_study.datasets.files import require_file, require_room
from ich_study.errors import DataError

LOWEST_HU, HIGHEST_HU = -1024, 32767
CONTRACT_AXES = ("L", "P", "S")
TILT_NOTED_DEGREES = 0.5
SAME_DIRECTION_DEGREES, SAME_PLACE_VOXELS = 1.0, 0.5

Pairing: TypeAlias = Literal["index", "qform", "sform"]
"""What decides where the headers of a scan and its mask contradict each other about direction:
"qform" or "sform" of each file, or "index": a voxel of the mask is that of the same index of the
scan, whatever the mask's header says."""


@dataclass(frozen=True)
class NiftiArray:
    """One file's voxels in the contract's orientation.

    voxels: (slices, rows, columns) in the file's own number type, scaled by slope and intercept.
    affine: voxel (column, row, slice) of `voxels` to RAS mm, float64 (4, 4); `file_affine` is
        the file's own, for its own order of axes.
    spacing_mm: (x, y, between slice planes along their normal), from the affine, whose numbers are
        float32 in the file: six decimals. step_mm: (x, y), by which the next slice lies displaced
        within its plane.
    file_slices: (slices,), index of each slice along its axis of the file.
    """

    voxels: np.ndarray
    affine: np.ndarray
    file_affine: np.ndarray
    spacing_mm: tuple[float, float, float]
    step_mm: tuple[float, float]
    file_slices: np.ndarray
    notes: tuple[str, ...]

    @property
    def z_mm(self) -> np.ndarray:
        """Position of every slice along the normal, float64 (slices,), ascending."""
        slices, rows, columns = self.voxels.shape
        centre = self.affine[:3] @ np.array([(columns - 1) / 2, (rows - 1) / 2, 0, 1])
        return centre @ _axes(self.affine)[2] + self.spacing_mm[2] * np.arange(slices)


@dataclass(frozen=True)
class NiftiPair:
    """A scan and its mask on one grid: int16 HU, and uint8 codes of the schema or None."""

    image: NiftiArray
    hu: np.ndarray
    mask: np.ndarray | None
    notes: tuple[str, ...]


def load_nifti(
    path: Path,
    inherit_axes_from: np.ndarray | None = None,
    pair_by: Pairing | None = None,
) -> NiftiArray:
    """A 3-D NIfTI file, permuted and flipped to slices inferior to superior, row 0 anterior, column
    0 right.

    inherit_axes_from: affine of another file, used where this one has neither qform nor sform;
    without it such a file is taken as LAS, which is what NIfTI's method 1 says and what these
    data sets are. pair_by: the form to believe where the file's two name other axes; with "index"
    a mask takes the inherited affine in any case. Raises DataError that names the file when it is
    truncated, damaged, too large, not a 3-D volume of numbers, contradicts itself about direction
    or has an unusable affine.
    """
    image, raw = _read(path)
    affine, notes = _affine(image, path, inherit_axes_from, pair_by)
    notes += _unit_notes(image, path)
    zooms = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    if not np.isfinite(zooms).all() or (zooms <= 0).any():
        raise DataError(
            f"{path}: voxel size is {zooms.tolist()} mm; expected three positive numbers"
        )
    transform = ornt_transform(io_orientation(affine), axcodes2ornt(CONTRACT_AXES))
    turned = affine @ inv_ornt_aff(transform, raw.shape)
    order = [int(np.flatnonzero(transform[:, 0] == axis)[0]) for axis in range(3)]
    file_slices = np.arange(raw.shape[order[2]])[:: int(transform[order[2], 1])]
    voxels = np.ascontiguousarray(apply_orientation(raw, transform).transpose(2, 1, 0))
    # Of a pixel, of a row and of a slice to the next, in the axes of the stack.
    across, down, step = (_axes(turned) @ turned[:3, :3]).T.round(6).tolist()
    spacing_mm = across[0], down[1], step[2]
    notes += _contradiction(zooms[order], turned, spacing_mm, path) + _obliquity(turned)
    return NiftiArray(
        voxels, turned, affine, spacing_mm, (step[0], step[1]), file_slices, tuple(notes)
    )


def _axes(affine: np.ndarray) -> np.ndarray:
    """Unit vectors along a row, down a column and along the normal of the slices, (3, 3), at right
    angles, of an affine in the contract's orientation: the normal points to superior."""
    across, down, _ = affine[:3, :3].T
    normal = np.cross(across, down)
    axes = np.stack([across, np.cross(normal, across), normal])
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _contradiction(
    zooms: np.ndarray, affine: np.ndarray, spacing_mm: tuple[float, float, float], path: Path
) -> list[str]:
    """A note where the header's voxel size is not the affine's, by which everything is measured.

    In a sheared stack the header may state the step of the table or the distance of the planes.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if any(np.allclose(zooms, known, rtol=1e-3) for known in (lengths, spacing_mm)):
        return []
    stated, measured = (" x ".join(f"{side:.4g}" for side in sizes) for sizes in (zooms, lengths))
    return [
        f"voxel-size: pixdim of {path.name} says {stated} mm, its affine {measured} mm; the affine"
        " was used"
    ]


def _read(path: Path) -> tuple[nibabel.Nifti1Image, np.ndarray]:
    require_file(path, "a NIfTI volume")
    try:
        image = nibabel.load(path, mmap=False)
        shape = image.shape[:3] if image.ndim > 3 and set(image.shape[3:]) == {1} else image.shape
        if len(shape) != 3 or 0 in shape:
            raise DataError(f"{path}: shape is {image.shape}; expected one volume")
        if image.get_data_dtype().kind not in "iuf":
            raise DataError(f"{path}: voxels are {image.get_data_dtype()}; expected numbers")
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        size = 8 if scaled else image.get_data_dtype().itemsize  # nibabel scales in float64
        require_room(path, size * np.prod(shape, dtype=float))
        return image, np.asanyarray(image.dataobj).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, ImageFileError, HeaderDataError) as error:
        raise DataError(
            f"{path} is truncated or not a NIfTI file ({error}); copy it again"
        ) from error


def _unit_notes(image: nibabel.Nifti1Image, path: Path) -> list[str]:
    try:
        unit = image.header.get_xyzt_units()[0]
    except KeyError:
        unit = "a unit that NIfTI does not know"
    if unit in ("mm", "unknown"):
        return []
    return [f"voxel-units: {path.name} gives its sizes in {unit}; they are read as mm"]


def _axes_words(affine: np.ndarray) -> str:
    return "".join(aff2axcodes(affine))


def _affine(
    image: nibabel.Nifti1Image,
    path: Path,
    inherited: np.ndarray | None,
    pair_by: Pairing | None,
) -> tuple[np.ndarray, list[str]]:
    affine, notes = np.asarray(image.affine, dtype=np.float64), []
    codes = int(image.header["qform_code"]), int(image.header["sform_code"])
    if pair_by == "index" and inherited is not None:
        return inherited, []
    if codes == (0, 0):
        affine = affine if inherited is None else inherited
        notes.append(
            f"neither qform nor sform in {path.name}; axes taken"
            f" {'as LAS' if inherited is None else 'from the scan'}"
        )
    elif all(codes):
        affine, notes = _one_form(image, path, pair_by)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(
            f"{path}: its affine is singular or not finite, so the orientation is unknown"
        )
    return affine, notes


def _one_form(
    image: nibabel.Nifti1Image, path: Path, pair_by: Pairing | None
) -> tuple[np.ndarray, list[str]]:
    """The affine of a file with both forms, and what to note: the sform, unless they name other
    axes; then the one that the parameters name."""
    try:
        forms = {"qform": image.header.get_qform(), "sform": image.header.get_sform()}
    except (ValueError, HeaderDataError) as error:
        raise DataError(f"{path}: its qform is no rotation ({error}); fetch it again") from error
    if np.allclose(forms["qform"], forms["sform"], atol=0.01):
        return forms["sform"], []
    axes = {name: _axes_words(form) for name, form in forms.items()}
    if axes["qform"] == axes["sform"]:
        return forms["sform"], [f"qform and sform of {path.name} differ; the sform was used"]
    said = f"qform says {axes['qform']}, sform {axes['sform']}"
    if pair_by not in forms:
        raise DataError(
            f"{path}: {said}. Look which is right, and name it in this reader's `pair_by`:"
            " {scan id: qform} or {scan id: sform}"
        )
    return forms[pair_by], [
        f"orientation: of {path.name} {said}; {pair_by} was used, as `pair_by` says"
    ]


def _obliquity(affine: np.ndarray) -> list[str]:
    """Notes on tilt and shear: the angle of the slice plane to the table, and of the slice step to
    the plane's normal."""
    column, row, step = (vector / np.linalg.norm(vector) for vector in affine[:3, :3].T)
    normal = np.cross(column, row)
    normal /= np.linalg.norm(normal)
    tilt, shear = (
        float(np.degrees(np.arccos(np.clip(abs(value), 0, 1))))
        for value in (normal[2], normal @ step)
    )
    notes = (
        [f"slices are tilted by {tilt:.1f} degrees against the table"]
        if tilt > TILT_NOTED_DEGREES
        else []
    )
    return notes + (
        [f"slices are sheared by {shear:.1f} degrees"] if shear > TILT_NOTED_DEGREES else []
    )


def to_hounsfield(
    voxels: np.ndarray, path: Path, allow_nan: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Voxels in HU as int16, rounded and clipped at -1024 (padding) and 32767, with notes on what
    changed.

    Raises DataError for NaN or infinity, unless `allow_nan`: then they become -1024.
    """
    notes = []
    if voxels.dtype.kind == "f" and not (finite := np.isfinite(voxels)).all():
        broken = int(voxels.size - finite.sum())
        if not allow_nan:
            raise DataError(
                f"{path}: {broken} of {voxels.size} voxels are NaN or infinite; allow_nan=True"
                " reads them as air"
            )
        voxels = np.where(finite, voxels, LOWEST_HU)
        notes.append(
            f"not-finite: {broken} of {voxels.size} voxels were NaN or infinite and became"
            f" {LOWEST_HU} HU"
        )
    wide = (
        np.rint(voxels)
        if voxels.dtype.kind == "f"
        else voxels.astype(np.result_type(voxels, np.int16), copy=False)
    )
    below, above = int((wide < LOWEST_HU).sum()), int((wide > HIGHEST_HU).sum())
    if below:
        notes.append(f"{below} voxels below {LOWEST_HU} HU were clipped")
    if above:
        notes.append(f"clipped: {above} voxels above {HIGHEST_HU} HU became {HIGHEST_HU}")
    return np.clip(wide, LOWEST_HU, HIGHEST_HU).astype(np.int16), notes


def recode(values: np.ndarray, codes: Mapping[int, int], path: Path) -> np.ndarray:
    """A mask's values as codes of the schema, uint8 of the same shape; 0 stays background.

    Raises DataError that lists values which are not in `codes`.
    """
    found = np.unique(values[values != 0])
    unknown = [value.item() for value in found if value not in codes]
    if unknown:
        raise DataError(
            f"{path}: mask values {unknown[:5]} are not among {[0, *codes]}; is this the right"
            " label map?"
        )
    mask = np.zeros(values.shape, np.uint8)
    for value, code in codes.items():
        if value == 0 or value in found:
            mask[values == value] = code
    return mask


def load_pair(
    image_path: Path,
    mask_path: Path | None,
    codes: Mapping[int, int],
    allow_nan: bool = False,
    pair_by: Pairing | None = None,
) -> NiftiPair:
    """A scan in HU and its mask, both in the contract's orientation.

    codes: value in the file to `schema.MASK_CODES` or 6. Raises DataError when the shapes
    disagree, or the directions, or a mask of other axes lies on blood only as it is stored, unless
    `pair_by` says what to believe; affines that disagree otherwise (four volumes of BHSD) are
    noted.
    """
    image = load_nifti(image_path, pair_by=pair_by)
    hu, notes = to_hounsfield(image.voxels, image_path, allow_nan)
    notes = [*image.notes, *notes]
    if mask_path is None:
        return NiftiPair(image, hu, None, tuple(notes))
    drawn = load_nifti(mask_path, image.file_affine, pair_by)
    if drawn.voxels.shape != hu.shape:
        raise DataError(
            f"{mask_path}: mask is {drawn.voxels.shape}, its scan {image_path.name} is {hu.shape}"
            " (slices, rows, columns)"
        )
    notes += [note for note in drawn.notes if mask_path.name in note and note not in notes]
    notes += _direction_notes(image, drawn, mask_path, pair_by)
    if pair_by is None and _axes_words(image.file_affine) != _axes_words(drawn.file_affine):
        by_index = load_nifti(mask_path, image.file_affine, "index").voxels > 0
        _refuse_denser(hu, drawn.voxels > 0, by_index, mask_path)
    if not np.allclose(drawn.spacing_mm, image.spacing_mm, rtol=1e-3):
        notes.append(
            f"mask-geometry: voxels of the mask are {_mm(drawn)}, those of the scan {_mm(image)}"
        )
    elif not np.allclose(drawn.affine, image.affine, atol=0.01):
        away = np.abs(_voxels_apart(image, drawn)).max()
        check = "mask-place: " if away > SAME_PLACE_VOXELS else ""
        notes.append(
            f"{check}affines of mask and scan disagree by {away:.1f} voxels; voxels were paired by"
            " index"
        )
    return NiftiPair(image, hu, recode(drawn.voxels, codes, mask_path), tuple(notes))


def _direction_notes(
    image: NiftiArray, drawn: NiftiArray, path: Path, pair_by: Pairing | None
) -> list[str]:
    """What was done where scan and mask disagree about direction.

    They do where their axes in the contract's orientation differ by more than a degree, and where
    the files name other axes and yet do not cover the same place: one of the two is mirrored by
    its header alone. Truly mirrored storage covers the same place.
    """
    axes = [_axes_words(array.file_affine) for array in (image, drawn)]
    if pair_by == "index":
        own = _axes_words(nibabel.load(path, mmap=False).affine)
        said = f"axes of the scan are {axes[0]}, {own} of its mask {path.name}"
        return [f"orientation: {said}; voxels were paired by index, as `pair_by` says"]
    linear = (image.affine[:3, :3], drawn.affine[:3, :3])
    cosines = [matrix / np.linalg.norm(matrix, axis=0) for matrix in linear]
    angle = np.degrees(np.arccos(np.clip((cosines[0] * cosines[1]).sum(axis=0), -1, 1))).max()
    shift = np.abs(_voxels_apart(image, drawn)).max()
    if angle <= SAME_DIRECTION_DEGREES and (axes[0] == axes[1] or shift <= SAME_PLACE_VOXELS):
        return []
    said = (
        f"axes of the scan are {axes[0]}, {axes[1]} of its mask {path.name}; they lie {angle:.1f}"
        f" degrees and {shift:.1f} voxels apart in space"
    )
    if pair_by is None:
        raise DataError(
            f"{path}: {said}. Look how the mask lies on the scan, and name in this reader's"
            " `pair_by` what to pair by: {scan id: index}, or qform or sform of each file"
        )
    return [f"orientation: {said}; each was turned by its own {pair_by}, as `pair_by` says"]


def _voxels_apart(image: NiftiArray, drawn: NiftiArray) -> np.ndarray:
    """From the first voxel of a scan to that of its mask in space, in voxels of the scan, (3,)."""
    return np.linalg.solve(image.affine[:3, :3], drawn.affine[:3, 3] - image.affine[:3, 3])


def _refuse_denser(hu: np.ndarray, drawn: np.ndarray, by_index: np.ndarray, path: Path) -> None:
    """DataError where a mask whose header names other axes than its scan's, and covers the same
    place, lies on denser tissue as its voxels are stored: fresh blood is denser than brain, so the
    mask was drawn on the voxels and its header alone is mirrored. All are (slices, rows, columns).
    """
    if not drawn.any() or by_index.shape != hu.shape:
        return
    by_header, as_stored = (float(np.median(hu[marked])) for marked in (drawn, by_index))
    if as_stored > by_header:
        raise DataError(
            f"{path}: its axes are not its scan's. Turned as its header says, the mask lies on a"
            f" median of {by_header:g} HU; as its voxels are stored, on {as_stored:g} HU. Is the"
            " header alone mirrored? Look how the mask lies on the scan, and name in this"
            " reader's `pair_by` what to pair by: {scan id: index}, or sform if the header is right"
        )


def _mm(array: NiftiArray) -> str:
    return " x ".join(f"{size:.3f}" for size in array.spacing_mm) + " mm"
