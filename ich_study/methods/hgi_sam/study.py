"""What notebook 04 calls: test slices with their folds, the methods' maps, the supervised folds,
the times.

HGI-SAM paper, Sections 4.1 to 4.4: classifiers are trained on one data set and tested on another,
whose five folds choose thresholds and train the supervised networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from ich_study.errors import DataError
from ich_study.evaluate.archive import MapArchive
from ich_study.evaluate.rivals import RIVALS, rival_maps
from ich_study.evaluate.scored_slices import ScoredSlices
from ich_study.evaluate.thresholds import Threshold, threshold_frame
from ich_study.methods.hgi_sam.attention_maps import VARIANTS
from ich_study.methods.hgi_sam.maps import (
    CLASSIFIER_OF,
    GRAD_CAM,
    HGI,
    SAM,
    FusedMaps,
    fused_maps,
    stages_held,
)
from ich_study.methods.hgi_sam.report import Segmentation
from ich_study.methods.hgi_sam.scores import FoldThresholds, MapScores, fold_thresholds, score_maps
from ich_study.methods.hgi_sam.segmentation import hemorrhage_probability, train_segmenter
from ich_study.methods.hgi_sam.segmentation_baselines import create_segmenter
from ich_study.metrics.overlap import Counts
from ich_study.splits.overlap import assert_disjoint
from ich_study.splits.split import fold_split, rows_of
from ich_study.store.read import Store
from ich_study.training.config import TrainingConfig

RIVAL_GRAIN = 0.05
"""Grain of the random rival, as a share of the slice's side: about two tokens of the first
stage."""


@dataclass(frozen=True)
class WeakMethod:
    """A weakly supervised method: its maps, and for `layer` and `brain_mask` rows of the result
    table. scores: of those maps."""

    method: str
    maps: FusedMaps = field(repr=False)
    scores: MapScores = field(repr=False)
    brain_mask: bool = True
    layer: str | None = None

    def tuned(self, folds: np.ndarray) -> FoldThresholds:
        """Thresholds of the folds, searched as the variant of the maps does."""
        return fold_thresholds(self.scores.counts, folds, self.maps.variant, self.method)

    def segmentation(self, counts: Counts, threshold_source: str) -> Segmentation:
        """Counts at a threshold, named."""
        return Segmentation(
            self.method, counts, threshold_source, self.brain_mask, self.maps.variant, self.layer
        )


def with_folds(index: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Rows of the index with the fold in which their patient is tested. DataError for patients
    without one."""
    joined = index.merge(
        folds.astype({"fold": int}),
        on=["dataset", "patient_id"],
        how="left",
        validate="many_to_one",
    )
    if joined["fold"].isna().any():
        raise DataError(
            f"{joined.loc[joined['fold'].isna(), 'patient_id'].nunique()} patients of the index are"
            " in no fold"
        )
    return joined.astype({"fold": int}).sort_values(["scan_id", "slice_index"], ignore_index=True)


def parts_table(parts: Mapping[str, pd.DataFrame], rows: pd.DataFrame) -> pd.DataFrame:
    """Patients, slices and positive slices of every part and of every fold of `rows`."""
    named = {**parts, **{f"test, fold {fold}": part for fold, part in rows.groupby("fold")}}
    return pd.DataFrame(
        [
            {
                "part": name,
                "patients": part["patient_id"].nunique(),
                "slices": len(part),
                "positive": int(part["any"].sum()),
            }
            for name, part in named.items()
        ]
    )


def every_stage(maps: FusedMaps) -> FusedMaps:
    """The same maps over all stages that were kept."""
    return fused_maps(
        maps.archive,
        maps.kind,
        maps.variant,
        maps.size,
        stages_held(maps.archive, maps.kind, maps.variant),
    )


def map_methods(
    archives: Mapping[str, MapArchive], variant: str, size: int
) -> dict[str, FusedMaps]:
    """The four weakly supervised methods of Table 1, each from the archive of its classifier
    (CLASSIFIER_OF)."""
    found = {}
    for method, classifier in CLASSIFIER_OF.items():
        kind = method if method in (GRAD_CAM, HGI) else SAM
        found[method] = fused_maps(archives[classifier], kind, variant, size)
    return found


