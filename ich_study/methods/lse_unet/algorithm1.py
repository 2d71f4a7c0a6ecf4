"""Algorithm 1 of LSE-UNet (Section 3.3): heatmaps of the subtypes to one label map.

For every subtype that is present, heat at or below its mask threshold becomes 0; each pixel then
takes the subtype with the most heat left, `argmax` over background 0 and the subtypes in their
order. So a pixel without heat left is background, and of equal heat the earlier subtype wins.

Heatmaps are relative to each slice's own maximum, whole numbers 0..255 (Appendix A: "we rescaled
all heatmaps to the range [0, 255]"); mask thresholds are numbers on that scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from ich_study.errors import MapError, ParameterError, StudyError
from ich_study.evaluate.scaling import HEAT_MAXIMUM, check_heat
from ich_study.schema import SUBTYPES

PresenceRule = Literal["class_thresholds", "truth", "authors"]


def heat_levels(maps: np.ndarray) -> np.ndarray:
    """Maps in [0, 1] as whole heat values, uint8 0..255, fractions cut off as the authors' code
    does (printed_and_authors, 000.7).

    maps: float, any shape. Raises MapError on NaN or on values outside [0, 1].
    """
    maps = np.asarray(maps)
    if maps.size and not (np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1):
        raise MapError(
            f"maps span {np.min(maps)} to {np.max(maps)}; expected finite values in [0, 1] (min-max"
            " each map first)"
        )
    return (maps * HEAT_MAXIMUM).astype(np.uint8)


def present_classes(
    rule: PresenceRule,
    scores: np.ndarray | None = None,
    class_thresholds: Sequence[float] | None = None,
    truth: np.ndarray | None = None,
) -> np.ndarray:
    """Which classes of a slice get a mask, bool (slices, classes).

    rule: `class_thresholds`: score > threshold of the class (Table 2); `truth`: the slice's labels
        (Tables 3 and 5-7); `authors`: label or score > threshold, on slices with any label, none on
        others (the authors' export of BHSD; printed_and_authors, 000.8).
    scores: (slices, classes), class_thresholds: (classes,), both in one unit, logits in the paper.
    truth: bool or 0/1 (slices, classes). Raises ParameterError for an unknown rule or a missing
    input, StudyError for NaN scores or shapes that differ.
    """
    needed = {
        "class_thresholds": (scores, class_thresholds),
        "truth": (truth,),
        "authors": (scores, class_thresholds, truth),
    }
    if rule not in needed or any(part is None for part in needed[rule]):
        raise ParameterError(
            f"presence rule {rule!r}; expected one of {sorted(needed)} with the scores, thresholds"
            " or truth that it reads"
        )
    labelled = None if truth is None else np.asarray(truth).astype(bool)
    if rule == "truth":
        return labelled
    scores, cuts = np.asarray(scores), np.asarray(class_thresholds)
    if scores.ndim != 2 or cuts.shape != scores.shape[1:] or not np.isfinite(scores).all():
        raise StudyError(
            f"scores {scores.shape}, thresholds {cuts.shape}; expected finite (slices, classes) and"
            " one threshold per class"
        )
    found = scores > cuts
    if rule == "class_thresholds":
        return found
    if labelled.shape != found.shape:
        raise StudyError(
            f"truth {labelled.shape}, scores {scores.shape}; expected the same slices and classes"
        )
    return (found | labelled) & labelled.any(1, keepdims=True)


def threshold_vector(
    thresholds: Mapping[str, float] | Sequence[float], classes: Sequence[str] = SUBTYPES
) -> np.ndarray:
    """Mask thresholds in the order of `classes`, float64; from a mapping by class or a sequence in
    that order.

    Raises ParameterError for a class without threshold, for NaN, and below 0 (background is 0 and
    must not pass).
    """
    if isinstance(thresholds, Mapping):
        if sorted(thresholds) != sorted(classes):
            raise ParameterError(
                f"mask thresholds for {sorted(thresholds)}; expected one for each of"
                f" {list(classes)}"
            )
        thresholds = [thresholds[name] for name in classes]
    vector = np.asarray(thresholds, np.float64)
    if vector.shape != (len(classes),) or not (vector >= 0).all():
        raise ParameterError(
            f"mask thresholds {vector.tolist()}; expected {len(classes)} numbers >= 0"
        )
    return vector


def comparable(thresholds: np.ndarray, dtype: np.dtype) -> list[int] | list[float]:
    """Thresholds in the precision of the heat, so that `>` decides alike everywhere and needs no
    copy in float64.

    Whole heat values pass a fractional threshold exactly where they pass its floor.
    """
    if np.dtype(dtype).kind in "ui":
        return [int(value) for value in np.floor(thresholds)]
    return [float(value) for value in np.asarray(thresholds).astype(dtype)]


def _label_slice(
    heat: np.ndarray, present: np.ndarray, limits: list[int] | list[float], labels: np.ndarray
) -> None:
    most = np.zeros(labels.shape, heat.dtype)
    for place in np.flatnonzero(present):
        # Strictly more heat than before it: what is 0 stays background, and the earlier of equals
        # stays.
        wins = (heat[place] > limits[place]) & (heat[place] > most)
        np.copyto(most, heat[place], where=wins)
        labels[wins] = place + 1


def label_maps(
    heatmaps: np.ndarray,
    present: np.ndarray,
    thresholds: Mapping[str, float] | Sequence[float],
    classes: Sequence[str] = SUBTYPES,
) -> np.ndarray:
    """Algorithm 1 over a batch: uint8 (slices, rows, columns), 0 background, 1.. the classes in
    their order.

    heatmaps: (slices, classes, rows, columns), uint8 0..255 or float, on the scale of the
    thresholds.
    present: bool (slices, classes), from `present_classes`; an absent class's heat is not read.
    thresholds: mask thresholds >= 0; a pixel passes with heat strictly above. Raises MapError on
    wrong shapes or heat that is not finite, ParameterError on bad thresholds.
    """
    heatmaps, present = np.asarray(heatmaps), np.asarray(present)
    check_heat(heatmaps, present)
    vector = threshold_vector(thresholds, classes)
    if heatmaps.shape[1] != len(vector):
        raise MapError(f"heatmaps of {heatmaps.shape[1]} classes, expected {list(classes)}")
    labels = np.zeros((heatmaps.shape[0], *heatmaps.shape[2:]), np.uint8)
    limits = comparable(vector, heatmaps.dtype)
    for heat, here, target in zip(heatmaps, present, labels):
        _label_slice(heat, here, limits, target)
    return labels


def label_maps_tensor(
    heatmaps: torch.Tensor,
    present: torch.Tensor,
    thresholds: Mapping[str, float] | Sequence[float],
    classes: Sequence[str] = SUBTYPES,
) -> torch.Tensor:
    """`label_maps` on the heatmaps' own device, so that only the label map leaves it; same values,
    same errors."""
    check_heat(heatmaps, present.cpu().numpy())
    vector = threshold_vector(thresholds, classes)
    if heatmaps.shape[1] != len(vector):
        raise MapError(f"heatmaps of {heatmaps.shape[1]} classes, expected {list(classes)}")
    most = torch.zeros_like(heatmaps[:, 0])
    labels = torch.zeros(most.shape, dtype=torch.uint8, device=heatmaps.device)
    precision = torch.empty(0, dtype=heatmaps.dtype).numpy().dtype
    for place, limit in enumerate(comparable(vector, precision)):
        heat = heatmaps[:, place]
        wins = (heat > limit) & (heat > most) & present[:, place, None, None].to(heatmaps.device)
        most = torch.where(wins, heat, most)
        labels[wins] = place + 1
    return labels
