"""Brain mask of a head CT: the published recipe with its brain extraction replaced by morphology.

Published recipe (Muschelli 2015 and 2019, cited by HGI-SAM, Section 3): keep HU 0..100, smooth with
sigma 1, FSL's BET with fractional intensity 0.01, fill holes; HGI-SAM's masks start from HU
-20..100 and are eroded afterwards by an unknown amount (printed_and_authors, 003.16).

FSL is not used here. BET's expanding surface is replaced by four steps on a grid of about 1 mm:
tissue in the HU window that bone surrounds on most of eight rays (which drops scalp, orbits and
neck), an opening per slice (which cuts the leaks through the skull's foramina), the largest
three-dimensional component, and tissue beside it within the slice that lies deeper than the scalp
(the brain behind a craniectomy). This is an equivalent in purpose, not in voxels: BET itself is not
at hand to compare with. It is checked on heads of known geometry
and by looking at real scans. It may differ from BET at the skull base; where a scan reaches
down to the jaw, soft tissue between jaw and spine stays in.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from ich_study.errors import ParameterError

LOW_HU, HIGH_HU = 0.0, 100.0
"""Window of brain tissue, as published."""
BONE_HU, AIR_HU = 150.0, -300.0
"""What counts as bone for the rays, and as air around the head."""
SMOOTH_MM = 1.0
"""Sigma of the in-plane smoothing."""
OPENING_MM = 5.0
"""Radius of the opening; passages narrower than twice this are cut."""
ENCLOSED = 7
"""How many of the eight rays must meet bone."""
UNKNOWN_PIXEL_MM = 0.49
"""Stands in for unknown (NaN) sides of a pixel."""
_GRID_MM = 1.0
_REGROWN_MM = 3.0
_DEFECT_RAYS, _DEFECT_SECTION_MM2, _SCALP_MM = 4, 3000.0, 8.0


def _coarse_classes(
    hu: np.ndarray, step: int, pixel_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels in the tissue window after smoothing, of bone and of air, on a grid `step` times
    coarser in plane.

    Bone takes no part in the means: beside it the brain's outermost millimetre, and a thin subdural
    hematoma with it, would leave the window.
    """
    size = (-(-hu.shape[2] // step), -(-hu.shape[1] // step))
    sigma = SMOOTH_MM / pixel_mm
    tissue, bone, air = np.zeros((3, len(hu), size[1], size[0]), bool)
    for index, image in enumerate(hu):
        coarse = cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        bone[index], air[index] = coarse >= BONE_HU, coarse < AIR_HU
        soft = (~bone[index]).astype(np.float32)
        # Below the window by 100 HU air is air; its depth must not decide how far it reaches.
        mean = np.maximum(coarse, LOW_HU - 100)
        weight = np.maximum(cv2.GaussianBlur(soft, (0, 0), sigma), 1e-6)
        mean = cv2.GaussianBlur(mean * soft, (0, 0), sigma) / weight
        tissue[index] = (mean >= LOW_HU) & (mean <= HIGH_HU) & ~bone[index]
    return tissue, bone, air


def border_connected(mask: np.ndarray) -> np.ndarray:
    """What of each slice of a mask, bool (slices, rows, columns), is joined to the image's border
    through edges of pixels."""
    outer = np.zeros(mask.shape, bool)
    for target, image in zip(outer, mask):
        padded = np.pad(image, 1, constant_values=True).view(np.uint8)
        cv2.floodFill(padded, None, (0, 0), 2)
        target[:] = padded[1:-1, 1:-1] == 2
    return outer


def _seen_along(bone: np.ndarray, air: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Whether a ray from each voxel in direction (-rows, -columns) of its slice meets bone before
    outer air."""
    if rows == 0:
        return _seen_along(bone.swapaxes(1, 2), air.swapaxes(1, 2), columns, 0).swapaxes(1, 2)
    seen, through = bone[:, ::rows].copy(), ~air[:, ::rows]
    here, before = {
        -1: (slice(None, -1), slice(1, None)),
        0: (slice(None), slice(None)),
        1: (slice(1, None), slice(None, -1)),
    }[columns]
    for row in range(1, seen.shape[1]):
        seen[:, row, here] |= seen[:, row - 1, before] & through[:, row, here]
    return seen[:, ::rows]


def _rays_that_meet_bone(bone: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """How many of the eight rays of its slice meet bone, uint8 per voxel; bone beyond the head's
    outer air, such as a head rest, does not count."""
    directions = [
        (rows, columns)
        for rows in (-1, 0, 1)
        for columns in (-1, 0, 1)
        if (rows, columns) != (0, 0)
    ]
    hits = np.zeros(bone.shape, np.uint8)
    for rows, columns in directions:
        hits += _seen_along(bone, outer, rows, columns)
    return hits


def _disc(radius: float) -> np.ndarray:
    reach = int(np.floor(radius))
    offsets = np.arange(-reach, reach + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


def _per_slice(operation: int, mask: np.ndarray, radius: float) -> np.ndarray:
    if radius < 1:
        return mask
    disc = _disc(radius)
    # The head may touch the border of the image: what lies outside it neither erodes nor grows.
    return np.stack(
        [cv2.morphologyEx(image, operation, disc) for image in mask.view(np.uint8)]
    ).astype(bool)


def _largest_component(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _beside_defects(
    brain: np.ndarray, candidates: np.ndarray, outer: np.ndarray, opening: float, pixel_mm: float
) -> np.ndarray:
    """Candidates joined to the brain within their slice, below the scalp's depth: the brain behind
    a craniectomy.

    Small sections are left alone: beside the cord there is an open way into the neck.
    """
    found = brain.copy()
    for index in np.flatnonzero(brain.sum((1, 2)) * pixel_mm**2 >= _DEFECT_SECTION_MM2):
        depth = (
            cv2.distanceTransform(
                (~outer[index]).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
            )
            * pixel_mm
        )
        deep = candidates[index] & (depth >= _SCALP_MM)
        labels = cv2.connectedComponents(
            _per_slice(cv2.MORPH_OPEN, (deep | brain[index])[None], opening)[0].view(np.uint8)
        )[1]
        joined = np.unique(labels[brain[index]])
        found[index] |= np.isin(labels, joined[joined > 0])
    return found


def _fine(mask: np.ndarray, shape: tuple[int, ...], step: int) -> np.ndarray:
    """The coarse mask on the scan's own grid, its outline interpolated."""
    if step == 1:
        return mask
    fine = np.empty(shape, bool)
    for target, image in zip(fine, mask.astype(np.float32)):
        target[:] = cv2.resize(image, shape[:0:-1], interpolation=cv2.INTER_LINEAR) >= 0.5
    return fine


def brain_mask(hu: np.ndarray, pixel_mm: tuple[float, float]) -> np.ndarray:
    """Brain of one scan, bool (slices, rows, columns).

    hu: (slices, rows, columns), HU. pixel_mm: (y, x), NaN where unknown. Slices without brain,
    and scans without a head, are all False. Raises ParameterError on other shapes, or sides <= 0.
    """
    if hu.ndim != 3:
        raise ParameterError(f"volume has shape {hu.shape}; expected (slices, rows, columns)")
    known = [side if np.isfinite(side) else UNKNOWN_PIXEL_MM for side in pixel_mm]
    if hu.size == 0:
        return np.zeros(hu.shape, bool)
    if min(known) <= 0:
        raise ParameterError(f"pixels are {pixel_mm} mm; expected positive sides (y, x)")
    step = max(1, round(_GRID_MM / min(known)))
    side_mm = float(np.mean(known)) * step
    tissue, bone, air = _coarse_classes(hu, step, side_mm)
    outer, opening = border_connected(air), OPENING_MM / side_mm
    rays = _rays_that_meet_bone(bone, outer)
    inside = tissue & (rays >= ENCLOSED)
    brain = _largest_component(_per_slice(cv2.MORPH_OPEN, inside, opening))
    brain = _beside_defects(brain, tissue & (rays >= _DEFECT_RAYS), outer, opening, side_mm)
    # The opening rounded off gyri and thin extra-axial blood; tissue next to the brain comes back.
    brain |= inside & _per_slice(cv2.MORPH_DILATE, brain, _REGROWN_MM / side_mm)
    # Holes are filled too: ventricles below the window, calcifications, sella.
    return _fine(~border_connected(~brain), hu.shape, step)
