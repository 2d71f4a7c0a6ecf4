"""Brain mask of a head CT: the published recipe with its brain extraction replaced by morphology.

Published recipe (Muschelli 2015 and 2019, cited by HGI-SAM, Section 3): keep HU 0..100, smooth with
sigma 1, FSL's BET with fractional intensity 0.01, fill holes; HGI-SAM's masks start from HU -20..100
and are eroded afterwards by an unknown amount (reproduction facts, 003).

FSL is not used here. BET's expanding surface is replaced by three steps on a grid of about 1 mm:
tissue in the HU window that bone surrounds on most of eight rays (which drops scalp, orbits and
neck), an opening per slice (which cuts the leaks through the skull's foramina), and the largest
three-dimensional component. This is an equivalent in purpose, not in voxels: BET itself is not at
hand to compare with. It is checked on heads of known geometry and on truth brains of the phantom
(Dice), and by looking at real scans; it may differ from BET at the skull base and in scans that
reach below the foramen magnum.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from ich_study.errors import ParameterError

_GRID_MM = 1.0
_REGROWN_MM = 3.0


@dataclass(frozen=True)
class BrainMaskRecipe:
    """Parameters of the recipe.

    low_hu, high_hu: window of brain tissue; (0, 100) as published, (-20, 100) in HGI-SAM's code. For
        grey values exported with a clipped window choose bounds inside it, such as (3, 79) for 0..80.
    bone_hu: what counts as bone for the rays. smooth_mm: sigma of the in-plane smoothing.
    opening_mm: radius of the opening; passages narrower than twice this are cut.
    enclosed: how many of the eight rays must meet bone. erode_mm: final in-plane erosion.
    default_spacing_mm: (z, y, x) that stands in for unknown (NaN) sides.
    """

    low_hu: float = 0.0
    high_hu: float = 100.0
    bone_hu: float = 150.0
    smooth_mm: float = 1.0
    opening_mm: float = 5.0
    enclosed: int = 7
    erode_mm: float = 0.0
    default_spacing_mm: tuple[float, float, float] = (5.0, 0.49, 0.49)

    def __post_init__(self) -> None:
        if not self.low_hu < self.high_hu:
            raise ParameterError(f"brain window {self.low_hu}..{self.high_hu} HU is empty")
        if not 1 <= self.enclosed <= 8 or min(self.smooth_mm, self.opening_mm, self.erode_mm) < 0:
            raise ParameterError(f"{self}: expected 1 to 8 rays and lengths of 0 mm or more")


def _coarse_tissue_and_bone(hu: np.ndarray, step: int, recipe: BrainMaskRecipe, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Voxels in the tissue window after smoothing, and voxels of bone, on a grid `step` times coarser in plane.

    Bone takes no part in the means: beside it the brain's outermost millimetre, and a thin subdural
    hematoma with it, would leave the window.
    """
    size = (-(-hu.shape[2] // step), -(-hu.shape[1] // step))
    sigma = recipe.smooth_mm / pixel_mm
    tissue, bone = np.zeros((2, len(hu), size[1], size[0]), bool)
    for index, image in enumerate(hu):
        coarse = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        bone[index] = coarse >= recipe.bone_hu
        soft = (~bone[index]).astype(np.float32)
        # Below the window by 100 HU air is air; its depth must not decide how far it reaches.
        mean = np.maximum(coarse, recipe.low_hu - 100)
        if sigma > 0:
            weight = np.maximum(cv2.GaussianBlur(soft, (0, 0), sigma), 1e-6)
            mean = cv2.GaussianBlur(mean * soft, (0, 0), sigma) / weight
        tissue[index] = (mean >= recipe.low_hu) & (mean <= recipe.high_hu) & ~bone[index]
    return tissue, bone


def _seen_along(bone: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Whether a ray from each voxel in direction (-rows, -columns) meets bone within its slice."""
    if rows == 0:
        return np.logical_or.accumulate(bone[..., ::columns], axis=2)[..., ::columns]
    seen = bone[:, ::rows].copy()
    for row in range(1, seen.shape[1]):
        before = seen[:, row - 1]
        if columns == 0:
            seen[:, row] |= before
        elif columns > 0:
            seen[:, row, 1:] |= before[:, :-1]
        else:
            seen[:, row, :-1] |= before[:, 1:]
    return seen[:, ::rows]


def _enclosed(bone: np.ndarray, rays: int) -> np.ndarray:
    """Voxels from which at least `rays` of the eight rays of their slice meet bone."""
    directions = [(rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1) if (rows, columns) != (0, 0)]
    hits = np.zeros(bone.shape, np.uint8)
    for rows, columns in directions:
        hits += _seen_along(bone, rows, columns)
    return hits >= rays


def _disc(radius: float) -> np.ndarray:
    reach = int(np.floor(radius))
    offsets = np.arange(-reach, reach + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


def _per_slice(operation: int, mask: np.ndarray, radius: float) -> np.ndarray:
    if radius < 1:
        return mask
    disc = _disc(radius)
    # The head may touch the border of the image: what lies outside it neither erodes nor grows.
    return np.stack([cv2.morphologyEx(image, operation, disc) for image in mask.view(np.uint8)]).astype(bool)


def _largest_component(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _filled(mask: np.ndarray) -> np.ndarray:
    """Holes of each slice filled (ventricles below the window, calcifications, sella)."""
    filled = np.zeros(mask.shape, np.uint8)
    for target, image in zip(filled, mask.view(np.uint8)):
        contours, _ = cv2.findContours(image, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(target, contours, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def _fine(mask: np.ndarray, shape: tuple[int, ...], step: int) -> np.ndarray:
    """The coarse mask on the scan's own grid, its outline interpolated."""
    if step == 1:
        return mask
    fine = np.empty(shape, bool)
    for target, image in zip(fine, mask.astype(np.float32)):
        target[:] = cv2.resize(image, shape[:0:-1], interpolation=cv2.INTER_LINEAR) >= 0.5
    return fine


def brain_mask(hu: np.ndarray, spacing_mm: tuple[float, float, float], recipe: BrainMaskRecipe | None = None) -> np.ndarray:
    """Brain of one scan, bool (slices, rows, columns).

    hu: (slices, rows, columns), HU. spacing_mm: (z, y, x), NaN where unknown. Slices without brain,
    and scans without a head, are all False. Raises ParameterError on other shapes or spacing <= 0.
    """
    recipe = recipe or BrainMaskRecipe()
    if hu.ndim != 3:
        raise ParameterError(f"volume has shape {hu.shape}; expected (slices, rows, columns)")
    known = [side if np.isfinite(side) else default for side, default in zip(spacing_mm, recipe.default_spacing_mm)]
    if hu.size == 0:
        return np.zeros(hu.shape, bool)
    if min(known) <= 0:
        raise ParameterError(f"spacing is {spacing_mm} mm; expected positive sides (z, y, x)")
    step = max(1, round(_GRID_MM / min(known[1:])))
    pixel_mm = float(np.mean(known[1:])) * step
    tissue, bone = _coarse_tissue_and_bone(hu, step, recipe, pixel_mm)
    inside = tissue & _enclosed(bone, recipe.enclosed)
    brain = _largest_component(_per_slice(cv2.MORPH_OPEN, inside, recipe.opening_mm / pixel_mm))
    # The opening rounded off gyri and thin extra-axial blood; tissue next to the brain comes back.
    brain |= inside & _per_slice(cv2.MORPH_DILATE, brain, _REGROWN_MM / pixel_mm)
    brain = _per_slice(cv2.MORPH_ERODE, _filled(brain), recipe.erode_mm / pixel_mm)
    return _fine(brain, hu.shape, step)
