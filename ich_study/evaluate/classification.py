"""From a trained slice classifier to its predictions, its table and its curves.

Predictions are a long table, a row per slice and class. Results are rows of `schema.RESULT_COLUMNS`
with 95 % intervals from patients drawn with replacement. LSE-UNet, Table 1 (AUROC); CAM benchmark,
Section IV and Table I (thresholds 0.3-0.7, F1 of the top five epochs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, logit
from torch import nn
from tqdm import tqdm

from ich_study.errors import StudyError
from ich_study.evaluate.slice_predictions import known_of, prediction_table
from ich_study.evaluate.thresholds import Threshold, fixed_threshold, youden_threshold
from ich_study.inputs.devices import autocast
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.samplers import OrderedBatches
from ich_study.inputs.slices import SliceDataset, SliceLoader, SliceSource
from ich_study.metrics.classification import (
    DECISIONS,
    f1_of_top_epochs,
    pr_curve,
    roc_curve,
)
from ich_study.metrics.statistics import (
    PatientStatistic,
    auroc_of_items,
    average_precision_of_items,
    mean_of_statistics,
    patient_bootstrap,
    ratio_of_sums,
)
from ich_study.models.backbones import class_logits
from ich_study.schema import SUBTYPES, result_table

FIXED_THRESHOLDS = (0.3, 0.5, 0.7)
"""Probabilities of the CAM benchmark's Figure 3."""


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
    dataset = SliceDataset(source, rows, classes, preprocessing)
    loader = SliceLoader(
        dataset, OrderedBatches(len(dataset), batch_size), device, num_workers=num_workers
    )
    outputs = []
    with torch.inference_mode(), autocast(precision, device):
        for inputs, _ in tqdm(loader, desc="predicting", unit="batch", mininterval=5, leave=False):
            outputs.append(class_logits(model(inputs), two_outputs).double().cpu())
    loader.close()
    logits = torch.cat(outputs).numpy()
    if logits.shape != (len(rows), len(classes)):
        raise StudyError(
            f"the network gives {logits.shape[1]} logits per slice for {len(classes)} classes"
            f" {list(classes)}"
        )
    return prediction_table(dataset.rows, dataset.labels.numpy(), logits, classes)


def validation_thresholds(predictions: pd.DataFrame) -> dict[str, Threshold]:
    """Youden's threshold on the logit, per class, from predictions of the validation part.

    Classes that occur there with one kind of label only have no threshold and are left out.
    """
    found = {}
    for name in predictions["class"].unique():
        known = known_of(predictions, name)
        truth, scores = known["label"].to_numpy(), known["logit"].to_numpy()
        if truth.any() and not truth.all() and np.ptp(scores) > 0:
            found[name] = youden_threshold(truth, scores, name)
    return found


def classification_results(
    predictions: pd.DataFrame,
    thresholds: Mapping[str, Threshold],
    *,
    study: str,
    method: str,
    variant: str = "printed",
    fixed: Sequence[float] = FIXED_THRESHOLDS,
    replicates: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Result table of a classifier on `predictions`, per data set and class.

    `auroc`, `average_precision`; and `f1`, `sensitivity`, `specificity`, `precision` at each fixed
    probability (`f1@0.5`) and at the validation part's threshold of the class, a logit
    (`f1@youden`). Where all five subtypes have an AUROC their mean stands under class `average`
    (LSE-UNet, Table 1, AVG). `n` is the number of patients; a measure without value is NaN.
    """
    rows = []
    for dataset, part in predictions.groupby("dataset", sort=True):
        common = {
            "study": study,
            "dataset": dataset,
            "method": method,
            "variant": variant,
            "layer": None,
            "unit": "slice",
            "subset": "all",
            "brain_mask": None,
        }
        ranked: dict[str, PatientStatistic] = {}
        for name in part["class"].unique():
            known = known_of(part, name)
            if known.empty:
                continue
            cuts = {
                f"{probability:g}": fixed_threshold(logit(probability)) for probability in fixed
            }
            if name in thresholds:
                cuts[thresholds[name].rule] = thresholds[name]
            statistics = class_statistics(known, cuts)
            ranked[name] = statistics["auroc", "none"]
            rows += [
                {
                    **common,
                    "class": name,
                    "metric": metric,
                    "threshold_source": origin,
                    **patient_bootstrap(statistic, replicates, seed).columns(),
                }
                for (metric, origin), statistic in statistics.items()
            ]
        rows += _subtype_mean(ranked, common, replicates, seed)
    return result_table(rows)


def class_statistics(
    known: pd.DataFrame, thresholds: Mapping[str, Threshold]
) -> dict[tuple[str, str], PatientStatistic]:
    """Measures of one class by (metric, threshold source). known: from `known_of`. thresholds: on
    the logit, by what follows the `@` of the metric."""
    patients, truth, scores = (known[name].to_numpy() for name in ("patient_id", "label", "logit"))
    found = {
        ("auroc", "none"): auroc_of_items(patients, truth, scores),
        ("average_precision", "none"): average_precision_of_items(patients, truth, scores),
    }
    for suffix, threshold in thresholds.items():
        for metric, counted in DECISIONS.items():
            found[f"{metric}@{suffix}", threshold.source] = ratio_of_sums(
                patients, *counted(truth, scores >= threshold.value)
            )
    return found


def _subtype_mean(
    ranked: Mapping[str, PatientStatistic], common: Mapping[str, Any], replicates: int, seed: int
) -> list[dict[str, Any]]:
    members = [ranked[name] for name in SUBTYPES if name in ranked]
    if len(members) < len(SUBTYPES) or any(
        not np.array_equal(member.patients, members[0].patients) for member in members
    ):
        return []
    interval = patient_bootstrap(mean_of_statistics(members), replicates, seed)
    return [
        {
            **common,
            "class": "average",
            "metric": "auroc",
            "threshold_source": "none",
            **interval.columns(),
        }
    ]


def top_epochs_results(
    history: pd.DataFrame,
    *,
    study: str,
    dataset: str,
    method: str,
    name: str,
    variant: str = "printed",
) -> pd.DataFrame:
    """Mean and SD of the five best epochs' validation F1 of class `name` (CAM benchmark, Table I,
    "F1 (Top-5)").

    It scores the part on which the epochs were compared, as the paper's reading implies; `n` is the
    number of epochs it averages.
    """
    mean, deviation = f1_of_top_epochs(history["f1"].to_numpy())
    common = {
        "study": study,
        "dataset": dataset,
        "method": method,
        "variant": variant,
        "class": name,
        "unit": "slice",
        "subset": "all",
        "threshold_source": "none",
        "n": min(5, int(history["f1"].notna().sum())),
    }
    return result_table(
        [
            {**common, "metric": "f1_top5", "value": mean},
            {**common, "metric": "f1_top5_sd", "value": deviation},
        ]
    )


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
            points = curve(truth, scores).assign(**{"dataset": dataset, "class": name})
            cuts = points["threshold"]
            frames.append(points.assign(threshold=cuts.where(np.isinf(cuts), expit(cuts))))
    if not roc:
        raise StudyError(
            "no class has both positive and negative slices; there is no curve to draw"
        )
    return tuple(_keys_first(pd.concat(frames, ignore_index=True)) for frames in (roc, pr))


def _keys_first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[
        ["dataset", "class", *(column for column in frame if column not in ("dataset", "class"))]
    ]
