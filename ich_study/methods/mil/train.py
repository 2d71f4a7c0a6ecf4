"""The networks of notebook 05: trained here from slice labels alone, or published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ich_study.errors import WeightsError
from ich_study.inputs.slices import SliceSource
from ich_study.methods.mil.network import (
    MilBackbone,
    ReadyNetwork,
    create_mil,
    load_published,
    published_preprocessing,
)
from ich_study.models.registry import load
from ich_study.paths import resolve
from ich_study.training.config import TrainingConfig, going_on as going_on
from ich_study.training.learner import train_classifier
from ich_study.training.losses import balancing_weight


def training_config(
    training: Mapping[str, Any], train: pd.DataFrame, weighted_loss: bool
) -> TrainingConfig:
    """Settings of a MIL network's training, see `TrainingConfig`; one window alone is given three
    times.

    weighted_loss: positives weigh as much as the negatives of `train` together, in place of
    `positive_weight`.
    """
    config = TrainingConfig.read(training, "training")
    if not weighted_loss:
        return config
    return config.changed(positive_weight=balancing_weight(train["any"]))


def train_head(
    head: str,
    network: str,
    blocks: int | None,
    config: TrainingConfig,
    source: SliceSource,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    folder: Path,
) -> ReadyNetwork:
    """One network from slice labels alone; a finished training in `folder` is taken from there.

    network: `printed` or `authors`. blocks: of the printed network alone.
    """
    blocks = blocks if network == "printed" else None
    backbone = create_mil(network, head, config.seed, blocks=blocks)
    run = train_classifier(backbone, config, source, train, validation, folder)
    found = load(run.weights_path, run.device, MilBackbone, run.weights_sha256)
    named = replace(found.network, weights_source=found.path.name, weights_sha256=found.sha256)
    return ReadyNetwork(named, found.preprocessing, run.history)


def published_networks(
    weights: Mapping[str, Mapping[str, str | None]] | None,
) -> dict[str, ReadyNetwork]:
    """The published networks named in a parameter: head -> {"path": file, "sha256": hash or None},
    relative to the project's folder; None names none.

    Raises WeightsError as `load_published` does, and for entries other than these.
    """
    found = {}
    for head, entry in (weights or {}).items():
        if not set(entry) <= {"path", "sha256"} or not entry.get("path"):
            raise WeightsError(
                f"published weights of {head}: {sorted(entry)}; expected path and, if known, sha256"
            )
        network = load_published(resolve(str(entry["path"])), head, entry.get("sha256"))
        found[head] = ReadyNetwork(network, published_preprocessing())
    return found
