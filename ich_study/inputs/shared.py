"""Ranges of the numbers that are parameters of a notebook by themselves, once for all notebooks
that have one of that name; default and meaning stand in the parameters cell."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ich_study.inputs.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Between = Annotated[float, Field(gt=0, lt=1)]
Folds = Annotated[int, Field(ge=2)]


class SharedNumbers(Settings):
    """Numbers of the parameters cells; one that may be null is looked at where it is not."""

    # what is drawn at random
    seed: NonNegativeInt
    phantom_seed: NonNegativeInt
    split_seed: NonNegativeInt
    bootstrap_replicates: PositiveInt
    # patients and slices
    fold_count: Folds
    threshold_folds: Folds
    validation_fraction: Between
    supervised_validation: Between
    prevalence: Between
    phantom_positive_fraction: Share
    phantom_matrix: PositiveInt
    mask_free_slices: PositiveInt
    # networks and what they see
    blocks: PositiveInt
    grid: PositiveInt
    batch_size: PositiveInt
    map_batch_size: PositiveInt
    volumes_per_batch: PositiveInt
    library_batch: PositiveInt
    workers: PositiveInt
    heat_gb: PositiveFloat
    # what is searched and scored
    compared_epochs: NonNegativeInt
    tuning_initial: PositiveInt
    tuning_iterations: NonNegativeInt
    gate_probability: Share
    slice_gate: Share
    mask_threshold: Share
    box_min_iou: Share
    pointing_tolerance_px: NonNegativeInt
    surface_tolerance_mm: NonNegativeFloat
    rival_smoothness_px: NonNegativeFloat
    timing_repeats: PositiveInt
    # what a run must reach
    minimum_auroc: Share
    minimum_supervised_dice: Share
    minimum_hit_ratio: NonNegativeFloat
