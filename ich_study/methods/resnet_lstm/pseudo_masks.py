"""Stage 1 over whole scans: a trained classifier's CAM regions and the pseudo-masks made of them,
kept on disk.

A file belongs to what made it: classifier, recipes, scan and slices go into its key, and a file
with another key is made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ich_study.atomic import atomic_path
from ich_study.ct.brain_mask import brain_mask
from ich_study.ct.planes import PixelGrid
from ich_study.errors import ParameterError
from ich_study.evaluate.heat import Index, ReaderHeat
from ich_study.evaluate.truth import PackedMasks
from ich_study.hashing import sha256_lines
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.methods.resnet_lstm.class_activation import (
    cam_of,
    cam_region,
    cut_to_brain,
    last_layer,
    scaled_cam,
)
from ich_study.methods.resnet_lstm.pseudo_labels import PseudoLabel, as_grey, pseudo_label
from ich_study.methods.resnet_lstm.settings import CamRegion, ClusterRecipe
from ich_study.models.backbones import Backbone
from ich_study.paths import safe_name
from ich_study.sources import code_hash
from ich_study.store import Store

CAM = "cam"
"""Name of the pseudo-mask that is the thresholded CAM itself."""
MAP_BATCH = 16


@dataclass(frozen=True)
class PseudoLabeller:
    """A trained classifier and the recipes that turn its slices into pseudo-masks.

    backbone: in evaluation mode on `device`. weights_sha256: of its file, part of the key. recipes:
    by name; the region alone is always made, under the name "cam".
    """

    backbone: Backbone = field(repr=False)
    preprocessing: Preprocessing
    weights_sha256: str
    source: Store = field(repr=False)
    cam: CamRegion
    recipes: Mapping[str, ClusterRecipe]
    device: torch.device
    _brains: dict[str, PackedMasks] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.preprocessing.stack_depth != 1 or self.preprocessing.crop != "none":
            raise ParameterError(
                "pseudo-masks are made of single, uncropped slices; set stack_depth 1 and crop none"
            )
        if CAM in self.recipes:
            raise ParameterError(
                f"the name {CAM!r} is taken by the region itself; name the recipe otherwise"
            )

    def channels(self, scan: str, slices: Sequence[int] | np.ndarray) -> Tensor:
        """What the network sees of some slices before its normalisation, (n, C, S, S) in [0, 1]."""
        hu = torch.from_numpy(np.array(self.source.volume(scan)[slices]))
        return self.preprocessing.channels(self.preprocessing.resized(hu)[:, None].to(self.device))

    def features(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Last feature maps of slices (n, K, h, w), and their weights in the logit (K,)."""
        with torch.inference_mode():
            inputs = self.preprocessing.normalised(channels)
            features, weights = last_layer(self.backbone.model, inputs)
        # an inference tensor and a parameter do not go together outside
        return features, weights.detach()

    def cams(self, channels: Tensor) -> np.ndarray:
        """Scaled CAMs of slices, float32 (n, S, S) in [0, 1]."""
        parts = []
        with torch.inference_mode():
            for batch in self.preprocessing.normalised(channels).split(MAP_BATCH):
                maps, _ = cam_of(self.backbone.model, batch, self.cam)
                parts.append(scaled_cam(maps, self.preprocessing.size).float().cpu())
        return torch.cat(parts).numpy()

    def brain(self, scan: str, slices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Brain of some slices on the network's grid, bool (n, S, S)."""
        if scan not in self._brains:
            grid = PixelGrid.of(self.source.index[self.source.index["scan_id"] == scan])
            inside = torch.from_numpy(brain_mask(np.array(self.source.volume(scan)), grid.pixel_mm))
            on_grid = self.preprocessing.resized_codes(inside).numpy()
            self._brains[scan] = PackedMasks.of(on_grid.astype(bool))
        return self._brains[scan][np.asarray(slices)]

    def maps(
        self, scan: str, slices: Sequence[int] | np.ndarray, channels: Tensor | None = None
    ) -> np.ndarray:
        """Heat of some slices, float32 (n, S, S) in [0, 1]: the scaled CAM, cut to the brain where
        the setting says so. channels: of these slices, where they are known already."""
        cams = self.cams(self.channels(scan, slices) if channels is None else channels)
        return cut_to_brain(cams, self.brain(scan, slices)) if self.cam.brain else cams

    def logits(self, channels: np.ndarray) -> np.ndarray:
        """The classifier's logits of slices (n, C, S, S), (n,)."""
        with torch.inference_mode():
            inputs = self.preprocessing.normalised(torch.from_numpy(channels).to(self.device))
            return self.backbone.model(inputs)[:, 0].float().cpu().numpy()

    def label(self, channels: np.ndarray, region: np.ndarray, recipe: ClusterRecipe) -> PseudoLabel:
        """From the region of one slice to its pseudo-mask. channels: (C, S, S), region: (S, S)."""
        return pseudo_label(as_grey(channels), channels, region, recipe, self.logits)

    def masks(self, scan: str, slices: np.ndarray) -> dict[str, np.ndarray]:
        """Pseudo-masks of these slices by recipe, bool (n, S, S); a slice without CAM region has
        empty ones."""
        size = self.preprocessing.size
        found = {name: np.zeros((len(slices), size, size), bool) for name in (CAM, *self.recipes)}
        if not len(slices):
            return found
        channels = self.channels(scan, slices)
        found[CAM] = cam_region(self.maps(scan, slices, channels), self.cam)
        for index, (image, region) in enumerate(zip(channels.cpu().numpy(), found[CAM])):
            for name, recipe in self.recipes.items():
                found[name][index] = self.label(image, region, recipe).mask
        return found

    def heat(self, name: str, rows: pd.DataFrame, variant: str = "printed") -> ReaderHeat:
        """`maps` of slices of the index as a method's heat."""

        def read(index: Index) -> np.ndarray:
            wanted, size = rows.iloc[index].reset_index(drop=True), self.preprocessing.size
            maps = np.zeros((len(wanted), 1, size, size), np.float32)
            for scan, group in wanted.groupby("scan_id", sort=False):
                slices = group["slice_index"].to_numpy()
                maps[group.index, 0] = self.maps(str(scan), slices)
            return maps

        return ReaderHeat(name, variant, None, ("any",), len(rows), read)

    def key(self, scan: str, slices: np.ndarray) -> str:
        """Hash of everything that decides the pseudo-masks of these slices."""
        content = {
            "weights": self.weights_sha256,
            "preprocessing": self.preprocessing.describe(),
            "cam": self.cam.describe(),
            "recipes": {name: recipe.describe() for name, recipe in self.recipes.items()},
            "data": self.source.content_hash,
            "scan": scan,
            "slices": [int(index) for index in slices],
            "code": code_hash(__name__, exact=False),
        }
        return sha256_lines([json.dumps(content, sort_keys=True)])


def cached_masks(
    labeller: PseudoLabeller, wanted: Mapping[str, np.ndarray], folder: Path, what: str
) -> dict[str, dict[str, np.ndarray]]:
    """Pseudo-masks of whole scans: recipe -> scan -> bool (slices of the scan, S, S), empty where
    not wanted.

    wanted: scan -> bool, one value per slice. One file per scan in `folder`, so that a killed run
    goes on with the next scan.
    """
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in (CAM, *labeller.recipes)}
    bar = {"unit": "scan", "mininterval": 5, "leave": False}
    for scan, chosen in tqdm(wanted.items(), f"pseudo-masks of {what}", **bar):
        count = len(labeller.source.volume(scan))
        slices, path = np.flatnonzero(chosen), folder / f"{safe_name(scan)}.npz"
        for name, masks in _one_scan(labeller, scan, slices, path).items():
            whole = np.zeros((count, *masks.shape[1:]), bool)
            whole[slices] = masks
            found[name][scan] = whole
    return found


def _one_scan(
    labeller: PseudoLabeller, scan: str, slices: np.ndarray, path: Path
) -> dict[str, np.ndarray]:
    key, side = labeller.key(scan, slices), labeller.preprocessing.size
    shape = (len(slices), side, side)
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) == key:
                return {
                    name: np.unpackbits(stored[name], count=int(np.prod(shape))).reshape(shape) > 0
                    for name in (CAM, *labeller.recipes)
                }
    masks = labeller.masks(scan, slices)
    packed = {name: np.packbits(mask) for name, mask in masks.items()}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, key=np.array(key), **packed)
    return masks
