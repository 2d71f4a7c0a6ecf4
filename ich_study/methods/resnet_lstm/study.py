"""Folds of ResNet-LSTM, and stage 1 of one fold: ResNet, ResNet-LSTM, ResNet again.

Every step writes into the fold's own folder and goes on from there after a kill. Truth masks teach
and choose nothing, except in the supervised U-Net that stands beside the method as its bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch

from ich_study.ct.planes import PixelGrid
from ich_study.errors import DataError, ParameterError
from ich_study.evaluate import classification as evaluation
from ich_study.evaluate.slice_position import position_predictions
from ich_study.evaluate.truth import Truth, read_truth, truth_kind
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.resnet_lstm.network import ResNetLSTM
from ich_study.methods.resnet_lstm.sequences import (
    SequenceTask,
    first_slices,
    metadata_of,
    predict_sequences,
    refit_last_layer,
    train_sequences,
)
from ich_study.methods.resnet_lstm.settings import (
    CamRegion,
    ClusterRecipe,
    LSTMSettings,
    UNetSettings,
)
from ich_study.metrics.boxes import fill_boxes
from ich_study.models.backbones import Backbone, create_backbone
from ich_study.models.settings import BackboneSettings
from ich_study.splits.overlap import assert_disjoint, patient_marks
from ich_study.splits.split import fold_split, rows_of
from ich_study.store import Store
from ich_study.training.config import LoopSettings, TrainingConfig
from ich_study.training.learner import train_classifier

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """One fold: rows of the slice index by part. folder: where it works."""

    number: int
    store: Store
    rows: Mapping[str, pd.DataFrame] = field(repr=False)
    folder: Path

    def scans(self, *parts: str) -> list[str]:
        """Scans of parts, in the order of the index."""
        found = [scan for part in parts for scan in self.rows[part]["scan_id"].astype(str)]
        return list(dict.fromkeys(found))

    def labels(self, *parts: str) -> dict[str, np.ndarray]:
        """Image-level labels of each scan's slices, bool (slices,); unknown counts as negative."""
        found = {}
        for part in parts:
            groups = self.rows[part].sort_values("slice_index").groupby("scan_id", sort=False)
            for scan, rows in groups:
                found[str(scan)] = rows["any"].fillna(False).to_numpy(bool)
        return found

    def patient(self, scan: str) -> str:
        """Whose scan it is."""
        return str(self._index(scan)["patient_id"].iloc[0])

    def grid(self, scan: str) -> PixelGrid:
        """Where the scan's pixels lie, and what they measure."""
        return PixelGrid.of(self._index(scan))

    @property
    def truth_kind(self) -> str:
        """What the test scans are measured against: "masks" or "boxes"; DataError for neither."""
        return truth_kind(self.rows["test"])

    def truth(self, scan: str) -> np.ndarray:
        """Truth of a scan on its own grid, bool (slices, rows, columns): its mask, or its boxes
        filled."""
        if self.truth_kind == "masks":
            return np.asarray(self.store.mask(scan)) > 0
        filled = np.zeros(self.store.volume(scan).shape, bool)
        boxes = self.store.boxes[self.store.boxes["scan_id"] == scan]
        for index, rows in boxes.groupby("slice_index"):
            sides = rows[["x", "y", "width", "height"]].to_numpy(np.float64)
            filled[int(index)] = fill_boxes(sides, filled.shape[1:])
        return filled

    def test_truth(self, preprocessing: Preprocessing) -> Truth:
        """All slices of the test part on a network's grid."""
        return read_truth(
            self.store, self.rows["test"], preprocessing, self.truth_kind, progress=False
        )

    @property
    def marks(self) -> dict[str, list[str]]:
        """Of the patients that networks of this fold learn from or are chosen on
        (`overlap.patient_marks`)."""
        return patient_marks(pd.concat([self.rows["train"], self.rows["validation"]]))

    def _index(self, scan: str) -> pd.DataFrame:
        return self.store.index[self.store.index["scan_id"] == scan]


def make_fold(
    store: Store,
    split: pd.DataFrame,
    number: int,
    validation_fraction: float,
    seed: int,
    folder: Path,
) -> Fold:
    """Fold `number` of a split with folds, or fold 0 of a split into train, validation and test.

    validation_fraction: of all patients, taken from the training folds. Raises ParameterError for
    another fold of a split without folds, DataError for a part whose slices are of one label only.
    """
    if "fold" in split:
        split = fold_split(store.index, split, number, validation_fraction, seed)
    elif number != 0:
        raise ParameterError(
            f"fold {number} of a split without folds; name fold 0, or a split of kind folds"
        )
    rows = {part: rows_of(store.index, split, part) for part in PARTS}
    for other in ("validation", "test"):
        assert_disjoint(rows["train"], rows[other])
    for part in ("train", "validation"):
        if rows[part]["any"].dropna().nunique() < 2:
            raise DataError(
                f"fold {number}: the {part} part has slices of one label only; there is nothing to"
                " tell apart"
            )
    return Fold(number, store, rows, folder / f"fold_{number}")


