"""Heat of the methods of Table 1: layer maps over many slices, kept at token resolution, and fused
where they are read.

One pass of a slice serves every reading: printed and authors, three stages or four, with and
without brain mask. HGI-SAM paper, Sections 3.2 and 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.evaluate.archive import MapArchive, MapName, archive_slices
from ich_study.evaluate.heat import Index
from ich_study.evaluate.scaling import minmax
from ich_study.evaluate.truth import PackedMasks, Truth
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceDataset, SliceSource
from ich_study.methods.hgi_sam.attention_capture import capture_attention
from ich_study.methods.hgi_sam.attention_maps import (
    HGI_STAGES,
    HGI_VARIANTS,
    fused_map,
    hgi_sam,
    layer_maps,
    swin_grad_cam,
    swin_sam,
    token_grad_cams,
)
from ich_study.sources import code_hash
from ich_study.training.learner import TrainingRun

SAM, HGI, GRAD_CAM = "swin_sam", "swin_hgi_sam", "swin_grad_cam"
MULTI_LABEL, BINARY = "swin_sam_multi_label", "swin_sam_binary"
CLASSIFIER_OF: dict[str, str] = {
    GRAD_CAM: "two_outputs",
    MULTI_LABEL: "multi_label",
    BINARY: "binary",
    HGI: "two_outputs",
}
"""The classifier that each weakly supervised method of Table 1 explains, in the table's order."""
TARGET = 1
"""The output of hemorrhage among two."""


@dataclass(frozen=True)
class AttentionHeat:
    """Heat of one method of Table 1 over the slices of an archive, fused when it is read.

    kind: which maps of the archive. stages: what is multiplied. brain: bool (slices, size, size)
    when indexed, None where the heat is not cut to the brain. layer: names the stages where they
    are the question (paper, Section 6), None where they are the method's own.
    """

    name: str
    variant: str
    archive: MapArchive = field(repr=False)
    kind: str
    stages: tuple[int, ...]
    size: int
    brain: PackedMasks | np.ndarray | None = field(default=None, repr=False)
    layer: str | None = None
    classes: tuple[str, ...] = ("any",)

    def __len__(self) -> int:
        return self.archive.count

    def read(self, index: Index) -> np.ndarray:
        """Heat of some slices, float32 (n, 1, size, size) in [0, 1]; zeros where the brain is empty
        or the map flat."""
        brain = None if self.brain is None else torch.from_numpy(self.brain[index])
        return fused_map(self.layers(index), (self.size, self.size), brain).numpy()[:, None]

    def layers(self, index: Index) -> dict[int, Tensor]:
        """Map of each stage at its token resolution, (n, rows, columns), as the variant multiplies
        them."""
        scaled = HGI_VARIANTS[self.variant].layer_minmax or self.kind == GRAD_CAM
        found = {}
        for stage in self.stages:
            raw = self.archive.raw(_name(self.kind, self.variant, stage), index)
            found[stage] = minmax(torch.from_numpy(raw)) if scaled else torch.from_numpy(raw)
        return found

    def every_stage(self) -> AttentionHeat:
        """The same heat over all stages that the archive holds."""
        return replace(self, stages=stages_held(self.archive, self.kind, self.variant))

    def masks(self, index: Index, thresholds: np.ndarray) -> np.ndarray:
        """Masks of some slices, bool (n, size, size). thresholds: of every slice, (slices,)."""
        return self.read(index)[:, 0] >= thresholds[index][:, None, None]


def archives_of(
    runs: Mapping[str, TrainingRun],
    folder: Path,
    part: str,
    source: SliceSource,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    batch_size: int = 8,
    precision: str = "fp32",
) -> dict[str, MapArchive]:
    """Layer maps of every row by every classifier, each in a folder `<classifier>_<part>` of its
    own, going on after a kill: Swin-SAM of any Swin, and of one with two outputs HGI-SAM and
    Swin-Grad-CAM too, each as printed and as in the code."""
    dataset = SliceDataset(source, rows, ("any",), preprocessing)
    code, found = code_hash(__name__, exact=False), {}
    for name, run in runs.items():
        place, maps_of = folder / f"{name}_{part}", partial(_maps_of, run.model, precision)
        key = {"weights": run.weights_sha256, "precision": precision, "code": code}
        how = (batch_size, run.device, maps_of, key, f"maps of {place.name}")
        found[name] = archive_slices(place, dataset, *how)
    return found


