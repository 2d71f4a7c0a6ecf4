"""ResNet-LSTM on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.resnet_lstm.arms import ARMS, MAIN, PLAIN, SUPERVISED
from ich_study.methods.resnet_lstm.pseudo_masks import PseudoLabeller
from ich_study.methods.resnet_lstm.settings import CamRegion, UNetSettings
from ich_study.methods.resnet_lstm.volumes import VolumeNetwork, prepared_variants, segment
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load
from ich_study.models.weights import WEIGHTS_FILE

STAGE_1 = "resnet_lstm_cam"
SUPERVISED_NAME = "supervised_unet_3d"
"""Of the arm that real masks taught: other rooms have a supervised U-Net too."""


def recipes_of_run(
    folder: Path, parameters: Mapping[str, Any], every: bool = False
) -> list[tuple[Path, ScanRecipe]]:
    """Both stages of a run of 03_resnet_lstm, of its first fold: the CAM of the classifier that the
    LSTM has taught, and the whole method's U-Net. With `every`, the CAM before the LSTM and the
    U-Net of every arm that was trained, the supervised one among them."""
    fold = folder / f"fold_{parameters['folds'][0]}"
    cam, unet = parameters["cam"], parameters["unet"]
    cut = (float(np.nextafter(CamRegion.read(cam).threshold, 1)),)
    gate, half = (float(parameters["slice_gate"]),), (float(parameters["mask_threshold"]),)
    found = []

    def add(weights: Path, name: str, cut: tuple[float], gate: tuple[float], options: dict) -> None:
        named = ("resnet_lstm", name, str(parameters["variant"]), ("any",))
        found.append((weights, ScanRecipe(*named, cut, gate, "none", options)))

    if every:
        add(named_file(fold, "resnet", WEIGHTS_FILE), "resnet_cam", cut, gate, {"cam": cam})
    add(named_file(fold, "refitted", WEIGHTS_FILE), STAGE_1, cut, gate, {"cam": cam})
    for arm in ARMS if every else (MAIN,):
        weights = fold / "unet" / arm / WEIGHTS_FILE
        if arm == MAIN or weights.is_file():
            name = SUPERVISED_NAME if arm == SUPERVISED else arm
            settings = {**unet, "equalise": False} if arm == PLAIN else unet
            add(named_file(weights), name, half, (0.0,), {"unet": settings})
    return found


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The stage's network of `path`; WeightsError where the file does not fit."""
    opened = _open_cam if "cam" in recipe.options else _open_unet
    say, preprocessing, sha256 = opened(path, recipe, device)
    return ScanMethod(recipe, sha256, preprocessing, say)


Opened = tuple[Callable[[OneScan], Said], Preprocessing, str]


def _open_cam(path: Path, recipe: ScanRecipe, device: torch.device) -> Opened:
    found = load(path, device, Backbone)
    region = CamRegion.read(recipe.options["cam"])

    def say(scan: OneScan) -> Said:
        made_of = found.network, found.preprocessing, found.sha256, scan
        labeller = PseudoLabeller(*made_of, region, {}, device)
        channels = labeller.channels(scan.name, np.arange(len(scan.hu)))
        logits = labeller.logits(channels.cpu().numpy()).astype(np.float64)
        maps = labeller.cams(channels)
        return Said(recipe.heat(maps), logits[:, None])

    return say, found.preprocessing, found.sha256


def _open_unet(path: Path, recipe: ScanRecipe, device: torch.device) -> Opened:
    found, settings = load(path, device, VolumeNetwork), UNetSettings.read(recipe.options["unet"])
    # the U-Net is fed grey of its own making; this says how its grid lies on the slice
    grid = Preprocessing(("brain",), "fixed", 1, settings.size, "none", (0.0,), (1.0,))

    def say(scan: OneScan) -> Said:
        size, equalise = settings.size, settings.equalise
        prepared = scan.shared(
            f"grey of {size} px, equalised: {equalise}",
            lambda: prepared_variants(scan.hu, size, [equalise])[equalise],
        )
        maps = segment(found.model, prepared, settings, device)
        # a slice is as probable as its surest voxel: the method has no other word on slices
        return Said.of_probability(recipe.heat(maps), maps.max((1, 2))[:, None])

    return say, grid, found.sha256
