"""ResNet-LSTM on a scan of one's own (see `evaluate.scan_methods`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe, named_file
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.resnet_lstm.arms import MAIN
from ich_study.methods.resnet_lstm.pseudo_masks import PseudoLabeller
from ich_study.methods.resnet_lstm.settings import CamRegion, UNetSettings
from ich_study.methods.resnet_lstm.volumes import VolumeNetwork, prepared_variants, segment
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load
from ich_study.training.callbacks import WEIGHTS_FILE

STAGE_1 = "resnet_lstm_cam"


def recipes_of_run(folder: Path, parameters: Mapping[str, Any]) -> dict[Path, ScanRecipe]:
    """Both stages of a run of 03_resnet_lstm, of its first fold: the CAM of the classifier that the
    LSTM has taught, and the whole method's U-Net."""
    fold = folder / f"fold_{parameters['folds'][0]}"
    variant, any_class = str(parameters["variant"]), ("any",)
    cam, unet = parameters["cam"], parameters["unet"]
    first = ScanRecipe(
        "resnet_lstm",
        STAGE_1,
        variant,
        any_class,
        (float(np.nextafter(CamRegion.read(cam).threshold, 1)),),
        (float(parameters["slice_gate"]),),
        "none",
        {"cam": cam},
    )
    whole = ScanRecipe(
        "resnet_lstm",
        MAIN,
        variant,
        any_class,
        (float(parameters["mask_threshold"]),),
        (0.0,),
        "none",
        {"unet": unet},
    )
    return {
        named_file(fold, "refitted", WEIGHTS_FILE): first,
        named_file(fold, "unet", MAIN, WEIGHTS_FILE): whole,
    }


def open_method(path: Path, recipe: ScanRecipe, device: torch.device) -> ScanMethod:
    """The stage's network of `path`; WeightsError where the file does not fit."""
    opened = _open_cam if recipe.name == STAGE_1 else _open_unet
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
        probability = expit(labeller.logits(channels.cpu().numpy()).astype(np.float64))
        maps = labeller.cams(channels)[:, None]
        return Said(_heat(recipe, maps), probability[:, None])

    return say, found.preprocessing, found.sha256


def _open_unet(path: Path, recipe: ScanRecipe, device: torch.device) -> Opened:
    found, settings = load(path, device, VolumeNetwork), UNetSettings.read(recipe.options["unet"])
    # the U-Net is fed grey of its own making; this says how its grid lies on the slice
    grid = Preprocessing(("brain",), "fixed", 1, settings.size, "none", (0.0,), (1.0,))

    def say(scan: OneScan) -> Said:
        prepared = prepared_variants(scan.hu, settings.size, [settings.equalise])
        maps = segment(found.model, prepared[settings.equalise], settings, device)
        # a slice is as probable as its surest voxel: the method has no other word on slices
        return Said(_heat(recipe, maps[:, None]), maps.max((1, 2)).astype(np.float64)[:, None])

    return say, grid, found.sha256


def _heat(recipe: ScanRecipe, maps: np.ndarray) -> ArrayHeat:
    named = (recipe.name, recipe.variant, None, recipe.classes)
    return ArrayHeat(*named, maps.astype(np.float32))
