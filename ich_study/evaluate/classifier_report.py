"""What one classifier run leaves behind: predictions, thresholds, measures and curves of every part
it scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from scipy.special import expit
from torch import nn

from ich_study.atomic import write_csv, write_parquet
from ich_study.evaluate import classification as evaluation
from ich_study.evaluate.results import joined, with_interval
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.slice_position import METHOD, position_predictions, position_rows
from ich_study.evaluate.thresholds import Threshold, threshold_frame
from ich_study.evaluate.top_epochs import TOP_EPOCHS_FILE, top_epochs_rows
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceSource
from ich_study.schema import result_table


class RunSettings(Protocol):
    """What the report reads of a run's settings; `training.config.TrainingConfig` is one."""

    classes: tuple[str, ...]
    outputs: int
    primary_class: str
    batch_size: int
    num_workers: int
    precision: str
    seed: int


class FinishedRun(Protocol):
    """A trained classifier; `training.learner.TrainingRun` is one. history: a row per epoch.
    top_epochs: of `evaluate.top_epochs`."""

    model: nn.Module
    config: RunSettings
    preprocessing: Preprocessing
    device: torch.device
    history: pd.DataFrame
    top_epochs: pd.DataFrame


@dataclass(frozen=True)
class ScoredPart:
    """Slices to score: `name` is the part as tables print it (`rsna/test`, or a data set scored
    without training on it), `rows` are rows of the slice index."""

    name: str
    source: SliceSource
    rows: pd.DataFrame


@dataclass(frozen=True)
class ClassifierReport:
    """predictions: `slice_predictions.PREDICTION_COLUMNS`, and `part`. thresholds: on the logit.
    results: tidy, `dataset` is the part. roc, pr: curves, `dataset` is the part. top_epochs: counts
    of the five best epochs, `dataset` is the data set."""

    predictions: pd.DataFrame
    thresholds: dict[str, Threshold]
    results: pd.DataFrame
    roc: pd.DataFrame
    pr: pd.DataFrame
    top_epochs: pd.DataFrame

    def write(self, folder: Path) -> None:
        """`predictions.parquet`, `top_epochs.parquet`, `thresholds.csv`, `metrics.csv`, `roc.csv`
        and `pr.csv` in `folder`."""
        write_parquet(folder / "predictions.parquet", self.predictions)
        write_parquet(folder / TOP_EPOCHS_FILE, self.top_epochs)
        write_csv(folder / "thresholds.csv", self.cuts())
        write_csv(folder / "metrics.csv", self.results)
        write_csv(folder / "roc.csv", self.roc)
        write_csv(folder / "pr.csv", self.pr)

    def cuts(self) -> pd.DataFrame:
        """Thresholds by class, on the `logit` and as the `probability` that it stands for."""
        cuts = threshold_frame(self.thresholds).rename(columns={"threshold": "logit"})
        return cuts.assign(probability=expit(cuts["logit"]))

    def of_part(self, part: str) -> pd.DataFrame:
        """Predictions of one part."""
        return self.predictions[self.predictions["part"] == part]


def report_classifier(
    run: FinishedRun,
    validation: ScoredPart,
    others: list[ScoredPart],
    training: pd.DataFrame,
    *,
    method: str,
    variant: str,
    study: str = "01_backbones",
    replicates: int = 1000,
    seed: int = 0,
) -> ClassifierReport:
    """Scores every part and measures it; thresholds come from the `validation` part alone.

    Every part gets AUROC, average precision, and F1, sensitivity, specificity and precision at the
    fixed thresholds and at Youden's (see `evaluation.classification_results`); the validation part
    also the F1 of its five best epochs (CAM benchmark, Table I). training: rows of the index that
    the network learned from; the rival beside every AUROC learns from them too
    (`evaluate.slice_position`).
    """
    parts = (validation, *others)
    predictions = pd.concat([_predicted(run, part) for part in parts], ignore_index=True)
    of_part = dict(list(predictions.groupby("part")))
    thresholds = evaluation.validation_thresholds(of_part[validation.name])
    renamed = predictions.assign(dataset=predictions["part"])
    rows = Rows(study, validation.name, replicates, seed)
    measured = evaluation.classification_results(renamed, thresholds, rows, method, variant)
    name = run.config.primary_class
    beside = top_epochs_rows(run.history, run.top_epochs, rows, method, name, variant)
    for part in parts:
        rival = position_predictions(training, part.rows, run.config.classes)
        own = replace(rows, dataset=part.name, made=[])
        beside += position_rows(of_part[part.name], rival, own, method, variant)
    results = joined([measured, result_table(beside)])
    roc, pr = evaluation.curves(renamed)
    seeded = results.assign(seed=run.config.seed)
    counted = run.top_epochs.assign(dataset=validation.name.partition("/")[0])
    return ClassifierReport(predictions, thresholds, seeded, roc, pr, counted)


def _predicted(run: FinishedRun, part: ScoredPart) -> pd.DataFrame:
    config = run.config
    predictions = evaluation.predict(
        run.model,
        run.preprocessing,
        config.classes,
        part.source,
        part.rows,
        run.device,
        batch_size=2 * config.batch_size,
        num_workers=config.num_workers,
        precision=config.precision,
        two_outputs=config.outputs > len(config.classes),
    )
    return predictions.assign(part=part.name)


def headline(results: pd.DataFrame) -> pd.DataFrame:
    """The measures that a reader looks at first, a row per part and class, `value [low, high]`.

    `slice_position` is the AUROC of the rival that sees a slice's height alone.
    """
    shown = ["auroc", METHOD, "auroc_difference", "auroc_within_position", "average_precision"]
    shown += ["f1@youden", "sensitivity@youden", "specificity@youden"]
    named = results["metric"].mask(results["method"] == METHOD, METHOD)
    rows = results.assign(metric=named)[named.isin(shown)]
    cells = rows[["dataset", "class", "metric"]].assign(value=rows.apply(with_interval, axis=1))
    return (
        cells.pivot(index=["dataset", "class"], columns="metric", values="value")
        .reindex(columns=shown)
        .reset_index()
    )


def primary_auroc(results: pd.DataFrame, part: str, name: str) -> Mapping[str, float]:
    """`value`, `ci_low`, `ci_high` of the AUROC of class `name` on one part."""
    of_part = (results["dataset"] == part) & (results["class"] == name)
    rows = results[of_part & (results["metric"] == "auroc") & (results["method"] != METHOD)]
    return rows.iloc[0][["value", "ci_low", "ci_high"]].to_dict()
