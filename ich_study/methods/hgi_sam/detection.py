"""Detection of hemorrhage per slice: HGI-SAM, Table 2, with its "AUC" of decisions and the AUROC of
scores, named apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate import slice_position
from ich_study.evaluate.classification import predict
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.slice_predictions import known_of
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceSource
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, GRAD_CAM
from ich_study.metrics.classification import auc_of_decisions, auroc, decision_metrics
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    mean_of_statistics,
    ratio_of_sums,
)
from ich_study.training.learner import TrainingRun

TABLE_2: tuple[str, ...] = (
    "accuracy",
    "auc_of_decisions",
    "precision",
    "f1",
    "sensitivity",
    "specificity",
    "auroc",
)
SMALLEST_PX = {"printed": 10, "norm_of_head": 10, "authors": 11}
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

    def only(self, part: np.ndarray) -> Detection:
        """Those of some slices, bool (slices,)."""
        rows = self.rows[part].reset_index(drop=True)
        return Detection(rows, self.truth[part], self.decided[part], self.score[part])


def predictions_of(
    runs: Mapping[str, TrainingRun],
    source: SliceSource,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
) -> dict[str, pd.DataFrame]:
    """What every classifier predicts of `rows`, by classifier; see `classification.predict`."""
    found = {}
    for name, run in runs.items():
        arguments = (run.model, preprocessing, run.config.classes, source, rows, run.device)
        # two outputs for one class: absent and present
        paired = run.config.outputs > len(run.config.classes)
        found[name] = predict(*arguments, two_outputs=paired)
    return found


def decisions(predictions: pd.DataFrame) -> np.ndarray:
    """Whether the classifier calls each slice positive, bool (slices,), known label or not: at
    probability 0.5, which for two outputs is the larger one."""
    return predictions.loc[predictions["class"] == "any", "logit"].to_numpy(float) > 0


def detection_of_classifier(predictions: pd.DataFrame, rows: pd.DataFrame) -> Detection:
    """Its decisions and logits; of the multi-label network those of class `any` only.

    predictions: of `classification.predict` on `rows`, in their order. Slices without a known label
    are left out.
    """
    known = known_of(predictions, "any")
    kept = predictions.loc[predictions["class"] == "any", "label"].notna().to_numpy()
    decided = decisions(predictions)[kept]
    truth, logits = (known[column].to_numpy() for column in ("label", "logit"))
    return Detection(rows.loc[kept].reset_index(drop=True), truth, decided, logits)


def detections_of_classifiers(
    predictions: Mapping[str, pd.DataFrame], rows: pd.DataFrame
) -> dict[str, Detection]:
    """The rows of Table 2 that are classifiers, by the method that explains them.

    Swin-Grad-CAM has none: it explains the classifier of HGI-SAM.
    """
    return {
        method: detection_of_classifier(predictions[classifier], rows)
        for method, classifier in CLASSIFIER_OF.items()
        if method != GRAD_CAM
    }


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
    table = []
    for method, found in detections.items():
        folds = found.rows["fold"].to_numpy()
        groups = {"overall": np.ones(len(folds), bool)}
        groups |= {str(fold): folds == fold for fold in np.unique(folds)}
        for fold, part in groups.items():
            truth, decided = found.truth[part], found.decided[part]
            values = decision_metrics(truth, decided)
            values["auc_of_decisions"] = auc_of_decisions(truth, decided)
            values["auroc"] = auroc(truth, found.score[part])
            counted = {"slices": int(part.sum()), "positive": int(truth.sum())}
            measured = {name: values[name] for name in TABLE_2}
            table.append({"method": method, "fold": fold, **counted, **measured})
    return pd.DataFrame(table)


def detection_rows(detections: Mapping[str, Detection], rows: Rows, variant: str) -> list[Row]:
    """Rows of the result table: every measure of TABLE_2 over all slices and by fold (the part of
    the data set, counted from 1), with intervals over the patients of each."""
    named = {"variant": variant, "class_name": "any", "unit": "slice", "subset": "all"}
    named["threshold_source"] = "none"
    table = _measured_rows(detections, rows, named)
    for fold in sorted({number for each in detections.values() for number in each.rows["fold"]}):
        part = replace(rows, dataset=f"{rows.dataset}/fold_{int(fold) + 1}", made=[])
        of_fold = {
            method: found.only((found.rows["fold"] == fold).to_numpy())
            for method, found in detections.items()
            if (found.rows["fold"] == fold).any()
        }
        table += _measured_rows(of_fold, part, named)
    return table


def _measured_rows(
    detections: Mapping[str, Detection], rows: Rows, named: Mapping[str, str]
) -> list[Row]:
    return [
        rows.statistic(statistic, metric, **named, method=method)
        for method, found in detections.items()
        for metric, statistic in detection_statistics(found).items()
    ]


def position_rows(
    predictions: Mapping[str, pd.DataFrame],
    training: pd.DataFrame,
    tested: pd.DataFrame,
    rows: Rows,
    variant: str,
) -> list[Row]:
    """The rival that sees a slice's height alone beside the AUROC of every classifier of Table 2;
    see `evaluate.slice_position`. training: slices that the rival learns from."""
    rival = slice_position.position_predictions(training, tested, ("any",))
    found = []
    for method, classifier in CLASSIFIER_OF.items():
        if method != GRAD_CAM:
            scored = predictions[classifier]
            found += slice_position.position_rows(scored, rival, rows, method, variant)
    return found


def detection_statistics(found: Detection) -> dict[str, PatientStatistic]:
    """Measures of TABLE_2 as statistics over patients, and `balanced_accuracy`, the name that the
    published tables here give to the printed AUC."""
    patients, truth, decided = found.rows["patient_id"].to_numpy(), found.truth, found.decided
    hits = truth & decided
    ratios = {
        "accuracy": (truth == decided, np.ones(len(truth))),
        "precision": (hits, decided, truth),
        "f1": (2 * hits, truth.astype(int) + decided, truth),
        "sensitivity": (hits, truth),
        "specificity": (~truth & ~decided, ~truth),
    }
    measured = {name: ratio_of_sums(patients, *parts) for name, parts in ratios.items()}
    balanced = mean_of_statistics([measured["sensitivity"], measured["specificity"]])
    measured |= {"auc_of_decisions": balanced, "balanced_accuracy": balanced}
    measured["auroc"] = auroc_of_items(patients, truth, found.score)
    return measured
