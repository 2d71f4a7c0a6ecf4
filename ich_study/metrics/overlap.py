"""Pixel overlap of masks: Dice, IoU and sensitivity (TPR) from counts of pixels.

One function counts, one sums the counts over the unit a paper averages over, and the ratios come
last, so that global micro values (CAM benchmark, Table IIa), per-slice means (Table IIb, HGI-SAM)
and per-scan means (ResNet-LSTM) share every line but the summation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ich_study.errors import StudyError
from ich_study.metrics.ratio import ratio


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives; three arrays of one shape.

    Over masks they count pixels, over boxes and points they count boxes and points.
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    def _each(self, change: Callable[[np.ndarray], np.ndarray]) -> Counts:
        return Counts(change(self.tp), change(self.fp), change(self.fn))

    def __getitem__(self, key: object) -> Counts:
        return self._each(lambda part: part[key])

    @property
    def present(self) -> np.ndarray:
        """Whether there is anything to find, bool of the counts' shape."""
        return self.tp + self.fn > 0

    def sum(self, axis: int | None = None) -> Counts:
        """Counts summed over `axis`, over everything where None."""
        return self._each(lambda part: part.sum(axis))

    def by_group(self, groups: np.ndarray) -> Counts:
        """Counts summed over the items (axis 0) of each group, groups in sorted order.

        groups: (items,) of anything sortable, such as scan ids.
        """
        names, index = np.unique(np.asarray(groups), return_inverse=True)

        def summed(part: np.ndarray) -> np.ndarray:
            total = np.zeros((len(names), *part.shape[1:]), part.dtype)
            np.add.at(total, index, part)
            return total

        return self._each(summed)


def stack_counts(items: list[Counts]) -> Counts:
    """Counts of single items as one Counts with an item axis in front; no items give shape (0,)."""
    return Counts(
        *(
            np.array([getattr(item, name) for item in items], np.int64)
            for name in ("tp", "fp", "fn")
        )
    )


def overlap_counts(prediction: np.ndarray, truth: np.ndarray, spatial: int = 2) -> Counts:
    """Pixels in common and apart, summed over the last `spatial` axes.

    prediction, truth: bool (..., rows, columns) or, with spatial=3, (..., slices, rows, columns).
    Gives int64 counts of the leading shape. Raises StudyError where shapes differ or a mask is not
    bool: probabilities and label maps are no masks.

    >>> masks = np.array([[[1, 1, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 0]]], bool)
    >>> counts = overlap_counts(*masks)
    >>> int(counts.tp), int(counts.fp), int(counts.fn)
    (1, 1, 1)
    """
    if prediction.shape != truth.shape or {prediction.dtype, truth.dtype} != {np.dtype(bool)}:
        raise StudyError(
            f"prediction is {prediction.dtype} {prediction.shape}, truth {truth.dtype}"
            f" {truth.shape}; expected two bool masks of one shape"
        )
    axes = tuple(range(-spatial, 0))
    tp = (prediction & truth).sum(axes)
    return Counts(tp, prediction.sum(axes) - tp, truth.sum(axes) - tp)


RATIOS: dict[str, Callable[[Counts], tuple[np.ndarray, np.ndarray]]] = {
    "dice": lambda counts: (2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn),
    "iou": lambda counts: (counts.tp, counts.tp + counts.fp + counts.fn),
    "sensitivity": lambda counts: (counts.tp, counts.tp + counts.fn),
    "precision": lambda counts: (counts.tp, counts.tp + counts.fp),
}
"""Each measure's numerator and denominator."""


def dice(counts: Counts) -> np.ndarray:
    """2 TP / (2 TP + FP + FN), float64 in [0, 1].

    Empty truth is NaN whatever was predicted, to be left out of means (MONAI's rule, HGI-SAM).

    >>> float(dice(Counts(3, 1, 2))), float(dice(Counts(0, 0, 0)))
    (0.6666666666666666, nan)
    """
    return ratio(*RATIOS["dice"](counts), counts.present)


def iou(counts: Counts) -> np.ndarray:
    """TP / (TP + FP + FN), float64 in [0, 1]; empty truth as in `dice`.

    >>> float(iou(Counts(3, 1, 2)))
    0.5
    """
    return ratio(*RATIOS["iou"](counts), counts.present)


def sensitivity(counts: Counts) -> np.ndarray:
    """TP / (TP + FN), the true positive rate (TPR) of ResNet-LSTM, Table 2; NaN where truth is
    empty.

    >>> float(sensitivity(Counts(3, 1, 2)))
    0.6
    """
    return ratio(*RATIOS["sensitivity"](counts))


def mean_over_units(values: np.ndarray) -> np.ndarray:
    """Mean over axis 0 of what is not NaN; NaN where nothing is left.

    >>> float(mean_over_units([0.5, np.nan, 1.0]))
    0.75
    """
    values = np.asarray(values, np.float64)
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0).sum(0), defined.sum(0))
