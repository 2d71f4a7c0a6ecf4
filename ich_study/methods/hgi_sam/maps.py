"""Layer maps of a trained Swin over many slices, kept at token resolution, and fused where they are
scored.

One pass of a slice serves every reading: printed and authors, three stages or four, with and
without brain mask. HGI-SAM paper, Sections 3.2 and 4.2; `maps.attention_maps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import ParameterError
from ich_study.evaluate.archive import MapArchive, MapName, device_batches, write_archive
from ich_study.evaluate.scaling import minmax
from ich_study.hashing import sha256_lines
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import ROW_KEYS, SliceDataset, SliceSource
from ich_study.methods.hgi_sam.attention_capture import capture_attention, checked_swin
from ich_study.methods.hgi_sam.attention_maps import (
    HGI_STAGES,
    VARIANTS,
    fused_map,
    layer_maps,
    token_grad_cams,
)

SAM, HGI, GRAD_CAM = "swin_sam", "swin_hgi_sam", "swin_grad_cam"
CLASSIFIER_OF: dict[str, str] = {
    GRAD_CAM: "two_outputs",
    "swin_sam_multi_label": "multi_label",
    "swin_sam_binary": "binary",
    HGI: "two_outputs",
}
"""The classifier that each weakly supervised method of Table 1 explains, in the table's order."""
TARGET = 1
"""The output of hemorrhage among two."""


@dataclass(frozen=True)
class FusedMaps:
    """Fused maps of one method, computed when read. stages: what is multiplied. variant: "printed"
    or "authors"."""

    archive: MapArchive
    kind: str
    variant: str
    stages: tuple[int, ...]
    size: int

    def read(self, places: slice | np.ndarray, brain: np.ndarray | None = None) -> np.ndarray:
        """Maps in [0, 1] of some slices, float32 (n, size, size); zeros where the brain is empty or
        the map flat."""
        layers = self.layers(places)
        mask = None if brain is None else torch.from_numpy(np.ascontiguousarray(brain))
        return fused_map(layers, (self.size, self.size), mask).numpy()

    def layers(self, places: slice | np.ndarray) -> dict[int, Tensor]:
        """Map of each stage at its token resolution, (n, rows, columns), as the variant multiplies
        them."""
        scaled = VARIANTS[self.variant].layer_minmax or self.kind == GRAD_CAM
        found = {
            stage: torch.from_numpy(self.archive.raw(_name(self.kind, self.variant, stage), places))
            for stage in self.stages
        }
        return {stage: minmax(layer) if scaled else layer for stage, layer in found.items()}


def attention_archive(
    folder: Path,
    model: nn.Module,
    weights_sha256: str,
    source: SliceSource,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    device: torch.device,
    batch_size: int = 8,
    precision: str = "fp32",
) -> MapArchive:
    """Layer maps of every row into `folder`, going on after a kill: Swin-SAM of any Swin, and for
    one of two outputs HGI-SAM and Swin-Grad-CAM too, each as printed and as in the code."""
    dataset = SliceDataset(source, rows, ("any",), preprocessing)
    key = {
        "weights": weights_sha256,
        "preprocessing": preprocessing.describe(),
        "data": source.content_hash,
        "precision": precision,
        "slices": sha256_lines(dataset.rows[ROW_KEYS].astype(str).agg(" ".join, axis=1)),
    }
    maps_of = partial(_maps_of, checked_swin(model), precision)
    return write_archive(
        folder,
        len(dataset),
        partial(_batches, dataset, batch_size, device),
        maps_of,
        key,
        f"maps of {folder.name}",
    )


def fused_maps(
    archive: MapArchive, kind: str, variant: str, size: int, stages: Sequence[int] | None = None
) -> FusedMaps:
    """The fused maps of one kind: swin_sam over all stages, swin_hgi_sam over the first three
    unless `stages` says otherwise, swin_grad_cam. ParameterError for a kind, variant or stage that
    the archive does not hold."""
    held = {name for name, _ in archive.names}
    there = stages_held(archive, kind, variant)
    default = there if kind != HGI else [stage for stage in HGI_STAGES if stage in there]
    wanted = list(default if stages is None else stages)
    if not wanted or not set(wanted) <= set(there):
        raise ParameterError(
            f"no maps {kind} {variant} of stages {wanted or 'any'}; the archive holds"
            f" {sorted(held)} of stages {there}"
        )
    return FusedMaps(archive, kind, variant, tuple(wanted), size)


def stages_held(archive: MapArchive, kind: str, variant: str) -> list[int]:
    """Stages whose maps of this kind and variant the archive holds."""
    return sorted(int(layer[1:]) for name, layer in archive.names if name == f"{kind}-{variant}")


def _batches(dataset: SliceDataset, batch_size: int, device: torch.device, start: int) -> object:
    return device_batches(dataset, batch_size, device, start)


def _maps_of(model: nn.Module, precision: str, inputs: Tensor) -> dict[MapName, Tensor]:
    two_outputs = model.num_classes == 2
    gradients = sorted({variant.gradient for variant in VARIANTS.values()}) if two_outputs else ()
    capture = capture_attention(
        model, inputs, TARGET if two_outputs else None, gradients, precision=precision
    )
    found: dict[MapName, Tensor] = {}
    for name, variant in VARIANTS.items():
        unscaled = replace(variant, layer_minmax=False)
        for kind, weighted in ((SAM, False), (HGI, True))[: 1 + two_outputs]:
            found |= {
                _name(kind, name, stage): layer
                for stage, layer in layer_maps(capture, unscaled, weighted).items()
            }
    if two_outputs:
        targets = [TARGET if name == "printed" else None for name in VARIANTS]
        cams, _ = token_grad_cams(model, inputs, targets, precision)
        found |= {
            _name(GRAD_CAM, name, len(model.layers) - 1): cam for name, cam in zip(VARIANTS, cams)
        }
    return found


def _name(kind: str, variant: str, stage: int) -> MapName:
    return f"{kind}-{variant}", f"-{stage}"
