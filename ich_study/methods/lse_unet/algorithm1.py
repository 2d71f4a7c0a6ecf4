"""Algorithm 1 of LSE-UNet (Section 3.3): heatmaps of the subtypes to one label map.

For every subtype that is present, heat at or below its mask threshold becomes 0; each pixel then
takes the subtype with the most heat left, `argmax` over background 0 and the subtypes in their
order. So a pixel without heat left is background, and of equal heat the earlier subtype wins.

Heatmaps are relative to each slice's own maximum, whole numbers 0..255 (Appendix A: "we rescaled
all heatmaps to the range [0, 255]"); mask thresholds are numbers on that scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_study.errors import MapError, ParameterError, StudyError
from ich_study.evaluate.scaling import HEAT_MAXIMUM, check_heat


def heat_levels(maps: np.ndarray) -> np.ndarray:
    """Maps in [0, 1] as whole heat values, uint8 0..255, fractions cut off as the authors' code
    does (printed_and_authors, 000.7).

    maps: float, any shape. Raises MapError on NaN or on values outside [0, 1].

    >>> heat_levels(np.array([0.0, 0.5, 0.999, 1.0])).tolist()
    [0, 127, 254, 255]
    """
    maps = np.asarray(maps)
    if maps.size and not (np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1):
        raise MapError(
            f"maps span {np.min(maps)} to {np.max(maps)}; expected finite values in [0, 1] (min-max"
            " each map first)"
        )
    return (maps * HEAT_MAXIMUM).astype(np.uint8)


def present_classes(scores: np.ndarray, class_thresholds: Sequence[float]) -> np.ndarray:
    """Which classes of a slice get a mask (Table 2): score above the class's threshold, bool
    (slices, classes).

    scores: (slices, classes), class_thresholds: (classes,), both in one unit. Raises StudyError for
    scores that are not finite or shapes that do not fit.

    >>> present_classes(np.array([[0.9, 0.4], [0.5, 0.6]]), [0.5, 0.5]).tolist()
    [[True, False], [False, True]]
    """
    scores, cuts = np.asarray(scores), np.asarray(class_thresholds)
    if scores.ndim != 2 or cuts.shape != scores.shape[1:] or not np.isfinite(scores).all():
        raise StudyError(
            f"scores {scores.shape}, thresholds {cuts.shape}; expected finite (slices, classes) and"
            " one threshold per class"
        )
    return scores > cuts


def comparable(thresholds: np.ndarray, dtype: np.dtype) -> list[int] | list[float]:
    """Thresholds in the precision of the heat, so that `>` decides alike everywhere and needs no
    copy in float64.

    Whole heat values pass a fractional threshold exactly where they pass its floor.
    """
    if np.dtype(dtype).kind in "ui":
        return [int(value) for value in np.floor(thresholds)]
    return [float(value) for value in np.asarray(thresholds).astype(dtype)]


def label_maps(
    heatmaps: np.ndarray, present: np.ndarray, thresholds: Sequence[float]
) -> np.ndarray:
    """Algorithm 1 over a batch: uint8 (slices, rows, columns), 0 background, 1.. the classes in
    their order.

    heatmaps: (slices, classes, rows, columns), uint8 0..255 or float, on the scale of the
    thresholds. present: bool (slices, classes); an absent class gets no pixel. thresholds: of each
    class, >= 0; a pixel passes with heat strictly above. Raises MapError on wrong shapes or heat
    that is not finite, ParameterError on bad thresholds.

    Two classes on four pixels. Heat at its threshold does not pass, and of equal heat the first
    class wins:

    >>> heat = np.array([[[[90, 90, 75, 10]], [[200, 90, 0, 80]]]], np.uint8)
    >>> label_maps(heat, np.array([[True, True]]), [75, 75]).tolist()
    [[[2, 1, 0, 2]]]
    """
    heatmaps, present = np.asarray(heatmaps), np.asarray(present)
    check_heat(heatmaps, present)
    cuts = np.asarray(thresholds, np.float64)
    if cuts.shape != heatmaps.shape[1:2] or not (cuts >= 0).all():
        raise ParameterError(
            f"mask thresholds {cuts.tolist()}; expected {heatmaps.shape[1]} numbers >= 0"
        )
    most = np.zeros_like(heatmaps[:, 0])
    labels = np.zeros(most.shape, np.uint8)
    for number, cut in enumerate(comparable(cuts, heatmaps.dtype)):
        heat = heatmaps[:, number]
        # Strictly more heat than before it: what is 0 stays background, and the earlier of equals
        # stays.
        wins = (heat > cut) & (heat > most) & present[:, number, None, None]
        np.copyto(most, heat, where=wins)
        labels[wins] = number + 1
    return labels
