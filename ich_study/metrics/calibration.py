"""Are probabilities what they say, and what does a call mean where few scans hold hemorrhage?"""

from __future__ import annotations

import numpy as np
import pandas as pd


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """A row per filled bin of equal width: `low, high, items, probability, share`.

    truth: 0/1 (items,). probability: in [0, 1]. `probability` is the mean of the bin, `share` how
    many of its items are positive.

    >>> reliability([0, 1, 1, 1], [0.1, 0.2, 0.9, 1.0], bins=2)[["probability", "share"]].to_numpy()
    array([[0.15, 0.5 ],
           [0.95, 1.  ]])
    """
    truth, probability = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    member = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, bins - 1)
    rows = []
    for number in np.unique(member):
        own = member == number
        means = probability[own].mean(), truth[own].mean()
        rows.append((edges[number], edges[number + 1], int(own.sum()), *means))
    return pd.DataFrame(rows, columns=["low", "high", "items", "probability", "share"])


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of share and probability over the bins of `reliability`, weighted by items
    (Naeini 2015).

    >>> expected_calibration_error(reliability([0, 1, 1, 1], [0.1, 0.2, 0.9, 1.0], bins=2))
    0.2
    """
    distance = (table["probability"] - table["share"]).abs()
    return float(np.average(distance, weights=table["items"]))


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> tuple[float, float]:
    """Positive and negative predictive value where `prevalence` of the scans are positive (Bayes).

    >>> ppv, npv = predictive_values(0.9, 0.9, 0.1)
    >>> round(ppv, 3), round(npv, 3)
    (0.5, 0.988)
    """
    called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    passed = (1 - sensitivity) * prevalence + specificity * (1 - prevalence)
    ppv = sensitivity * prevalence / called if called else float("nan")
    npv = specificity * (1 - prevalence) / passed if passed else float("nan")
    return ppv, npv