@dataclass(frozen=True)
class MethodSettings:
    """All that is set of networks, trainings and masks. sequence, head, unet_loop: trainings of
    ResNet-LSTM, of the new last layer and of the U-Nets. recipes: by name. sequence_length: the
    first slices of a volume, from which both classifiers learn, None for all."""

    backbone: BackboneSettings
    classifier: TrainingConfig
    lstm: LSTMSettings
    sequence: LoopSettings
    head: LoopSettings
    cam: CamRegion
    recipes: Mapping[str, ClusterRecipe]
    unet: UNetSettings
    unet_loop: LoopSettings
    sequence_length: int | None = None
    volumes_per_batch: int = 1

    @classmethod
    def read(cls, given: Mapping[str, Any], shared: Mapping[str, Any], **others: Any) -> Self:
        """From the notebook's dictionaries by name of the parameter. shared: settings of every
        training. ParameterError names what is wrong."""
        loops = {}
        for name in ("sequence_training", "head_training", "unet_training"):
            loops[name] = LoopSettings.read({**shared, **given[name]}, name)
        classifier = {"classes": ["any"], **shared, **given["classifier"]}
        if given.get("variant") in given["recipes"]:
            raise ParameterError(
                f"variant is {given['variant']!r}, the name of one of the recipes"
                f" {', '.join(given['recipes'])}: their rows would be told apart by nothing; choose"
                " another name"
            )
        recipes = {}
        for name, recipe in given["recipes"].items():
            recipes[name] = ClusterRecipe.read(recipe, f"recipes.{name}")
        return cls(
            BackboneSettings.read(given["backbone"], "backbone"),
            TrainingConfig.read(classifier, "classifier"),
            LSTMSettings.read(given["lstm"], "lstm"),
            loops["sequence_training"],
            loops["head_training"],
            CamRegion.read(given["cam"], "cam"),
            recipes,
            UNetSettings.read(given["unet"], "unet"),
            loops["unet_training"],
            **others,
        )


@dataclass(frozen=True)
class Stage1:
    """The slice classifier before (`resnet`) and after the LSTM (`refitted`), and the network with
    it (`sequence`)."""

    resnet: Backbone
    sequence: ResNetLSTM = field(repr=False)
    refitted: Backbone
    preprocessing: Preprocessing
    device: torch.device
    weights: Mapping[str, str]
    history: pd.DataFrame = field(repr=False)

    def predictions(self, store: Store, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Slice predictions of the three networks by method name; the one with the LSTM sees whole
        volumes."""
        found = {}
        for name, backbone in (("resnet", self.resnet), ("resnet_lstm_refitted", self.refitted)):
            found[name] = evaluation.predict(
                backbone.model, self.preprocessing, ["any"], store, rows, self.device
            )
        sequence = predict_sequences(self.sequence, store, rows, self.preprocessing, self.device)
        return {**found, "resnet_lstm": sequence}


def position_rival(folds: Sequence[Fold]) -> pd.DataFrame:
    """Predictions of `evaluate.slice_position` for the test parts of all folds, each learned from
    the fold's own training part."""
    parts = [
        position_predictions(fold.rows["train"], fold.rows["test"], ("any",)) for fold in folds
    ]
    return pd.concat(parts, ignore_index=True)


def train_stage_1(fold: Fold, settings: MethodSettings) -> Stage1:
    """ResNet on slices, then ResNet-LSTM on volumes, then a new last layer without the LSTM."""
    config, loop = settings.classifier, settings.sequence
    if config.classes != ("any",) or config.outputs != 1:
        raise ParameterError(
            f"stage 1 has one logit, for `any`; the classifier has classes {list(config.classes)},"
            f" loss {config.loss}"
        )
    train, validation = fold.rows["train"], fold.rows["validation"]
    if settings.sequence_length is not None:
        train, validation = (
            first_slices(rows, settings.sequence_length) for rows in (train, validation)
        )
    described = settings.backbone.arguments()
    network = create_backbone(
        outputs=1, in_channels=config.in_channels, seed=config.seed, **described
    )
    run = train_classifier(network, config, fold.store, train, validation, fold.folder / "resnet")
    task = SequenceTask(
        fold.store,
        (train, validation),
        config.classes,
        run.preprocessing,
        volumes_per_batch=settings.volumes_per_batch,
        seed=loop.seed,
        cache_in_memory=config.cache_in_memory,
        augmentation=None if config.augmentation == "none" else config.augmenter(),
    )
    metadata = {**metadata_of(run.preprocessing, config.classes), "patients": fold.marks}
    lstm_run = train_sequences(network, settings.lstm, task, loop, fold.folder / "lstm", metadata)
    refitted, refitted_hash = refit_last_layer(
        lstm_run.model,
        network,
        task,
        config,
        settings.head,
        fold.folder / "refitted",
        metadata,
    )
    histories = {"ResNet": run.history, "ResNet-LSTM": lstm_run.history}
    history = [table.assign(stage=stage) for stage, table in histories.items()]
    hashes = run.weights_sha256, lstm_run.weights_sha256, refitted_hash
    return Stage1(
        network,
        lstm_run.model,
        refitted,
        run.preprocessing,
        run.device,
        dict(zip(("resnet", "lstm", "refitted"), hashes)),
        pd.concat(history, ignore_index=True).assign(fold=fold.number),
    )
