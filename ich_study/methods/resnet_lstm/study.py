"""ResNet-LSTM from slices to segmentations, one fold at a time: what notebook 03 calls.

Every step writes into the fold's own folder and goes on from there after a kill. Truth masks teach
and choose nothing, except in the supervised U-Net that stands beside the method as its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate import classification as evaluation
from ich_study.evaluate.scored_slices import scan_spacing
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.resnet_lstm.class_activation import CamRecipe
from ich_study.methods.resnet_lstm.network import LSTMSettings, ResNetLSTM
from ich_study.methods.resnet_lstm.pseudo_labels import ClusterRecipe
from ich_study.methods.resnet_lstm.pseudo_masks import PseudoLabeller, cached_masks
from ich_study.methods.resnet_lstm.sequences import (
    SequenceTask,
    first_slices,
    metadata_of,
    predict_sequences,
    refit_last_layer,
    train_sequences,
)
from ich_study.methods.resnet_lstm.volumes import (
    SegmentationTask,
    UNetSettings,
    prepared_variants,
    resized_masks,
    segment,
    train_unet,
)
from ich_study.models.backbones import Backbone, create_backbone
from ich_study.models.settings import BackboneSettings
from ich_study.splits.overlap import assert_disjoint
from ich_study.splits.split import fold_split, rows_of
from ich_study.store import Store
from ich_study.training.config import LoopSettings, TrainingConfig
from ich_study.training.learner import TrainingRun, train_classifier
from ich_study.training.loop import Run

PARTS = ("train", "validation", "test")
Masks = Mapping[str, np.ndarray]
_PREPARED: dict[str, dict[tuple[str, int, bool], np.ndarray]] = {}
"""By content hash of the store, of one store at a time."""


@dataclass(frozen=True)
class Fold:
    """One fold: rows of the slice index by part. folder: where it works."""

    number: int
    store: Store
    rows: Mapping[str, pd.DataFrame] = field(repr=False)
    split: pd.DataFrame = field(repr=False)
    folder: Path

    def scans(self, part: str) -> list[str]:
        """Scans of a part, in the order of the index."""
        return list(dict.fromkeys(self.rows[part]["scan_id"].astype(str)))

    def labels(self, part: str) -> dict[str, np.ndarray]:
        """Image-level labels of each scan's slices, bool (slices,); unknown counts as negative."""
        groups = self.rows[part].sort_values("slice_index").groupby("scan_id", sort=False)
        return {str(scan): rows["any"].fillna(False).to_numpy(bool) for scan, rows in groups}

    def patients(self) -> dict[str, str]:
        """Patient of each scan."""
        first = self.store.index.drop_duplicates("scan_id")
        return dict(zip(first["scan_id"].astype(str), first["patient_id"].astype(str)))

    def spacings(self, part: str) -> dict[str, tuple[float, float, float]]:
        """(z, y, x) in mm of each scan."""
        return {
            str(scan): scan_spacing(rows)
            for scan, rows in self.rows[part].groupby("scan_id", sort=False)
        }


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
    return Fold(number, store, rows, split, folder / f"fold_{number}")


