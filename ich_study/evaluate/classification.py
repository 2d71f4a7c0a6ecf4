"""From a trained slice classifier to its predictions, its table and its curves.

Predictions are a long table, a row per slice and class. Results are rows of `schema.RESULT_COLUMNS`
with 95 % intervals from patients drawn with replacement. LSE-UNet, Table 1 (AUROC); CAM benchmark,
Section IV (thresholds 0.3-0.7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, logit
from torch import nn

from ich_study.errors import StudyError
from ich_study.evaluate.rows import Row, Rows
from ich_study.evaluate.slice_predictions import RANKED, known_of, measured, prediction_table
from ich_study.evaluate.thresholds import (
    FIXED_THRESHOLDS,
    Threshold,
    fixed_threshold,
    youden_threshold,
)
from ich_study.inputs.devices import autocast
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceSource, label_tensor, ordered_inputs
from ich_study.metrics.classification import (
    DECISIONS,
    pr_curve,
    roc_curve,
)
from ich_study.metrics.statistics import PatientStatistic, mean_of_statistics
from ich_study.models.backbones import class_logits
from ich_study.schema import SUBTYPES, result_table


def predict(
    model: nn.Module,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    source: SliceSource,
    rows: pd.DataFrame,
    device: torch.device,
    batch_size: int = 32,
    num_workers: int = 0,
    precision: str = "fp32",
    two_outputs: bool = False,
) -> pd.DataFrame:
    """Predictions of every row and class, typed as PREDICTION_COLUMNS, in the order of `rows`.

    `model` is in evaluation mode on `device`. With `two_outputs` the logit is present minus absent.
    Raises StudyError when an output is not finite, naming the first slice.
    """
    seen = (source, rows, preprocessing, batch_size, device)
    outputs = []
    with torch.inference_mode(), autocast(precision, device):
        for inputs in ordered_inputs(*seen, what="predicting", num_workers=num_workers):
            outputs.append(class_logits(model(inputs), two_outputs).double().cpu())
    logits = torch.cat(outputs).numpy()
    return prediction_table(rows, label_tensor(rows, classes).numpy(), logits, classes)


def validation_thresholds(predictions: pd.DataFrame) -> dict[str, Threshold]:
    """Youden's threshold on the logit, per class, from predictions of the validation part.

    Classes that occur there with one kind of label only have no threshold and are left out.
    """
    found = {}
    for name in predictions["class"].unique():
        known = known_of(predictions, name)
        truth, scores = known["label"].to_numpy(), known["logit"].to_numpy()
        if truth.any() and not truth.all() and np.ptp(scores) > 0:
            found[name] = youden_threshold(truth, scores)
    return found


def classification_results(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, Threshold],
    rows: Rows,
    method: str,
    variant: str = "printed",
) -> pd.DataFrame:
    """Result table of a classifier on `predictions`, per data set and class.

    `auroc`, `average_precision`; and `f1`, `sensitivity`, `specificity`, `precision` at each of
    FIXED_THRESHOLDS (`f1@0.5`) and at the validation part's threshold of the class, a logit
    (`f1@youden`). Where all five subtypes have an AUROC their mean stands under class `average`
    (LSE-UNet, Table 1, AVG). `n` is the number of patients; a measure without value is NaN.
    """
    named = {"method": method, "variant": variant, "unit": "slice", "subset": "all"}
    fixed = {f"{value:g}": fixed_threshold(logit(value)) for value in FIXED_THRESHOLDS}
    found: list[Row] = []
    for dataset, part in predictions.groupby("dataset", sort=True):
        own = replace(rows, dataset=str(dataset), made=[])
        ranked: dict[str, PatientStatistic] = {}
        for name in part["class"].unique():
            known = known_of(part, name)
            if known.empty:
                continue
            chosen = thresholds.get(name)
            statistics = class_statistics(known, fixed | ({chosen.rule: chosen} if chosen else {}))
            ranked[name] = statistics["auroc", "none"]
            for (metric, source), statistic in statistics.items():
                columns = {**named, "class_name": name, "threshold_source": source}
                found.append(own.statistic(statistic, metric, **columns))
        members = [ranked[name] for name in SUBTYPES if name in ranked]
        alike = all(np.array_equal(each.patients, members[0].patients) for each in members)
        if len(members) == len(SUBTYPES) and alike:
            columns = {**named, "class_name": "average", "threshold_source": "none"}
            found.append(own.statistic(mean_of_statistics(members), "auroc", **columns))
    return result_table(found)


def class_statistics(
    known: pd.DataFrame, thresholds: Mapping[str, Threshold]
) -> dict[tuple[str, str], PatientStatistic]:
    """Measures of one class by (metric, threshold source). known: from `known_of`. thresholds: on
    the logit, by what follows the `@` of the metric."""
    found = {(metric, "none"): measured(known, metric) for metric in RANKED}
    for suffix, threshold in thresholds.items():
        for metric in DECISIONS:
            statistic = measured(known, metric, threshold.value)
            found[f"{metric}@{suffix}", threshold.source] = statistic
    return found


def curves(predictions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ROC and PR curves of every data set and class that has both kinds of labels.

    Columns `dataset, class` and those of `metrics.classification.roc_curve` and `pr_curve`, a point
    per distinct logit; `threshold` is its probability.
    """
    roc, pr = [], []
    for (dataset, name), part in predictions.groupby(["dataset", "class"], sort=False):
        known = known_of(part, name)
        if known["label"].nunique() < 2:
            continue
        truth, scores = known["label"].to_numpy(), known["logit"].to_numpy()
        for frames, curve in ((roc, roc_curve), (pr, pr_curve)):
            points = curve(truth, scores)
            points.insert(0, "dataset", dataset)
            points.insert(1, "class", name)
            cuts = points["threshold"]
            frames.append(points.assign(threshold=cuts.where(np.isinf(cuts), expit(cuts))))
    if not roc:
        raise StudyError(
            "no class has both positive and negative slices; there is no curve to draw"
        )
    return tuple(pd.concat(frames, ignore_index=True) for frames in (roc, pr))
