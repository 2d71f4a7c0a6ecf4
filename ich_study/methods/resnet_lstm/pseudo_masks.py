"""Stage 1 over whole scans: a trained classifier's CAM regions and the pseudo-masks made of them,
kept on disk.

A file belongs to what made it: classifier, recipes, scan and slices go into its key, and a file
with another key is made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ich_study.atomic import atomic_path
from ich_study.errors import DataError, ParameterError
from ich_study.hashing import sha256_lines
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceSource
from ich_study.methods.resnet_lstm.class_activation import CamRecipe, cam_of, cam_region, scaled_cam
from ich_study.methods.resnet_lstm.pseudo_labels import ClusterRecipe, pseudo_mask
from ich_study.models.backbones import Backbone
from ich_study.paths import safe_name

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
    source: SliceSource = field(repr=False)
    cam: CamRecipe
    recipes: Mapping[str, ClusterRecipe]
    device: torch.device

    def __post_init__(self) -> None:
        if self.preprocessing.stack_depth != 1 or self.preprocessing.crop != "none":
            raise ParameterError(
                "pseudo-masks are made of single, uncropped slices; set stack_depth 1 and crop none"
            )
        if CAM in self.recipes:
            raise ParameterError(
                f"the name {CAM!r} is taken by the region itself; name the recipe otherwise"
            )

    def heatmaps(self, scan: str, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scaled CAM, float32 (n, S, S), and logits (n,) of some slices of a scan."""
        inputs = self.preprocessing.normalised(self._channels(scan, slices))
        parts = [self._cam(batch) for batch in inputs.split(MAP_BATCH)]
        return (
            torch.cat([maps for maps, _ in parts]).numpy(),
            torch.cat([logits for _, logits in parts]).numpy(),
        )

    def masks(self, scan: str, slices: np.ndarray) -> dict[str, np.ndarray]:
        """Pseudo-masks of these slices by recipe, bool (n, S, S); a slice without CAM region has
        empty ones."""
        size = self.preprocessing.size
        found = {name: np.zeros((len(slices), size, size), bool) for name in (CAM, *self.recipes)}
        if not len(slices):
            return found
        channels = self._channels(scan, slices)
        region = cam_region(self.heatmaps(scan, slices)[0], self.cam)
        found[CAM] = region
        for place, image in enumerate(channels.cpu().numpy()):
            grey = _as_uint8(image[0])
            for name, recipe in self.recipes.items():
                found[name][place] = pseudo_mask(
                    grey, image, region[place], recipe, self._logits_of
                )
        return found

    def grey(self, hu: np.ndarray) -> np.ndarray:
        """What is clustered: the first channel of a slice that is already on the network's grid,
        uint8 (S, S)."""
        on_grid = torch.from_numpy(np.ascontiguousarray(hu, np.int16))[None]
        return _as_uint8(
            self.preprocessing.channels(self.preprocessing.resized(on_grid)[:, None])[0, 0].numpy()
        )

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
        }
        return sha256_lines([json.dumps(content, sort_keys=True)])

    def _channels(self, scan: str, slices: np.ndarray) -> Tensor:
        hu = torch.from_numpy(np.array(self.source.volume(scan)[slices]))
        return self.preprocessing.channels(self.preprocessing.resized(hu)[:, None].to(self.device))

    def _cam(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            maps, logits = cam_of(self.backbone.model, inputs, self.cam)
            return scaled_cam(maps, self.preprocessing.size).float().cpu(), logits.float().cpu()

    def _logits_of(self, channels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            inputs = self.preprocessing.normalised(torch.from_numpy(channels).to(self.device))
            return self.backbone.model(inputs)[:, 0].float().cpu().numpy()


def _as_uint8(channel: np.ndarray) -> np.ndarray:
    return np.rint(channel * 255).astype(np.uint8)


def cached_masks(
    labeller: PseudoLabeller, wanted: Mapping[str, np.ndarray], folder: Path, what: str
) -> dict[str, dict[str, np.ndarray]]:
    """Pseudo-masks of whole scans: recipe -> scan -> bool (slices of the scan, S, S), empty where
    not wanted.

    wanted: scan -> bool, one value per slice. One file per scan in `folder`, so that a killed run
    goes on with the next scan. Raises DataError where `wanted` does not fit a scan.
    """
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in (CAM, *labeller.recipes)}
    for scan, chosen in tqdm(
        wanted.items(), f"pseudo-masks of {what}", unit="scan", mininterval=5, leave=False
    ):
        count = len(labeller.source.volume(scan))
        if chosen.dtype != bool or chosen.shape != (count,):
            raise DataError(
                f"scan {scan} has {count} slices, the selection is {chosen.dtype} {chosen.shape};"
                " expected one bool per slice"
            )
        slices = np.flatnonzero(chosen)
        for name, masks in _one_scan(
            labeller, scan, slices, folder / f"{safe_name(scan)}.npz"
        ).items():
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
                size = int(np.prod(shape))
                return {
                    name: np.unpackbits(stored[name], count=size).reshape(shape).astype(bool)
                    for name in (CAM, *labeller.recipes)
                }
    masks = labeller.masks(scan, slices)
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            key=np.array(key),
            **{name: np.packbits(mask) for name, mask in masks.items()},
        )
    return masks
