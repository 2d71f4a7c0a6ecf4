"""Pixel overlap of masks: Dice, IoU and sensitivity (TPR) from counts of pixels.

One function counts, one sums the counts over the unit a paper averages over, and the ratios come
last, so that global micro values (CAM benchmark, Table IIa), per-slice means (Table IIb, HGI-SAM)
and per-scan means (ResNet-LSTM) share every line but the summation.
"""

from __future__ import annotations

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

    def __getitem__(self, key: object) -> Counts:
        return Counts(self.tp[key], self.fp[key], self.fn[key])

    @property
    def present(self) -> np.ndarray:
        """Whether there is anything to find, bool of the counts' shape."""
        return self.tp + self.fn > 0

    def sum(self, axis: int | None = None) -> Counts:
        """Counts summed over `axis`, over everything where None."""
        return Counts(self.tp.sum(axis), self.fp.sum(axis), self.fn.sum(axis))

    def by_group(self, groups: np.ndarray) -> Counts:
        """Counts summed over the items (axis 0) of each group, groups in sorted order.

        groups: (items,) of anything sortable, such as scan ids.
        """
        names, index = np.unique(np.asarray(groups), return_inverse=True)
        if len(index) != len(self.tp):
            raise StudyError(f"{len(index)} group names for {len(self.tp)} items")
        sums = [
            np.zeros((len(names), *np.shape(part)[1:]), np.asarray(part).dtype)
            for part in (self.tp, self.fp, self.fn)
        ]
        for total, part in zip(sums, (self.tp, self.fp, self.fn)):
            np.add.at(total, index, part)
        return Counts(*sums)


def stack_counts(items: list[Counts]) -> Counts:
    """Counts of single items as one Counts with an item axis in front; no items give shape (0,)."""
    return Counts(
        *(
            np.array([getattr(item, name) for item in items], np.int64)
            for name in ("tp", "fp", "fn")
        )
    )


def _of_one_shape(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise StudyError(
            f"prediction has shape {prediction.shape}, truth {truth.shape}; expected the same"
        )
    return prediction, truth


def _masks(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = _of_one_shape(prediction, truth)
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask.dtype != bool and not (
            mask.dtype.kind in "iu" and (mask.size == 0 or (mask.min() >= 0 and mask.max() <= 1))
        ):
            raise StudyError(f"{name} is {mask.dtype}; expected a boolean mask or integers 0 and 1")
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def overlap_counts(prediction: np.ndarray, truth: np.ndarray, spatial: int = 2) -> Counts:
    """Pixels in common and apart, summed over the last `spatial` axes.

    prediction, truth: (..., rows, columns) or, with spatial=3, (..., slices, rows, columns); bool
        or 0/1. Gives int64 counts of the leading shape. Raises StudyError where shapes differ or a
        mask holds anything but 0 and 1 (probabilities and label maps are no masks).

    >>> counts = overlap_counts([[1, 1, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 0]])
    >>> int(counts.tp), int(counts.fp), int(counts.fn)
    (1, 1, 1)
    """
    prediction, truth = _masks(prediction, truth)
    axes = tuple(range(-spatial, 0))
    tp = np.count_nonzero(prediction & truth, axis=axes)
    return Counts(
        *(
            np.asarray(part, np.int64)
            for part in (tp, prediction.sum(axes) - tp, truth.sum(axes) - tp)
        )
    )


def label_counts(prediction: np.ndarray, truth: np.ndarray, classes: int) -> Counts:
    """Counts per item and class of label maps, background included.

    prediction, truth: integer (items, ...) with values 0..classes-1; 0 is the background,
    LSE-UNet's
        class "Normal" (Table 2). Gives int64 (items, classes). Raises StudyError on other values.

    >>> label_counts([[0, 1, 1, 2]], [[0, 1, 2, 2]], classes=3).tp  # background, 1, 2
    array([[1, 1, 1]])
    """
    prediction, truth = _of_one_shape(prediction, truth)
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype.kind not in "iub" or (
            labels.size and (labels.min() < 0 or labels.max() >= classes)
        ):
            raise StudyError(
                f"{name} is {labels.dtype} with values outside 0..{classes - 1}; expected a label"
                f" map of {classes} classes"
            )
    joint = np.array(
        [
            np.bincount(t.ravel().astype(np.intp) * classes + p.ravel(), minlength=classes**2)
            for p, t in zip(prediction, truth)
        ],
        np.int64,
    ).reshape(-1, classes, classes)
    tp = np.diagonal(joint, axis1=1, axis2=2).copy()
    return Counts(tp, joint.sum(1) - tp, joint.sum(2) - tp)


def dice(counts: Counts) -> np.ndarray:
    """2 TP / (2 TP + FP + FN), float64 in [0, 1].

    Empty truth is NaN whatever was predicted, to be left out of means (MONAI's rule, HGI-SAM).

    >>> float(dice(Counts(3, 1, 2))), float(dice(Counts(0, 0, 0)))
    (0.6666666666666666, nan)
    """
    return ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts.present)


def iou(counts: Counts) -> np.ndarray:
    """TP / (TP + FP + FN), float64 in [0, 1]; empty truth as in `dice`.

    >>> float(iou(Counts(3, 1, 2)))
    0.5
    """
    return ratio(counts.tp, counts.tp + counts.fp + counts.fn, counts.present)


def sensitivity(counts: Counts) -> np.ndarray:
    """TP / (TP + FN), the true positive rate (TPR) of ResNet-LSTM, Table 2; NaN where truth is
    empty.

    >>> float(sensitivity(Counts(3, 1, 2)))
    0.6
    """
    return ratio(counts.tp, counts.tp + counts.fn)


def precision(counts: Counts) -> np.ndarray:
    """TP / (TP + FP); NaN where nothing was predicted.

    >>> float(precision(Counts(3, 1, 2)))
    0.75
    """
    return ratio(counts.tp, counts.tp + counts.fp)


def mean_over_units(values: np.ndarray) -> np.ndarray:
    """Mean over axis 0 of what is not NaN; NaN where nothing is left.

    >>> float(mean_over_units([0.5, np.nan, 1.0]))
    0.75
    """
    values = np.asarray(values, np.float64)
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0).sum(0), defined.sum(0))