def weak_methods(
    archives: Mapping[str, MapArchive],
    scored: ScoredSlices,
    truth: np.ndarray,
    tolerance_px: int = 0,
) -> list[WeakMethod]:
    """Every method of Table 1, printed and as in the code, inside the brain; and of HGI-SAM as
    printed the ablations: stages 0-2 against 0-3, and without the brain mask (paper, Section 6)."""
    size, found = truth.shape[-1], []
    for variant in VARIANTS:
        for method, maps in map_methods(archives, variant, size).items():
            found.append(
                WeakMethod(
                    method,
                    maps,
                    score_maps(maps.read, truth, scored.brain, tolerance_px=tolerance_px),
                )
            )
    three = next(each for each in found if each.method == HGI and each.maps.variant == "printed")
    found.append(WeakMethod(HGI, three.maps, three.scores, True, _layer_name(three.maps.stages)))
    every = every_stage(three.maps)
    found.append(
        WeakMethod(
            HGI, every, score_maps(every.read, truth, scored.brain), True, _layer_name(every.stages)
        )
    )
    found.append(WeakMethod(HGI, three.maps, score_maps(three.maps.read, truth, None), False))
    return found


def chosen(
    methods: Sequence[WeakMethod], variant: str, layer: str | None = None, brain_mask: bool = True
) -> dict[str, WeakMethod]:
    """Of `weak_methods` those of one variant and setting, by method."""
    return {
        each.method: each
        for each in methods
        if (each.maps.variant, each.layer, each.brain_mask) == (variant, layer, brain_mask)
    }


def rival_scores(scored: ScoredSlices, truth: np.ndarray, seed: int) -> dict[str, MapScores]:
    """Scores of maps that know no network, in the brain: blood's HU range, a centred blob, smooth
    noise."""
    smooth = RIVAL_GRAIN * truth.shape[-1]
    maps = {name: rival_maps(name, scored.hu, scored.brain, smooth, seed) for name in RIVALS}
    return {
        name: score_maps(lambda places, _, each=each: each[places], truth, scored.brain)
        for name, each in maps.items()
    }


def thresholds_table(
    tuned: Mapping[str, FoldThresholds], free: Mapping[str, Threshold], variant: str
) -> pd.DataFrame:
    """Every threshold used, a row per method and fold, with where it came from; fold empty where
    one serves all."""
    tables = [
        threshold_frame({str(fold): each for fold, each in found.by_fold.items()})
        .rename(columns={"class": "fold"})
        .assign(method=method)
        for method, found in tuned.items()
    ]
    tables.append(threshold_frame(free).rename(columns={"class": "method"}).assign(fold=""))
    return pd.concat(tables, ignore_index=True).assign(variant=variant)


def supervised_masks(
    name: str,
    options: Mapping[str, Any],
    config: TrainingConfig,
    store: Store,
    rows: pd.DataFrame,
    folds: pd.DataFrame,
    folder: Path,
    validation_fraction: float = 0.1,
    report: Callable[[str], None] = print,
    restart_changed: bool = False,
) -> tuple[np.ndarray, nn.Module]:
    """Masks of every slice by the network that never saw its patient, bool (N, S, S), and the last
    fold's network.

    For each fold: trained on the others, of which `validation_fraction` of all patients stop the
    training early.
    rows: with `fold`. Resumes after a kill.
    """
    found = np.zeros((len(rows), config.size, config.size), bool)
    model: nn.Module = nn.Identity()
    for fold in sorted(rows["fold"].unique()):
        split = fold_split(rows, folds, int(fold), validation_fraction, config.seed)
        parts = {part: rows_of(rows, split, part) for part in ("train", "validation", "test")}
        assert_disjoint(pd.concat([parts["train"], parts["validation"]]), parts["test"])
        network = create_segmenter(name, config.in_channels, options, config.seed)
        place = folder / f"{name}_fold{fold}"
        run = train_segmenter(
            network,
            config,
            store,
            parts["train"],
            parts["validation"],
            place,
            report,
            restart_changed,
        )
        model, tested = run.model, (rows["fold"] == fold).to_numpy()
        preprocessing = config.preprocessing()
        arguments = (store, rows[tested], run.device, 2 * config.batch_size, config.precision)
        found[tested] = hemorrhage_probability(model, preprocessing, *arguments) > 0.5
        report(f"{name}, fold {fold}: best epoch {run.best_epoch + 1} of {len(run.history)}")
    return found, model


def masks_at(
    method: WeakMethod, cuts: np.ndarray, places: np.ndarray, brain: np.ndarray
) -> np.ndarray:
    """Masks of some slices, bool (n, S, S). cuts: threshold of every slice, (slices,). brain: of
    all slices."""
    inside = brain[places] if method.brain_mask else None
    return method.maps.read(places, inside) >= cuts[places, None, None]


def slice_cuts(tuned: FoldThresholds, folds: np.ndarray) -> np.ndarray:
    """Every slice's threshold, that of its fold, (slices,)."""
    return np.array([tuned.by_fold[int(fold)].value for fold in folds])


def _layer_name(stages: Sequence[int]) -> str:
    return f"{stages[0]}-{stages[-1]}"
