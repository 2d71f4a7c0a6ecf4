"""Skull removal and contrast enhancement before the 3-D U-Net of the ResNet-LSTM paper (Section 2).

Paper: smooth by bilateral filtering, threshold at the 95th percentile of intensity, discard the
skull and everything outside its convex hull; enhance contrast (histogram equalisation). Filter
parameters are not printed; OpenCV's usual 9, 75, 75 stand in (printed_and_authors, 002.7). The
skull is what is large above the threshold, not every bright pixel, or bright blood would go with
it.

Works on single slices, in HU (default, where bone is far from saturation) or in 8-bit grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ich_study.ct.windows import WINDOWS, window_uint8

DIAMETER, SIGMA_INTENSITY, SIGMA_SPACE = 9, 75.0, 75.0
"""The bilateral filter: pixels, unit of the input, pixels."""
CAP = 300.0
"""Intensity above which bone is bone: without it the percentile of a slice full of head lies in the
middle of the skull's own range of HU and the skull falls into specks. No effect on 8-bit grey."""
PERCENTILE = 95.0
"""Of the slice, the skull's threshold."""
PART = 0.2
"""Components of at least this share of the largest one's area are skull. 1 is the largest alone,
the narrowest reading of the paper; where the skull base breaks into pieces that throws most of the
brain away. 0.2 kept 0.96 or more of the brain in every slice of four real scans (one in HU, three
in 8-bit grey), except one vertex slice of the scan in HU once read as 8-bit grey (0.75); it leaves
bright blood that is smaller than that alone."""
_ROUNDING = 0.01


@dataclass(frozen=True)
class SkullSteps:
    """Every step for one slice, all (rows, columns).

    smoothed: float32, capped, after the bilateral filter, in the unit of the input.
    skull: bool, the large components at or above the percentile; all False in a constant slice.
    hull: bool, their convex hull. inside: bool, hull without skull: what is kept.
    """

    smoothed: np.ndarray
    skull: np.ndarray
    hull: np.ndarray
    inside: np.ndarray


def find_skull(image: np.ndarray) -> SkullSteps:
    """The steps of skull removal for one slice.

    image: (rows, columns), HU or 8-bit grey, any real dtype. The threshold counts from the
    percentile itself (>=), since it equals the maximum where the cap or a window saturates bone. A
    constant slice has no skull and keeps nothing.
    """
    capped = np.minimum(image, CAP).astype(np.float32)
    smoothed = cv2.bilateralFilter(capped, DIAMETER, SIGMA_INTENSITY, SIGMA_SPACE)
    skull, hull = np.zeros((2, *image.shape), np.uint8)
    if np.ptp(smoothed) > 0:
        # Rounding of the filter's means must not speckle a saturated plateau.
        level = np.percentile(smoothed, PERCENTILE) - _ROUNDING
        bright = (smoothed >= level) & (smoothed > smoothed.min() + _ROUNDING)
        count, labels, statistics, _ = cv2.connectedComponentsWithStats(
            bright.view(np.uint8), connectivity=8
        )
        if count > 1:
            area = statistics[1:, cv2.CC_STAT_AREA]
            skull = np.isin(labels, 1 + np.flatnonzero(area >= PART * area.max())).astype(np.uint8)
            cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(skull)), 1)
    skull, hull = skull.astype(bool), hull.astype(bool)
    return SkullSteps(smoothed, skull, hull, hull & ~skull)


def equalised(grey: np.ndarray) -> np.ndarray:
    """Global histogram equalisation of a uint8 slice (rows, columns), background pixels included; a
    constant slice stays as it is.

    The paper names skull removal and equalisation in both orders; here the skull goes first
    (`stripped_slice`), so that its brightness does not take part.
    """
    return cv2.equalizeHist(grey)


def stripped_slice(hu: np.ndarray) -> np.ndarray:
    """One slice in HU to uint8 (rows, columns): skull removed, brain window applied, contrast as it
    is."""
    return np.where(find_skull(hu).inside, window_uint8(hu, WINDOWS["brain"]), np.uint8(0))
