"""Measures of a slice classifier: AUROC, AP, and measures of decisions at a threshold.

Used by all five papers. `truth` is 0/1 or bool (items,), `scores` float (items,), higher is more
positive. Missing labels must be left out before; a NaN is an error here. Where a class is absent a
measure that needs it is NaN and never an exception, so that a bootstrap replicate may lack it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ich_study.errors import StudyError
from ich_study.metrics.ratio import ratio

DECISIONS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]] = {
    "f1": lambda truth, decided: (2 * (truth & decided), truth.astype(int) + decided, truth),
    "sensitivity": lambda truth, decided: (truth & decided, truth),
    "specificity": lambda truth, decided: (~truth & ~decided, ~truth),
    "precision": lambda truth, decided: (truth & decided, decided, truth),
}
"""Each as a `ratio_of_sums` over slices: numerator and denominator per slice, and for those that a
sample without the class would still give, which slices have it."""


def checked(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`truth` as bool and `scores` as float64, both (items,). Raises StudyError on unequal lengths,
    no items, labels other than 0 and 1 (missing ones too), or scores that are not finite."""
    truth, scores = np.asarray(truth), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != scores.shape or len(truth) == 0:
        raise StudyError(
            f"labels have shape {truth.shape}, scores {scores.shape}; expected one label and one"
            " score per item"
        )
    if truth.dtype != bool:
        if not np.isin(truth, (0, 1)).all():
            raise StudyError(
                "labels hold values other than 0 and 1; leave items with unknown labels out"
            )
        truth = truth.astype(bool)
    if not np.isfinite(scores).all():
        raise StudyError(
            f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are NaN or infinite"
        )
    return truth, scores


class RankedScores:
    """Items sorted once by score, for AUROC and AP under many weightings of the same items.

    Tied scores are one step of the curve. `weights` are >= 0, (items,) or (replicates, items) in
    the order in which the items were given; a bootstrap's multiplicities are such weights.
    """

    def __init__(self, truth: np.ndarray, scores: np.ndarray) -> None:
        truth, scores = checked(truth, scores)
        self.order = np.argsort(-scores, kind="stable")
        self.positive = truth[self.order]
        ordered = scores[self.order]
        self.step_ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)

    def _curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ranked = np.asarray(weights, np.float64)[..., self.order]
        total = np.cumsum(ranked, -1)[..., self.step_ends]
        ranked *= self.positive
        return np.cumsum(ranked, -1, out=ranked)[..., self.step_ends], total

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """Weighted area under the ROC curve; ties count one half. NaN where a class has no
        weight."""
        tp, total = self._curve(weights)
        fp = total - tp
        area = (
            tp[..., 0] * fp[..., 0] + ((tp[..., 1:] + tp[..., :-1]) * np.diff(fp, axis=-1)).sum(-1)
        ) / 2
        return ratio(area, tp[..., -1] * fp[..., -1])

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Weighted sum of precision times gain in recall over the steps. NaN without positive
        weight."""
        tp, total = self._curve(weights)
        gain = np.diff(tp, axis=-1, prepend=0)
        area = np.divide(gain * tp, total, out=np.zeros_like(tp), where=total > 0).sum(-1)
        return ratio(area, tp[..., -1])


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve (LSE-UNet, Table 1); NaN where a class is absent.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return float(RankedScores(truth, scores).auroc(np.ones(len(truth))))


def decision_metrics(truth: np.ndarray, decisions: np.ndarray) -> dict[str, float]:
    """Measures of decisions (0/1 or bool): `accuracy`, those of DECISIONS, `balanced_accuracy`.

    NaN: precision without positive decisions, sensitivity and f1 without true positives and false
    negatives, specificity without negatives, balanced accuracy where a class is absent.

    >>> measured = decision_metrics([1, 1, 0, 0, 0], [1, 0, 1, 0, 0])
    >>> measured["sensitivity"], measured["precision"], measured["f1"]
    (0.5, 0.5, 0.5)
    """
    truth, decided = checked(truth, decisions)
    decided = decided.astype(bool)
    found = {"accuracy": float((truth == decided).mean())}
    for name, counted in DECISIONS.items():
        top, bottom, *_ = counted(truth, decided)
        found[name] = float(ratio(top.sum(), bottom.sum()))
    if not truth.any():
        found["f1"] = float("nan")
    found["balanced_accuracy"] = (found["sensitivity"] + found["specificity"]) / 2
    return found


def auc_of_decisions(truth: np.ndarray, decisions: np.ndarray) -> float:
    """What HGI-SAM's Table 2 prints as "AUC": the AUROC of hard 0/1 decisions, which is
    (sensitivity + specificity) / 2, the balanced accuracy (printed_and_authors, 003.12). Not
    comparable with `auroc`.

    >>> auc_of_decisions([1, 1, 0, 0], [1, 0, 0, 0])
    0.75
    """
    return decision_metrics(truth, decisions)["balanced_accuracy"]


def roc_curve(truth: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """ROC curve, a row per distinct score: `false_positive_rate, sensitivity, threshold` (score >=
    threshold).

    truth: with both labels. The first row is the origin with an infinite threshold.

    >>> roc_curve([0, 1, 1], [0.2, 0.2, 0.9])
       false_positive_rate  sensitivity  threshold
    0                  0.0          0.0        inf
    1                  0.0          0.5        0.9
    2                  1.0          1.0        0.2
    """
    from sklearn import metrics  # slow to import

    columns = metrics.roc_curve(truth, scores, drop_intermediate=False)
    return pd.DataFrame(dict(zip(("false_positive_rate", "sensitivity", "threshold"), columns)))


def pr_curve(truth: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """PR curve, a row per distinct score, recall falling: `sensitivity, precision, threshold`.

    truth: with positives. The last row is recall 0, precision 1 with an infinite threshold.
    """
    from sklearn import metrics  # slow to import

    precision, recall, thresholds = metrics.precision_recall_curve(truth, scores)
    return pd.DataFrame(
        {"sensitivity": recall, "precision": precision, "threshold": np.append(thresholds, np.inf)}
    )


def prevalence(curve: pd.DataFrame) -> float:
    """Share of positives behind one curve of `pr_curve`: the precision where everything is called.

    >>> prevalence(pr_curve(np.array([0, 1, 0, 0]), np.array([0.1, 0.9, 0.2, 0.3])))
    0.25
    """
    return float(curve.loc[curve["threshold"].idxmin(), "precision"])


def f1_of_all_called(prevalence: float) -> float:
    """F1 of calling everything positive, which no classifier should stay below.

    >>> f1_of_all_called(0.25)
    0.4
    """
    return 2 * prevalence / (1 + prevalence)


def best_epochs(f1: np.ndarray) -> np.ndarray:
    """Numbers of the five epochs of largest F1, best first, the earlier of equal ones first; NaN
    epochs are left out.

    >>> best_epochs([0.5, 0.9, float("nan"), 0.7]).tolist()
    [1, 3, 0]
    """
    values = np.asarray(f1, np.float64)
    order = np.argsort(-values, kind="stable")
    return order[np.isfinite(values[order])][:5]