@dataclass(frozen=True)
class Stage1:
    """The slice classifier before (`resnet`) and after the LSTM (`refitted`), and the network with
    it (`sequence`)."""

    run: TrainingRun
    resnet: Backbone
    sequence: ResNetLSTM = field(repr=False)
    refitted: Backbone
    preprocessing: Preprocessing
    device: torch.device
    weights: Mapping[str, str]
    lost_slices: int
    history: pd.DataFrame = field(repr=False)

    def predictions(self, store: Store, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Slice predictions of the three networks by method name; the one with the LSTM sees whole
        volumes."""
        found = {
            name: evaluation.predict(
                backbone.model, self.preprocessing, ["any"], store, rows, self.device
            )
            for name, backbone in (("resnet", self.resnet), ("resnet_lstm_refitted", self.refitted))
        }
        sequence = predict_sequences(self.sequence, store, rows, self.preprocessing, self.device)
        return {**found, "resnet_lstm": sequence}


def train_stage_1(
    fold: Fold,
    config: TrainingConfig,
    backbone: Mapping[str, Any],
    lstm: LSTMSettings,
    sequence: LoopSettings,
    head: LoopSettings,
    *,
    sequence_length: int | None = None,
    volumes_per_batch: int = 1,
    report: Callable[[str], None] = print,
    restart_changed: bool = True,
) -> Stage1:
    """ResNet on slices, then ResNet-LSTM on volumes, then a new last layer without the LSTM.

    backbone: see `BackboneSettings`.
    """
    if config.classes != ("any",) or config.outputs != 1:
        raise ParameterError(
            f"stage 1 has one logit, for `any`; the classifier has classes {list(config.classes)},"
            f" loss {config.loss}"
        )
    train, validation = fold.rows["train"], fold.rows["validation"]
    network = _backbone(config, backbone)
    run = train_classifier(
        network,
        config,
        fold.store,
        train,
        validation,
        fold.folder / "resnet",
        report,
        restart_changed,
    )
    task = SequenceTask(
        fold.store,
        (train, validation),
        config.classes,
        run.preprocessing,
        sequence_length=sequence_length,
        volumes_per_batch=volumes_per_batch,
        seed=sequence.seed,
        cache_in_memory=config.cache_in_memory,
        augmentation=None if config.augmentation == "none" else config.augmenter(),
    )
    metadata = metadata_of(run.preprocessing, config.classes)
    lstm_run = train_sequences(
        network, lstm, task, sequence, fold.folder / "lstm", metadata, report, restart_changed
    )
    refitted, refitted_hash = refit_last_layer(
        lstm_run.model,
        network,
        task,
        head,
        fold.folder / "refitted",
        metadata,
        config.batch_size,
        report,
        restart_changed,
    )
    history = pd.concat(
        [run.history.assign(stage="ResNet"), lstm_run.history.assign(stage="ResNet-LSTM")],
        ignore_index=True,
    )
    weights = {
        "resnet": run.weights_sha256,
        "lstm": lstm_run.weights_sha256,
        "refitted": refitted_hash,
    }
    return Stage1(
        run,
        network,
        lstm_run.model,
        refitted,
        run.preprocessing,
        run.device,
        weights,
        task.lost,
        history.assign(fold=fold.number),
    )


def _backbone(config: TrainingConfig, described: Mapping[str, Any]) -> Backbone:
    arguments = BackboneSettings.read(described, "backbone").arguments()
    return create_backbone(outputs=1, in_channels=config.in_channels, seed=config.seed, **arguments)


@dataclass(frozen=True)
class FoldMasks:
    """Pseudo-masks of all scans of a fold: classifier (`resnet`, `resnet_lstm`) -> recipe -> scan
    -> bool (N, S, S).

    Those of the training and validation parts stand on slices whose image-level label is positive.
    Those of the test part stand on slices that the classifier calls positive (`test`), and for
    comparison on those whose label is positive (`test_labelled`). labellers: by classifier.
    """

    labelled: Mapping[str, Mapping[str, Masks]] = field(repr=False)
    test: Mapping[str, Mapping[str, Masks]] = field(repr=False)
    test_labelled: Mapping[str, Mapping[str, Masks]] = field(repr=False)
    labellers: Mapping[str, PseudoLabeller] = field(repr=False)


def make_pseudo_masks(
    fold: Fold,
    stage: Stage1,
    predictions: Mapping[str, pd.DataFrame],
    cam: CamRecipe,
    recipes: Mapping[str, ClusterRecipe],
    gate: float = 0.5,
) -> FoldMasks:
    """CAM regions and pseudo-masks with and without the LSTM's training.

    predictions: of the test part (`Stage1.predictions`). gate: probability from which a slice of
    the test part counts as positive; there are no labels to go by there.
    """
    masks: dict[str, dict[str, Any]] = {
        "labelled": {},
        "test": {},
        "test_labelled": {},
        "labellers": {},
    }
    known = {**fold.labels("train"), **fold.labels("validation")}
    test_labels = fold.labels("test")
    for name, backbone, weights, scored in (
        ("resnet", stage.resnet, stage.weights["resnet"], predictions["resnet"]),
        (
            "resnet_lstm",
            stage.refitted,
            stage.weights["refitted"],
            predictions["resnet_lstm_refitted"],
        ),
    ):
        labeller = PseudoLabeller(
            backbone, stage.preprocessing, weights, fold.store, cam, recipes, stage.device
        )
        called = called_positive(scored, gate)
        wanted = known | {scan: called[scan] | labels for scan, labels in test_labels.items()}
        made = cached_masks(
            labeller, wanted, fold.folder / "pseudo_masks" / name, f"{name}, fold {fold.number}"
        )
        masks["labellers"][name] = labeller
        masks["labelled"][name] = {
            recipe: {scan: by_scan[scan] for scan in known} for recipe, by_scan in made.items()
        }
        for part, gates in (("test", called), ("test_labelled", test_labels)):
            masks[part][name] = {
                recipe: {scan: by_scan[scan] & gates[scan][:, None, None] for scan in test_labels}
                for recipe, by_scan in made.items()
            }
    return FoldMasks(**masks)


def called_positive(predictions: pd.DataFrame, gate: float) -> dict[str, np.ndarray]:
    """Slices of each scan with a probability of at least `gate`, bool in the order of slices."""
    groups = predictions.sort_values("slice_index").groupby("scan_id", sort=False)
    return {str(scan): (rows["probability"] >= gate).to_numpy() for scan, rows in groups}


def prepared_volumes(
    fold: Fold, size: int, variants: Collection[bool]
) -> dict[bool, dict[str, np.ndarray]]:
    """The U-Net's grey volumes of all scans of a fold, with (True) or without (False) equalisation:
    variant -> scan -> volume."""
    # every fold holds every scan, and finding the skulls takes longer than an epoch
    if fold.store.content_hash not in _PREPARED:
        _PREPARED.clear()
    kept = _PREPARED.setdefault(fold.store.content_hash, {})
    found: dict[bool, dict[str, np.ndarray]] = {equalise: {} for equalise in variants}
    for scan in (scan for part in PARTS for scan in fold.scans(part)):
        missing = [equalise for equalise in variants if (scan, size, equalise) not in kept]
        if missing:
            made = prepared_variants(fold.store.volume(scan), size, missing)
            kept.update({(scan, size, equalise): volume for equalise, volume in made.items()})
        for equalise in variants:
            found[equalise][scan] = kept[scan, size, equalise]
    return found


def train_arm(
    fold: Fold,
    name: str,
    volumes: Masks,
    masks: Masks,
    settings: UNetSettings,
    loop: LoopSettings,
    report: Callable[[str], None] = print,
    restart_changed: bool = True,
) -> tuple[Run, dict[str, np.ndarray]]:
    """A U-Net taught by `masks` (of training and validation scans, on any grid) and its
    probabilities of the test scans.

    Probabilities: scan -> float32 (N, S, S). Scans of the validation part without any voxel are
    kept, as true negatives.
    """
    parts = fold.scans("train"), fold.scans("validation")
    side = (settings.size, settings.size)
    on_grid = {scan: resized_masks(masks[scan], side) for part in parts for scan in part}
    task = SegmentationTask(volumes, on_grid, parts, settings, loop.seed)
    run = train_unet(
        task,
        loop,
        fold.folder / "unet" / name,
        {"arm": name, "fold": fold.number},
        report,
        restart_changed,
    )
    return run, {
        scan: segment(run.model, volumes[scan], settings, run.device) for scan in fold.scans("test")
    }


def lost_to_sequence(store: Store, length: int | None) -> pd.DataFrame:
    """Slices, and positive slices, that a sequence of the first `length` slices leaves out, per
    scan that loses any."""
    kept, _ = first_slices(store.index, length)
    lost = store.index.merge(
        kept[["scan_id", "slice_index"]], on=["scan_id", "slice_index"], how="left", indicator=True
    )
    lost = lost[lost["_merge"] == "left_only"]
    return (
        lost.groupby("scan_id")
        .agg(slices=("slice_index", "size"), positive=("any", "sum"))
        .reset_index()
    )
