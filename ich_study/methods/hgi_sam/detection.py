"""Detection of hemorrhage per slice: HGI-SAM, Table 2, with its "AUC" of decisions and the AUROC of
scores, named apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ich_study.evaluate import slice_position
from ich_study.evaluate.classification import predict
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.slice_predictions import decided, known_of
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceSource
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, GRAD_CAM
from ich_study.metrics.classification import (
    DECISIONS,
    auc_of_decisions,
    auroc,
    decision_metrics,
)
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    mean_of_items,
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
        found[name] = predict(*arguments, two_outputs=run.config.two_outputs)
    return found


def decisions(predictions: pd.DataFrame) -> np.ndarray:
    """Whether the classifier calls each slice positive, bool (slices,), known label or not: from
    probability 0.5 on, where of two outputs that of hemorrhage is no smaller."""
    return decided(predictions.loc[predictions["class"] == "any", "logit"].to_numpy(float), 0.5)


def detection_of_classifier(predictions: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Its decisions and logits, as `detected` has them; of the multi-label network those of class
    `any` only.

    predictions: of `classification.predict` on `rows`, in their order. Slices without a known label
    are left out.
    """
    known = known_of(predictions, "any")
    kept = predictions.loc[predictions["class"] == "any", "label"].notna().to_numpy()
    truth, logits = (known[column].to_numpy() for column in ("label", "logit"))
    return detected(rows.loc[kept], truth, decided(logits, 0.5), logits)


def detections_of_classifiers(
    predictions: Mapping[str, pd.DataFrame], rows: pd.DataFrame
) -> dict[str, pd.DataFrame]:
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
) -> pd.DataFrame:
    """A segmentation as a detection, as `detected` has it: at least `SMALLEST_PX` foreground
    pixels; their number is the score. masks: bool (N, S, S)."""
    pixels = masks.sum((1, 2))
    return detected(rows, np.asarray(truth, bool), pixels >= SMALLEST_PX[variant], pixels)


def detected(
    rows: pd.DataFrame, truth: np.ndarray, called: np.ndarray, score: np.ndarray
) -> pd.DataFrame:
    """One method on slices: `patient_id, fold, truth, decided, score`, a row each."""
    columns = {"truth": truth, "decided": called, "score": score.astype(float)}
    return rows[["patient_id", "fold"]].reset_index(drop=True).assign(**columns)


def detection_table(detections: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Table 2: a row per method and fold, and overall: `method, fold, slices, positive` and
    TABLE_2."""
    table = []
    for method, found in detections.items():
        by_fold = {str(fold): part for fold, part in found.groupby("fold")}
        for fold, part in {"overall": found, **by_fold}.items():
            truth, called = part["truth"].to_numpy(), part["decided"].to_numpy()
            values = decision_metrics(truth, called)
            values["auc_of_decisions"] = auc_of_decisions(truth, called)
            values["auroc"] = auroc(truth, part["score"].to_numpy())
            counted = {"slices": len(part), "positive": int(truth.sum())}
            measured = {name: values[name] for name in TABLE_2}
            table.append({"method": method, "fold": fold, **counted, **measured})
    return pd.DataFrame(table)


def detection_rows(detections: Mapping[str, pd.DataFrame], rows: Rows, variant: str) -> list[Row]:
    """Rows of the result table: every measure of TABLE_2 over all slices and by fold (the part of
    the data set, counted from 1), with intervals over the patients of each."""
    named = {"variant": variant, "class_name": "any", "unit": "slice", "subset": "all"}
    named["threshold_source"] = "none"
    table = []
    for fold in (None, *sorted({fold for each in detections.values() for fold in each["fold"]})):
        own = rows
        if fold is not None:
            own = replace(rows, dataset=f"{rows.dataset}/fold_{int(fold) + 1}", made=[])
        for method, found in detections.items():
            part = found if fold is None else found[found["fold"] == fold]
            measured = detection_statistics(part) if len(part) else {}
            for metric, statistic in measured.items():
                table.append(own.statistic(statistic, metric, **named, method=method))
    return table


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


def detection_statistics(found: pd.DataFrame) -> dict[str, PatientStatistic]:
    """Measures of TABLE_2 as statistics over patients, and `balanced_accuracy`, the name that the
    published tables here give to the printed AUC."""
    columns = ("patient_id", "truth", "decided", "score")
    patients, truth, called, scores = (found[name].to_numpy() for name in columns)
    measured = {"accuracy": mean_of_items(patients, truth == called)}
    for name in ("precision", "f1", "sensitivity", "specificity"):
        measured[name] = ratio_of_sums(patients, *DECISIONS[name](truth, called))
    balanced = mean_of_statistics([measured["sensitivity"], measured["specificity"]])
    measured |= {"auc_of_decisions": balanced, "balanced_accuracy": balanced}
    measured["auroc"] = auroc_of_items(patients, truth, scores)
    return measured
