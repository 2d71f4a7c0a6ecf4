"""The test folds, and the supervised networks that are trained on all but one of them.

HGI-SAM paper, Sections 4.1 to 4.4: classifiers are trained on one data set and tested on another,
whose five folds choose thresholds and train the supervised networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ich_study.errors import DataError
from ich_study.methods.hgi_sam.segmentation import hemorrhage_probability, train_segmenter
from ich_study.methods.hgi_sam.segmentation_baselines import create_segmenter
from ich_study.splits.overlap import assert_disjoint
from ich_study.splits.split import fold_split, make_folds, rows_of
from ich_study.store.read import Store
from ich_study.training.config import TrainingConfig


def with_folds(
    index: pd.DataFrame, folds: pd.DataFrame | None, count: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Rows of the index with the `fold` in which their patient is tested.

    folds: `dataset, patient_id, fold`; None makes `count` of them, stratified by subtype, from
    `seed`. DataError for patients without a fold.
    """
    folds = make_folds(index, count, seed) if folds is None else folds
    patient = ["dataset", "patient_id"]
    joined = index.merge(folds, on=patient, how="left", validate="many_to_one")
    if joined["fold"].isna().any():
        lost = joined.loc[joined["fold"].isna(), "patient_id"].nunique()
        raise DataError(
            f"{lost} patients of the index are in no fold; make the folds of these rows"
        )
    return joined.astype({"fold": int}).sort_values(["scan_id", "slice_index"], ignore_index=True)


def supervised_masks(
    name: str,
    options: Mapping[str, Any],
    parameters: Mapping[str, Any],
    store: Store,
    rows: pd.DataFrame,
    folder: Path,
    validation_fraction: float = 0.1,
) -> tuple[np.ndarray, nn.Module]:
    """Masks of every slice by the network that never saw its patient, bool (N, S, S), and the last
    fold's network.

    name, options: of `create_segmenter`. parameters: of TrainingConfig. rows: with `fold`.
    For each fold a network is trained on the others; `validation_fraction` of
    all patients, taken from those others, stop its training early. Resumes after a kill.
    """
    config = TrainingConfig.read(parameters)
    found = np.zeros((len(rows), config.size, config.size), bool)
    folds = rows[["dataset", "patient_id", "fold"]].drop_duplicates()
    model: nn.Module = nn.Identity()
    for fold in sorted(folds["fold"].unique()):
        split = fold_split(rows, folds, int(fold), validation_fraction, config.seed)
        train, validation, test = (
            rows_of(rows, split, part) for part in ("train", "validation", "test")
        )
        assert_disjoint(pd.concat([train, validation]), test)
        network = create_segmenter(name, config.in_channels, options, config.seed)
        place = folder / f"{name}_fold{fold}"
        run = train_segmenter(network, config, store, train, validation, place)
        model, tested = run.model, (rows["fold"] == fold).to_numpy()
        settings = (run.device, 2 * config.batch_size, config.precision)
        probability = hemorrhage_probability(
            model, config.preprocessing(), store, rows[tested], *settings
        )
        found[tested] = probability > 0.5
        print(f"{name}, fold {fold}: best epoch {run.best_epoch + 1} of {len(run.history)}")
    return found, model
