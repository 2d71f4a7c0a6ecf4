"""HGI-SAM on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.inputs.slices import ordered_inputs
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, HGI, heat_and_logits
from ich_study.methods.hgi_sam.segmentation import hemorrhage_probability
from ich_study.methods.hgi_sam.segmentation_baselines import SegmentationNetwork
from ich_study.methods.hgi_sam.train import BODY_FOLDER
from ich_study.models.backbones import Backbone, class_logits
from ich_study.models.registry import load
from ich_study.models.weights import WEIGHTS_FILE

BATCH = 8
SUPERVISED_CUT = float(np.nextafter(0.5, 1))
"""`folds.supervised_masks` marks above one half."""


def recipes_of_run(
    folder: Path, parameters: Mapping[str, Any], every: bool = False
) -> list[tuple[Path, ScanRecipe]]:
    """HGI-SAM of a run of 04_swin_hgi_sam, at the threshold that saw no mask (Otsu's cut on other
    slices); a slice is marked where its classifier prefers hemorrhage.

    With `every`, all weakly supervised methods of Table 1 like this, and the supervised networks of
    the first fold, which mark a pixel that is more probable blood than not.
    """
    table = pd.read_csv(named_file(folder, "thresholds.csv"), dtype={"fold": str})
    variant, found = str(parameters["variant"]), []
    for name in CLASSIFIER_OF if every else (HGI,):
        own = table[(table["method"] == name) & table["fold"].isna()].iloc[0]
        classifier = CLASSIFIER_OF[name]
        body = [BODY_FOLDER] if (folder / classifier / BODY_FOLDER).is_dir() else []
        numbers = ((float(own["threshold"]),), (0.5,), str(own["threshold_source"]))
        recipe = ScanRecipe("hgi_sam", name, variant, ("any",), *numbers)
        found.append((named_file(folder, classifier, *body, WEIGHTS_FILE), recipe))
    for name in parameters["supervised_networks"] if every else ():
        weights = folder / f"{name}_fold0" / WEIGHTS_FILE
        if weights.is_file():  # data without masks train none
            numbers = ((SUPERVISED_CUT,), (0.0,), "none")
            recipe = ScanRecipe("hgi_sam", f"supervised_{name}", variant, ("any",), *numbers)
            found.append((weights, recipe))
    return found


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The network of `path`; WeightsError where the file does not fit."""
    if recipe.name not in CLASSIFIER_OF:
        return _open_segmenter(path, recipe, device)
    found = load(path, device, Backbone)
    two_outputs, place = found.metadata["two_outputs"], found.metadata["classes"].index("any")

    def say(scan: OneScan) -> Said:
        brain = found.preprocessing.resized_codes(torch.from_numpy(scan.brain)).to(device)
        batches = ordered_inputs(scan, scan.rows, found.preprocessing, BATCH, device)
        maps, called = [], []
        for inputs, inside in zip(batches, brain.split(BATCH)):
            explained = (recipe.name, found.model, inputs, inside, recipe.variant)
            fused, logits = heat_and_logits(*explained)
            maps.append(fused.float().cpu())
            called.append(class_logits(logits, two_outputs)[:, [place]].detach().double().cpu())
        return Said(recipe.heat(torch.cat(maps).numpy()), torch.cat(called).numpy())

    return ScanMethod(recipe, found.sha256, found.preprocessing, say)


def _open_segmenter(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    found = load(path, device, SegmentationNetwork)

    def say(scan: OneScan) -> Said:
        maps = hemorrhage_probability(found.model, found.preprocessing, scan, scan.rows, device)
        # a slice is as probable as its surest pixel: a segmenter has no other word on slices
        return Said.of_probability(recipe.heat(maps), maps.max((1, 2))[:, None])

    return ScanMethod(recipe, found.sha256, found.preprocessing, say)
