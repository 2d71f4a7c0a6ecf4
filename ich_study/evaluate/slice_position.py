"""The trivial rival of every slice classifier: where a slice lies in the head, and nothing else.

Hemorrhage is rarer at the skull's base and at the vertex than between them, so that a classifier
that reads no more than a slice's height already has an AUROC well above one half. What a network
adds is its AUROC above this rival, and its AUROC among slices of one height.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import logit

from ich_study.errors import DataError
from ich_study.evaluate.rows import OF_SLICES, Row, Rows
from ich_study.evaluate.slice_predictions import known_of, prediction_table
from ich_study.metrics.statistics import auroc_of_items

METHOD = "slice_position"
STRATA = 5
"""Parts of equal height that the head is cut into for AUROCs of slices of one height."""
_BINS, _WIDTH = 100, 0.05
"""Steps of the height on which the rival learns, and the sigma, a share of it, it smooths by."""


def head_positions(rows: pd.DataFrame) -> np.ndarray:
    """Height of every slice in its scan, from 0 for the scan's first of `rows` to 1 for its last,
    (n,); 0.5 for the only slice of a scan.

    >>> head_positions(pd.DataFrame({"scan_id": list("aaab"), "slice_index": [0, 1, 4, 7]}))
    array([0.  , 0.25, 1.  , 0.5 ])
    """
    numbers = rows["slice_index"].astype(float)
    of_scan = numbers.groupby(rows["scan_id"].to_numpy())
    first, last = of_scan.transform("min"), of_scan.transform("max")
    return ((numbers - first) / (last - first).where(last > first)).fillna(0.5).to_numpy()


def position_predictions(
    training: pd.DataFrame, rows: pd.DataFrame, classes: Sequence[str]
) -> pd.DataFrame:
    """What the rival, fitted on the slices `training`, predicts of `rows`, as
    `slice_predictions.PREDICTION_COLUMNS` and `position`, the height.

    A class's probability at a height is the share of training slices around it that have the class,
    weighted by a Gaussian; half a slice is added to either side, so that none is 0 or 1.
    """
    steps = (np.arange(_BINS) + 0.5) / _BINS
    near = np.exp(-((steps[:, None] - steps) ** 2) / (2 * _WIDTH**2))
    learned, asked = _steps(training), _steps(rows)
    logits = np.empty((len(rows), len(classes)))
    for number, label in enumerate(_labels(training, classes).T):
        known = ~np.isnan(label)
        positive, all_slices = (
            near @ np.bincount(learned[known], weights, _BINS) for weights in (label[known], None)
        )
        logits[:, number] = logit((positive + 0.5) / (all_slices + 1))[asked]
    table = prediction_table(rows, _labels(rows, classes), logits, classes)
    return table.assign(position=np.repeat(head_positions(rows), len(classes)))


def position_rows(
    predictions: pd.DataFrame, rival: pd.DataFrame, table: Rows, method: str, variant: str
) -> list[Row]:
    """The rival beside a classifier, for every class of the rival with slices of both kinds.

    `auroc` of the rival (its variant says beside whom), `auroc_difference` of the classifier minus
    the rival on the same drawn patients, and the classifier's `auroc_within_position`: over pairs
    of a positive and a negative slice from the same of STRATA parts of the height.
    predictions, rival: tables of predictions of the same slices. DataError where the rival lacks
    one.
    """
    found: list[Row] = []
    for name in rival["class"].unique():
        keys = ["scan_id", "slice_index"]
        other = rival.loc[rival["class"] == name, [*keys, "logit", "position"]]
        known = known_of(predictions, name).merge(other, "left", keys, suffixes=("", "_rival"))
        if known["position"].isna().any():
            raise DataError(f"{method} scored slices whose height in the head is not known")
        truth = known["label"].to_numpy()
        if truth.all() or not truth.any():
            continue
        patients, logits = known["patient_id"].to_numpy(), known["logit"].to_numpy()
        statistics = {
            method: auroc_of_items(patients, truth, logits),
            METHOD: auroc_of_items(patients, truth, known["logit_rival"].to_numpy()),
        }
        strata = (known["position"].to_numpy() * STRATA).astype(int).clip(max=STRATA - 1)
        within = auroc_of_items(patients, truth, logits, strata)
        named = {**OF_SLICES, "class_name": name}
        own = {**named, "variant": variant}
        beside = {**named, "method": METHOD, "variant": f"beside {method} ({variant})"}
        found.append(table.statistic(statistics[METHOD], "auroc", **beside))
        found += table.differences(statistics, [(method, METHOD)], "auroc", **own)[1]
        found.append(table.statistic(within, "auroc_within_position", method=method, **own))
    return found


def _steps(rows: pd.DataFrame) -> np.ndarray:
    return (head_positions(rows) * _BINS).astype(int).clip(max=_BINS - 1)


def _labels(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """0, 1, or NaN where unknown, (n, classes)."""
    return rows[list(classes)].astype("Float64").to_numpy(float, na_value=np.nan)
