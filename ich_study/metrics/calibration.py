"""Are probabilities what they say, and what does a call mean where few scans hold hemorrhage?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_study.metrics.ratio import ratio
from ich_study.metrics.statistics import Patients, PatientStatistic

BINS = 10
"""Of equal width, of probabilities."""


def reliability(truth: np.ndarray, probability: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """A row per filled bin of equal width: `low, high, items, probability, share`.

    truth: 0/1 (items,). probability: in [0, 1]. `probability` is the mean of the bin, `share` how
    many of its items are positive.

    >>> reliability([0, 1, 1, 1], [0.1, 0.2, 0.9, 1.0], bins=2)[["probability", "share"]].to_numpy()
    array([[0.15, 0.5 ],
           [0.95, 1.  ]])
    """
    truth, probability = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    edges, member, rows = np.linspace(0, 1, bins + 1), _member(probability, bins), []
    for number in np.unique(member):
        own = member == number
        means = probability[own].mean(), truth[own].mean()
        rows.append((edges[number], edges[number + 1], int(own.sum()), *means))
    return pd.DataFrame(rows, columns=["low", "high", "items", "probability", "share"])


def _member(probability: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each probability."""
    edges = np.linspace(0, 1, bins + 1)
    return np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, bins - 1)


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of share and probability over the bins of `reliability`, weighted by items
    (Naeini 2015).

    >>> expected_calibration_error(reliability([0, 1, 1, 1], [0.1, 0.2, 0.9, 1.0], bins=2))
    0.2
    """
    distance = (table["probability"] - table["share"]).abs()
    return float(np.average(distance, weights=table["items"]))


def calibration_error_of_items(
    patients: Patients, truth: np.ndarray, probability: np.ndarray, bins: int = BINS
) -> PatientStatistic:
    """`expected_calibration_error` of the items of the drawn patients."""
    names, index = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    gaps = np.zeros((len(names), bins))
    np.add.at(gaps, (index, _member(probability, bins)), np.asarray(probability) - truth)
    items = np.bincount(index)

    def evaluate(weights: np.ndarray) -> np.ndarray:
        # items times the distance of two means is the distance of two sums
        return ratio(np.abs(weights @ gaps).sum(1), weights @ items)

    return PatientStatistic(names, evaluate, share=True)


def predictive_values(
    sensitivity: np.ndarray, specificity: np.ndarray, prevalence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative predictive value where `prevalence` of the scans are positive (Bayes).

    >>> ppv, npv = predictive_values(0.9, 0.9, 0.1)
    >>> round(float(ppv), 3), round(float(npv), 3)
    (0.5, 0.988)
    """
    called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    passed = (1 - sensitivity) * prevalence + specificity * (1 - prevalence)
    ppv = ratio(sensitivity * prevalence, called)
    return ppv, ratio(specificity * (1 - prevalence), passed)
