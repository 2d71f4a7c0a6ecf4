"""The MIL detector on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.methods.mil.network import (
    MilBackbone,
    ReadyNetwork,
    load_published,
    published_preprocessing,
)
from ich_study.methods.mil.peaks import PUBLISHED, Detector
from ich_study.methods.mil.pipeline import score_slices
from ich_study.methods.mil.study import TUNED_ON_BOXES, method_of
from ich_study.models.registry import load
from ich_study.models.weights import WEIGHTS_FILE, verify_file

PUBLISHED_WEIGHTS = "published_weights"
"""Variant of the authors' own networks."""


def recipes_of_run(
    folder: Path, parameters: Mapping[str, Any], every: bool = False
) -> list[tuple[Path, ScanRecipe]]:
    """Every head that a run of 05_mil_detector trained, with the detector tuned on the boxes of its
    tuning part."""
    found = []
    for row in pd.read_csv(named_file(folder, "detectors.csv")).to_dict("records"):
        head = row.pop("head")
        detector, variant = Detector(**row), str(parameters["variant"])
        weights = named_file(folder, head, WEIGHTS_FILE)
        found.append((weights, recipe_of(head, variant, detector)))
    return found


def recipe_of(head: str, variant: str, detector: Detector) -> ScanRecipe:
    """A detector as a recipe: a pixel is marked above its T."""
    thresholds, options = (detector.threshold,), {"head": head, "detector": asdict(detector)}
    named = (method_of(head), variant, ("any",))
    return ScanRecipe("mil", *named, thresholds, (0.0,), TUNED_ON_BOXES, options)


def published_recipe(head: str) -> ScanRecipe:
    """The authors' own network of one head with the detector that they published."""
    recipe = recipe_of(head, PUBLISHED_WEIGHTS, PUBLISHED[head])
    return replace(recipe, name=f"{recipe.name}_published")


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The network of `path` and its detector; WeightsError where the file does not fit."""
    detector = Detector(**recipe.options["detector"])
    if recipe.variant == PUBLISHED_WEIGHTS:
        network = load_published(path, recipe.options["head"])
        network.model.to(device)
        ready = ReadyNetwork(network, published_preprocessing())
    else:
        found = load(path, device, MilBackbone)
        ready = ReadyNetwork(found.network, found.preprocessing)

    def say(scan: OneScan) -> Said:
        scored = score_slices(ready, scan, scan.rows, "none")
        points = [peaks.points for peaks in scored.peaks(detector)]
        logits = scored.logits[:, None].astype(np.float64)
        return Said(scored.heat(recipe.name, recipe.variant), logits, points)

    return ScanMethod(recipe, verify_file(path), ready.preprocessing, say)
