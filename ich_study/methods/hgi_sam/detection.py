"""Detection of hemorrhage per slice: HGI-SAM, Table 2, with its "AUC" of decisions and the AUROC of
scores, named apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.slice_predictions import known_of
from ich_study.metrics.classification import auc_of_decisions, auroc, decision_metrics
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    mean_of_statistics,
    patient_bootstrap,
    ratio_of_sums,
)

TABLE_2: tuple[str, ...] = (
    "accuracy",
    "auc_of_decisions",
    "precision",
    "f1",
    "sensitivity",
    "specificity",
    "auroc",
)
SMALLEST_PX = {"printed": 10, "authors": 11}
"""Foreground pixels from which a segmentation counts as a detection: the paper drops fewer than 10,
the code 10 too."""


@dataclass(frozen=True)
class Detection:
    """Decisions and scores of one method, a slice each. rows: `patient_id`, and `fold` where there
    are folds."""

    rows: pd.DataFrame = field(repr=False)
    truth: np.ndarray = field(repr=False)
    decided: np.ndarray = field(repr=False)
    score: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        if not len(self.rows) or any(
            len(part) != len(self.rows) for part in (self.truth, self.decided, self.score)
        ):
            raise DataError(
                f"{len(self.rows)} slices with {len(self.truth)} labels, {len(self.decided)}"
                " decisions; expected one each"
            )


def detection_of_classifier(
    predictions: pd.DataFrame, rows: pd.DataFrame, name: str = "any"
) -> Detection:
    """Decisions at probability 0.5, which for two outputs is the larger one; of the multi-label
    network class `any` only.

    predictions: of `evaluation.predict` on `rows`, in their order. Slices without a known label are
    left out.
    """
    known = known_of(predictions, name)
    kept = (predictions.loc[predictions["class"] == name, "label"].notna()).to_numpy()
    probability = known["probability"].to_numpy(float)
    return Detection(
        rows.loc[kept].reset_index(drop=True),
        known["label"].to_numpy(bool),
        probability > 0.5,
        probability,
    )


def decisions(predictions: pd.DataFrame, name: str = "any") -> np.ndarray:
    """Whether the classifier calls each slice positive, bool (slices,), known label or not."""
    return predictions.loc[predictions["class"] == name, "probability"].to_numpy(float) > 0.5


def detection_of_masks(
    masks: np.ndarray, truth: np.ndarray, rows: pd.DataFrame, variant: str = "printed"
) -> Detection:
    """A segmentation as a detection: at least `SMALLEST_PX` foreground pixels; their number is the
    score. masks: bool (N, S, S)."""
    if variant not in SMALLEST_PX:
        raise ParameterError(f"variant is {variant!r}; expected one of {', '.join(SMALLEST_PX)}")
    pixels = masks.sum((1, 2))
    return Detection(
        rows.reset_index(drop=True),
        np.asarray(truth, bool),
        pixels >= SMALLEST_PX[variant],
        pixels.astype(float),
    )


def detection_table(detections: Mapping[str, Detection]) -> pd.DataFrame:
    """Table 2: a row per method and fold, and overall: `method, fold, slices, positive` and
    TABLE_2."""
    rows = []
    for method, found in detections.items():
        groups = [("overall", np.ones(len(found.rows), bool))]
        if "fold" in found.rows:
            groups += [
                (str(fold), (found.rows["fold"] == fold).to_numpy())
                for fold in sorted(found.rows["fold"].unique())
            ]
        for fold, part in groups:
            truth, decided, score = found.truth[part], found.decided[part], found.score[part]
            values = decision_metrics(truth, decided) | {
                "auc_of_decisions": auc_of_decisions(truth, decided),
                "auroc": auroc(truth, score),
            }
            rows.append(
                {
                    "method": method,
                    "fold": fold,
                    "slices": int(part.sum()),
                    "positive": int(truth.sum()),
                    **{name: values[name] for name in TABLE_2},
                }
            )
    return pd.DataFrame(rows)


def detection_rows(
    detections: Mapping[str, Detection],
    common: Mapping[str, Any],
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of the result table: every measure of TABLE_2 over all slices, with its interval over
    patients."""
    return [
        {
            **common,
            "method": method,
            "metric": metric,
            "unit": "slice",
            "subset": "all",
            "threshold_source": "none",
            **patient_bootstrap(statistic, replicates, seed).columns(),
        }
        for method, found in detections.items()
        for metric, statistic in detection_statistics(found).items()
    ]


def detection_statistics(found: Detection) -> dict[str, PatientStatistic]:
    """Measures of TABLE_2 as statistics over patients, and `balanced_accuracy`, the name that the
    published tables here give to the printed AUC."""
    patients, truth, decided = found.rows["patient_id"].to_numpy(), found.truth, found.decided
    ratios: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "accuracy": lambda: (truth == decided, np.ones(len(truth))),
        "precision": lambda: (truth & decided, decided),
        "f1": lambda: (2 * (truth & decided), truth.astype(int) + decided),
        "sensitivity": lambda: (truth & decided, truth),
        "specificity": lambda: (~truth & ~decided, ~truth),
    }
    measured = {name: ratio_of_sums(patients, *parts()) for name, parts in ratios.items()}
    balanced = mean_of_statistics([measured["sensitivity"], measured["specificity"]])
    measured |= {"auc_of_decisions": balanced, "balanced_accuracy": balanced}
    measured["auroc"] = auroc_of_items(patients, truth, found.score)
    return measured
