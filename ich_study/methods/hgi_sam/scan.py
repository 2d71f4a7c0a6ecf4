"""HGI-SAM on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.inputs.samplers import OrderedBatches
from ich_study.inputs.slices import SliceDataset, SliceLoader
from ich_study.methods.hgi_sam.attention_maps import HGI_VARIANTS, hgi_sam
from ich_study.methods.hgi_sam.maps import CLASSIFIER_OF, HGI, TARGET
from ich_study.methods.hgi_sam.train import BODY_FOLDER
from ich_study.models.backbones import Backbone, class_logits
from ich_study.models.registry import load
from ich_study.training.callbacks import WEIGHTS_FILE

BATCH = 8


def recipes_of_run(folder: Path, parameters: Mapping[str, Any]) -> dict[Path, ScanRecipe]:
    """HGI-SAM of a run of 04_swin_hgi_sam, at the threshold that saw no mask (Otsu's cut on other
    slices); a slice is marked where its classifier prefers hemorrhage."""
    table = pd.read_csv(named_file(folder, "thresholds.csv"))
    own = table[(table["method"] == HGI) & table["fold"].isna()].iloc[0]
    named = (HGI, str(parameters["variant"]), ("any",))
    numbers = ((float(own["threshold"]),), (0.5,), str(own["threshold_source"]))
    weights = named_file(folder, CLASSIFIER_OF[HGI], BODY_FOLDER, WEIGHTS_FILE)
    return {weights: ScanRecipe("hgi_sam", *named, *numbers)}


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The network of `path`; WeightsError where the file does not fit."""
    found, variant = load(path, device, Backbone), HGI_VARIANTS[recipe.variant]

    def say(scan: OneScan) -> Said:
        dataset = SliceDataset(scan, scan.rows, ("any",), found.preprocessing)
        batches = OrderedBatches(len(dataset), BATCH)
        loader = SliceLoader(dataset, batches, device)
        brain = found.preprocessing.resized_codes(torch.from_numpy(scan.brain)).to(device)
        maps, probability, done = [], [], 0
        for inputs, _ in loader:
            inside = brain[done : done + len(inputs)]
            done += len(inputs)
            read = hgi_sam(found.model, inputs, TARGET, inside, variant)
            maps.append(read.fused.float().cpu())
            probability.append(class_logits(read.logits, True).sigmoid().detach().cpu())
        loader.close()
        heat = torch.cat(maps)[:, None].numpy().astype(np.float32)
        named = (recipe.name, recipe.variant, None, recipe.classes)
        return Said(ArrayHeat(*named, heat), torch.cat(probability).double().numpy())

    return ScanMethod(recipe, found.sha256, found.preprocessing, say)
