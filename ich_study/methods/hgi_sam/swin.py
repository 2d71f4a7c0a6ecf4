"""Swin transformers as slice classifiers: HGI-SAM paper, Sections 3.1, 4.2.1 and 4.2.2.

One output for hemorrhage (Swin-SAM binary), six for hemorrhage and its subtypes (multi-label), two
for absent and present (HGI-SAM, Grad-CAM). Image size, patch, window, width and depth are options
of the timm network, so that the paper's Swin-Base at 384 and a small one are the same code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ich_study.errors import ParameterError, WeightsError
from ich_study.inputs.seeds import first_weights_from
from ich_study.models.backbones import Backbone, create_backbone, train_only
from ich_study.models.registry import load

PAPER_NETWORK = "swin_base_patch4_window12_384"


def create_swin(
    outputs: int,
    in_channels: int = 3,
    name: str = PAPER_NETWORK,
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
    weights_sha256: str | None = None,
    seed: int = 0,
) -> Backbone:
    """The timm Swin `name` with `outputs` logits; arguments and errors as in
    `backbones.create_backbone`.

    Raises ParameterError where the network is no Swin, or where the depth of a stage is odd:
    attention maps multiply blocks in pairs.
    """
    backbone = create_backbone(name, outputs, in_channels, weights, weights_sha256, options, seed)
    _check_swin(backbone)
    return backbone


def swin_from_parent(path: Path, outputs: int, seed: int = 0, trained: str = "all") -> Backbone:
    """The network of a checkpoint of this study, its body strictly loaded, with a new head of
    `outputs` logits.

    HGI-SAM is fine-tuned from the body of Swin-SAM binary (Section 4.2.2). With as many outputs as
    the parent the head is kept. trained: see Backbone (HGI-SAM's code trains the head first).
    Raises WeightsError where the file is absent, describes no Swin, or does not fit its own
    description.
    """
    found = load(path, torch.device("cpu"), Backbone)
    parent = found.network
    _check_swin(parent, WeightsError)
    if outputs != parent.outputs:
        with first_weights_from(seed):
            parent.model.reset_classifier(outputs)
    train_only(parent.model, trained)
    return replace(
        parent,
        outputs=outputs,
        weights_source=path.name,
        weights_sha256=found.sha256,
        trained=trained,
    )


def _check_swin(backbone: Backbone, error: type[Exception] = ParameterError) -> None:
    from timm.models.swin_transformer import SwinTransformer  # slow to import

    model = backbone.model
    if not isinstance(model, SwinTransformer):
        raise error(
            f"{backbone.name} is a {type(model).__name__}; expected a Swin transformer such as"
            f" {PAPER_NETWORK}"
        )
    depths = [len(stage.blocks) for stage in model.layers]
    if any(depth % 2 for depth in depths):
        raise error(
            f"{backbone.name} has {depths} blocks in its stages; attention maps multiply them in"
            " pairs, so each must be even"
        )
