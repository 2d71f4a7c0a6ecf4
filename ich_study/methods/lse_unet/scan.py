"""LSE-UNet on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ich_study.evaluate.scaling import HEAT_MAXIMUM
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.methods.lse_unet.head_gradcam import head_gradcam
from ich_study.methods.lse_unet.network import LSENetwork
from ich_study.methods.lse_unet.score_maps import RawHeat, lse_heatmaps, raw_maps
from ich_study.methods.lse_unet.study import HALF, METHOD, NEVER
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load
from ich_study.models.sources import weights_of_run
from ich_study.models.weights import WEIGHTS_FILE
from ich_study.paths import resolve

GRAD_CAM = "grad_cam"
"""Of a classifier of 01_backbones, named `grad_cam_of_<its run>`."""


def recipes_of_run(
    folder: Path, parameters: Mapping[str, Any], every: bool = False
) -> list[tuple[Path, ScanRecipe]]:
    """The base variant of a run of 02_lse_unet; with `every`, Grad-CAM of its classifiers too.

    Slices: the class thresholds of the validation part (Youden). Pixels: Otsu's cut of the
    validation slices' heat, and half of each map's maximum where the data have no masks.
    """
    variant, classes = str(parameters["base_variant"]), tuple(parameters["map_classes"])
    gates = pd.read_csv(named_file(folder, "class_thresholds.csv"))
    gates = gates[gates["arm"] == variant]
    named = METHOD if variant == "printed" else f"{METHOD} ({variant})"
    recipe = _recipe(folder, named, gates, (METHOD, variant, classes))
    found = [(named_file(folder, variant, WEIGHTS_FILE), recipe)]
    for run in map(resolve, parameters["baseline_runs"] if every else ()):
        gates = pd.read_csv(named_file(run, "thresholds.csv"))
        named = (f"{GRAD_CAM}_of_{run.name}", "printed", classes)
        found.append((weights_of_run(run), _recipe(folder, run.name, gates, named, grad_cam=True)))
    return found


def _recipe(
    folder: Path, method: str, gates: pd.DataFrame, named: tuple[Any, ...], **options: bool
) -> ScanRecipe:
    """The recipe of what the run's tables call `method`. gates: a row per class, `class` and
    `probability`. named: the recipe's own name, its variant and its classes."""
    classes = named[2]
    cuts, source = dict.fromkeys(classes, HALF), "none"
    if (folder / "mask_thresholds.csv").is_file():
        masks = pd.read_csv(folder / "mask_thresholds.csv")
        own = masks[(masks["method"] == method) & (masks["protocol"] == "labels")]
        if len(own):
            cuts, source = own.iloc[0][list(classes)].to_dict(), "labels"
    # Algorithm 1 marks whole heat strictly above its threshold
    thresholds = tuple((int(cuts[name]) + 1) / HEAT_MAXIMUM for name in classes)
    probable = gates.set_index("class")["probability"]
    probable = tuple(float(probable.get(name, NEVER)) for name in classes)
    return ScanRecipe("lse_unet", *named, thresholds, probable, source, options)


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The network of `path`, or the classifier and its Grad-CAM; WeightsError where the file does
    not fit."""
    kind, maps_of = (LSENetwork, lse_heatmaps)
    if recipe.options.get("grad_cam"):
        kind, maps_of = (Backbone, head_gradcam)
    found = load(path, device, kind)
    network = (maps_of, found.model, found.preprocessing, found.metadata["classes"])

    def say(scan: OneScan) -> Said:
        maps, logits = raw_maps(*network, recipe.classes, scan, scan.rows, device)
        size = found.preprocessing.size
        heat = RawHeat(recipe.name, recipe.variant, recipe.classes, size, maps)
        return Said(heat, logits)

    return ScanMethod(recipe, found.sha256, found.preprocessing, say)
