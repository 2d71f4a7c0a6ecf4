"""The table of slice predictions, a row per slice and class.

Slices are ranked and decided by the logit: the probability of a sure classifier is 1.0 for many
logits, and ranks none of them. Thresholds of a classifier are logits everywhere but in titles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from ich_study.errors import StudyError
from ich_study.metrics.classification import DECISIONS
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    average_precision_of_items,
    ratio_of_sums,
)
from ich_study.schema import typed

PREDICTION_COLUMNS: dict[str, str] = {
    "dataset": "string",
    "patient_id": "string",
    "scan_id": "string",
    "slice_index": "int32",
    "class": "string",
    "label": "boolean",
    "logit": "float64",
    "probability": "float64",
}


RANKED = {"auroc": auroc_of_items, "average_precision": average_precision_of_items}
"""Measures that need no threshold."""


def prediction_table(
    rows: pd.DataFrame, labels: np.ndarray, logits: np.ndarray, classes: Sequence[str]
) -> pd.DataFrame:
    """Typed as PREDICTION_COLUMNS, slice by slice in the order of `rows`.

    labels: float (slices, classes), NaN where unknown. logits: float64 of the same shape. Raises
    StudyError when one is not finite, naming the first slice.
    """
    broken = ~np.isfinite(logits).all(1)
    if broken.any():
        first = rows.iloc[int(broken.argmax())]
        where = f"{int(broken.sum())} slices, first {first.scan_id} slice {first.slice_index}"
        raise StudyError(f"the network's output is not finite in {where}")
    named = rows[["dataset", "patient_id", "scan_id", "slice_index"]].reset_index(drop=True)
    table = named.loc[named.index.repeat(len(classes))].reset_index(drop=True)
    known = pd.Series(labels.ravel())
    table["class"] = list(classes) * len(rows)
    table["label"] = (known > 0.5).astype("boolean").mask(known.isna())
    table["logit"] = logits.ravel()
    table["probability"] = expit(logits.ravel())
    return typed(table, PREDICTION_COLUMNS, "predictions")


def decided(logits: np.ndarray, probability: float) -> np.ndarray:
    """Which logits are of at least this probability, bool of their shape.

    >>> decided(np.array([-0.1, 0.0, 2.0]), 0.5).tolist()
    [False, True, True]
    """
    return np.asarray(logits) >= logit(probability)


def known_of(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of class `name` whose label is known, with `label` as bool; StudyError when the class is
    not there."""
    rows = predictions[predictions["class"] == name]
    if rows.empty:
        raise StudyError(
            f"no predictions of class {name!r}; there are {sorted(predictions['class'].unique())}"
        )
    known = rows[rows["label"].notna()]
    return known.assign(label=known["label"].astype(bool), logit=known["logit"].astype(float))


def measured(known: pd.DataFrame, metric: str, cut: float | None = None) -> PatientStatistic:
    """One of RANKED, or one of DECISIONS where a slice is called from the logit `cut` on. known:
    from `known_of`."""
    patients, truth, scores = (known[name].to_numpy() for name in ("patient_id", "label", "logit"))
    if metric in RANKED:
        return RANKED[metric](patients, truth, scores)
    return ratio_of_sums(patients, *DECISIONS[metric](truth, scores >= cut))
