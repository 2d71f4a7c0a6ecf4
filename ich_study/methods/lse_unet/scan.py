"""LSE-UNet on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ich_study.evaluate.scaling import HEAT_MAXIMUM
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.methods.lse_unet.network import LSENetwork
from ich_study.methods.lse_unet.score_maps import RawHeat, lse_heatmaps, raw_maps
from ich_study.methods.lse_unet.study import HALF, METHOD, NEVER
from ich_study.models.registry import load
from ich_study.training.resume import WEIGHTS_FILE


def recipes_of_run(
    folder: Path, parameters: Mapping[str, Any], every: bool = False
) -> list[tuple[Path, ScanRecipe]]:
    """The base variant of a run of 02_lse_unet.

    Slices: the class thresholds of the validation part (Youden). Pixels: Otsu's cut of the
    validation slices' heat, and half of each map's maximum where the data have no masks.
    """
    variant, classes = str(parameters["base_variant"]), tuple(parameters["map_classes"])
    table = pd.read_csv(named_file(folder, "class_thresholds.csv"))
    gates = table[table["arm"] == variant].set_index("class")["probability"].to_dict()
    cuts, source = dict.fromkeys(classes, HALF), "none"
    if (folder / "mask_thresholds.csv").is_file():
        masks = pd.read_csv(folder / "mask_thresholds.csv")
        name = METHOD if variant == "printed" else f"{METHOD} ({variant})"
        own = masks[(masks["method"] == name) & (masks["protocol"] == "labels")]
        if len(own):
            cuts, source = own.iloc[0][list(classes)].to_dict(), "labels"
    # Algorithm 1 marks whole heat strictly above its threshold
    thresholds = tuple((int(cuts[name]) + 1) / HEAT_MAXIMUM for name in classes)
    probable = tuple(float(gates.get(name, NEVER)) for name in classes)
    recipe = ScanRecipe("lse_unet", METHOD, variant, classes, thresholds, probable, source)
    return [(named_file(folder, variant, WEIGHTS_FILE), recipe)]


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The network of `path`; WeightsError where the file does not fit."""
    found = load(path, device, LSENetwork)
    network = (lse_heatmaps, found.model, found.preprocessing, found.metadata["classes"])

    def say(scan: OneScan) -> Said:
        maps, logits = raw_maps(*network, recipe.classes, scan, scan.rows, device)
        size = found.preprocessing.size
        heat = RawHeat(recipe.name, recipe.variant, recipe.classes, size, maps)
        return Said(heat, logits)

    return ScanMethod(recipe, found.sha256, found.preprocessing, say)
