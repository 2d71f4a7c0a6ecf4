"""A classifier and its CAM on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ich_study.errors import WeightsError
from ich_study.evaluate.scaling import resized_maps
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.inputs.slices import ordered_inputs
from ich_study.methods.cams.cams import METHOD_IDS
from ich_study.methods.cams.recipe import CamRecipe
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load
from ich_study.models.weights import WEIGHTS_FILE
from ich_study.paths import resolve

BATCH = 8
SOURCE = "masks-validation"
NAME = "best_cam"
"""Of the method, whichever CAM that is: which one is best may turn on the last bit of a weight."""


def recipes_of_run(
    folder: Path, parameters: Mapping[str, Any], every: bool = False
) -> list[tuple[Path, ScanRecipe]]:
    """The classifier that a run of 06_cam_benchmark explained, with the CAM and depth whose raw
    maps have the best Dice on the validation patients, at their threshold there; with `every`, each
    CAM at its best depth.

    A slice is marked from the classifier's own threshold on (Youden, validation part of its run).
    """
    table = pd.read_csv(named_file(folder, "thresholds.csv"), dtype={"layer": str})
    names = list(METHOD_IDS.values())  # the trivial rivals are no networks
    own = table[(table["variant"] == "raw") & (table["threshold_source"] == SOURCE)]
    own = own[own["method"].isin(names)].sort_values("objective", ascending=False, kind="stable")
    if own.empty:
        raise WeightsError(f"{folder}/thresholds.csv has no threshold of source {SOURCE}")
    target = str(parameters["target_class"])
    classifier = resolve(parameters["classifier_run"])
    gates = pd.read_csv(named_file(classifier, "thresholds.csv")).set_index("class")["probability"]
    weights, gate = named_file(classifier, WEIGHTS_FILE), (float(gates[target]),)
    read = {"reading": parameters["layer_reading"], "eigen_sign": parameters["eigen_sign"]}
    best = own.drop_duplicates("method") if every else own.head(1)
    found = []
    for row in best.to_dict("records"):
        options = {"method": row["method"], "layer": row["layer"], **read}
        name, cut = row["method"] if every else NAME, (float(row["threshold"]),)
        recipe = ScanRecipe("cams", name, "raw", (target,), cut, gate, SOURCE, options)
        found.append((weights, recipe))
    return sorted(found, key=lambda each: names.index(each[1].options["method"]))


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The classifier of `path`; WeightsError where the file does not fit."""
    found = load(path, device, Backbone)
    depth, target = (
        f"[{recipe.options['layer']}]",
        found.metadata["classes"].index(recipe.classes[0]),
    )
    printed = {name: method for method, name in METHOD_IDS.items()}[recipe.options["method"]]
    cam = CamRecipe(
        (printed,),
        (depth,),
        recipe.options["reading"],
        ("zero",),
        eigen_sign=recipe.options["eigen_sign"],
    )

    def say(scan: OneScan) -> Said:
        maps, logits = [], []
        for inputs in ordered_inputs(scan, scan.rows, found.preprocessing, BATCH, device):
            with torch.no_grad():
                logits.append(found.model(inputs)[:, target].double().cpu())
            (raw,) = cam.maps(found.model, inputs, target).values()
            maps.append(resized_maps(raw.float().cpu(), found.preprocessing.size))
        heat = recipe.heat(torch.cat(maps).numpy(), recipe.options["layer"])
        return Said(heat, torch.cat(logits)[:, None].numpy())

    return ScanMethod(recipe, found.sha256, found.preprocessing, say)