def attention_heats(
    archives: Mapping[str, MapArchive], variant: str, truth: Truth
) -> dict[str, AttentionHeat]:
    """The four weakly supervised methods of Table 1, each from the archive of its classifier, in
    the brain of `truth`."""
    found = {}
    for method, classifier in CLASSIFIER_OF.items():
        kind = method if method in (GRAD_CAM, HGI) else SAM
        archive = archives[classifier]
        held = stages_held(archive, kind, variant)
        stages = tuple(stage for stage in held if kind != HGI or stage in HGI_STAGES)
        heat = AttentionHeat(method, variant, archive, kind, stages, truth.size, truth.brain)
        found[method] = heat
    return found


def ablations(methods: Mapping[str, AttentionHeat]) -> list[AttentionHeat]:
    """What Section 6 of the paper varies: HGI-SAM's own stages against all, named by `layer`, and
    without the brain mask; Swin-SAM, which fuses all stages, over those of HGI-SAM alone.

    methods: of `attention_heats`.
    """
    own, first = methods[HGI], replace(methods[BINARY], stages=HGI_STAGES)
    return [_staged(own), _staged(own.every_stage()), replace(own, brain=None), _staged(first)]


def stages_held(archive: MapArchive, kind: str, variant: str) -> tuple[int, ...]:
    """Stages whose maps of this kind and variant the archive holds."""
    wanted = f"{kind}-{variant}"
    return tuple(sorted(int(layer[1:]) for name, layer in archive.names if name == wanted))


def _maps_of(model: nn.Module, precision: str, inputs: Tensor) -> dict[MapName, Tensor]:
    kinds, targets, gradients = {SAM: False}, None, set()
    if model.num_classes == 2:
        kinds, targets = {SAM: False, HGI: True}, TARGET
        gradients = {variant.gradient for variant in HGI_VARIANTS.values()}
    capture = capture_attention(model, inputs, targets, gradients, precision=precision)
    found: dict[MapName, Tensor] = {}
    for name, variant in HGI_VARIANTS.items():
        # kept as they are, so that figures can show them; scaled where they are read
        unscaled = replace(variant, layer_minmax=False)
        for kind, weighted in kinds.items():
            for stage, layer in layer_maps(capture, unscaled, weighted).items():
                found[_name(kind, name, stage)] = layer
    if HGI in kinds:
        cams, _ = token_grad_cams(
            model, inputs, [grad_cam_target(name) for name in HGI_VARIANTS], precision
        )
        for name, cam in zip(HGI_VARIANTS, cams):
            found[_name(GRAD_CAM, name, len(model.layers) - 1)] = cam
    return found


def heat_and_logits(
    method: str, model: nn.Module, inputs: Tensor, brain: Tensor | None, variant: str
) -> tuple[Tensor, Tensor]:
    """Heat of a batch by one method of Table 1, computed at once, (B, H, W) in [0, 1], and the
    logits (B, outputs).

    model: the classifier that the method explains (CLASSIFIER_OF). inputs: (B, C, H, W). brain:
    bool (B, H, W).
    """
    if method == GRAD_CAM:
        return swin_grad_cam(model, inputs, grad_cam_target(variant), brain)
    if method == HGI:
        found = hgi_sam(model, inputs, TARGET, brain, HGI_VARIANTS[variant])
    else:
        found = swin_sam(model, inputs, brain, HGI_VARIANTS[variant])
    return found.fused, found.logits


def grad_cam_target(variant: str) -> int | None:
    """What Swin-Grad-CAM explains: hemorrhage as printed, the larger output in the code."""
    return None if variant == "authors" else TARGET


def _staged(heat: AttentionHeat) -> AttentionHeat:
    return replace(heat, layer=f"{heat.stages[0]}-{heat.stages[-1]}")


def _name(kind: str, variant: str, stage: int) -> MapName:
    return f"{kind}-{variant}", f"-{stage}"
