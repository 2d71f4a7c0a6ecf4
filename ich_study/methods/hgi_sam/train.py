"""The three Swins of HGI-SAM's study: binary, multi-label, and the two-output one, fine-tuned from
binary.

HGI-SAM paper, 4.2.1 and 4.2.2; printed_and_authors, 003.8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ich_study.errors import require_known
from ich_study.inputs.slices import SliceSource
from ich_study.methods.hgi_sam.swin import swin_from_parent
from ich_study.models.backbones import Backbone
from ich_study.training.config import TWO_OUTPUT_LOSSES, TrainingConfig
from ich_study.training.learner import TrainingRun, train_classifier

HEAD_FOLDER, BODY_FOLDER = "head", "all"


def train_swins(
    create: Callable[[TrainingConfig], Backbone],
    shared: Mapping[str, Any],
    multi_label_classes: Sequence[str],
    fine_tuning: Mapping[str, Any],
    head_stage: Mapping[str, Any] | None,
    source: SliceSource,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    folder: Path,
) -> dict[str, TrainingRun]:
    """`binary`, `multi_label` and `two_outputs`, each trained in a folder of its own; resumes after
    a kill.

    create: the untrained network for a configuration. shared: parameters of both parents;
    fine_tuning: what replaces them for the third, see `fine_tune`. Raises ParameterError for
    unknown parameters.
    """
    runs, slices = {}, (source, train_rows, validation_rows)
    for name, classes in (("binary", ["any"]), ("multi_label", list(multi_label_classes))):
        config = TrainingConfig.read({**shared, "classes": classes})
        network = create(config)
        millions = sum(weight.numel() for weight in network.model.parameters()) / 1e6
        print(
            f"{name}: {config.outputs} outputs, {millions:.2f} M parameters, weights:"
            f" {network.weights_source}"
        )
        runs[name] = train_classifier(network, config, *slices, folder / name)
    config = TrainingConfig.read({**shared, "classes": ["any"], **fine_tuning})
    parent = runs["binary"].weights_path
    runs["two_outputs"] = fine_tune(parent, config, head_stage, *slices, folder / "two_outputs")
    return runs


def fine_tune(
    parent: Path,
    config: TrainingConfig,
    head_stage: Mapping[str, Any] | None,
    source: SliceSource,
    train_rows: pd.DataFrame,
    validation_rows: pd.DataFrame,
    folder: Path,
) -> TrainingRun:
    """The binary parent's body with a head of two outputs, trained; checkpoints in `folder`.

    head_stage: settings that replace those of `config` while the head alone is trained first, as
    the code does (learning rate 0.001); None trains everything at once, as the paper is read
    literally. The second stage starts from the best weights of the first. Raises ParameterError for
    a loss of one output.
    """
    require_known("loss of the two-output network", config.loss, TWO_OUTPUT_LOSSES)
    start, slices = parent, (source, train_rows, validation_rows)
    if head_stage is not None:
        first = config.changed(**head_stage)
        network = swin_from_parent(parent, config.outputs, seed=config.seed, trained="head")
        print("fine-tuning, first stage: the head alone")
        start = train_classifier(network, first, *slices, folder / HEAD_FOLDER).weights_path
        print("fine-tuning, second stage: all weights")
    network = swin_from_parent(start, config.outputs, seed=config.seed)
    return train_classifier(network, config, *slices, folder / BODY_FOLDER)
