"""One classifier and one way of computing its CAMs, from a finished run to archives of raw maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import DataError, ParameterError, require_known
from ich_study.evaluate.archive import MapArchive, MapName, archive_slices
from ich_study.evaluate.unseen import assert_unseen
from ich_study.inputs.devices import resolve_device
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceDataset
from ich_study.methods.cams.cams import CAM_METHODS, METHOD_IDS, cam_maps
from ich_study.methods.cams.capture import capture
from ich_study.methods.cams.formulas import EIGEN_SIGNS
from ich_study.methods.cams.layers import DEPTHS, timm_layers
from ich_study.models.backbones import Backbone
from ich_study.models.registry import load
from ich_study.models.sources import weights_of_run
from ich_study.sources import code_hash
from ich_study.store.read import Store

LIBRARY = "_library"
"""Ends the name in archives of a method as pytorch-grad-cam computes it, where that differs; in
result tables it is variant `library`."""
LIBRARY_METHODS: tuple[str, ...] = ("AblationCAM", "EigenCAM", "EigenGradCAM")
"""Methods that the library computes otherwise: no zero ablation, and the sign that LAPACK gives."""


@dataclass(frozen=True)
class Subject:
    """The classifier whose maps are measured: evaluation mode, on `device`. target: its logit of
    the class."""

    model: nn.Module = field(repr=False)
    preprocessing: Preprocessing
    target: int
    architecture: str
    sha256: str
    device: torch.device


def load_subject(
    run_folder: str | Path,
    class_name: str,
    device: str | torch.device,
    scored: pd.DataFrame | None = None,
) -> Subject:
    """The classifier that a run of 01_backbones trained. Relative folders are the project's.

    scored: slices of patients that it must not have seen (`unseen.assert_unseen`).

    Raises WeightsError where the run has no weights or they do not fit, and ParameterError where it
    has no logit of `class_name`, or two outputs for one class, StudyError where the run failed or
    its files changed since.
    """
    path, device = weights_of_run(run_folder), resolve_device(str(device))
    if scored is not None:
        assert_unseen(path, scored)
    found = load(path, device, Backbone)
    classes = list(found.metadata["classes"])
    if found.metadata["two_outputs"]:
        raise ParameterError(
            f"{path} has two outputs for one class; this notebook explains one logit per class"
        )
    if class_name not in classes:
        raise ParameterError(
            f"{path} has no logit of {class_name!r}; its classes are {classes}: set target_class to"
            " one of them"
        )
    target, name = classes.index(class_name), found.network.name
    return Subject(found.model, found.preprocessing, target, name, found.sha256, device)


@dataclass(frozen=True)
class CamRecipe:
    """Which maps are computed and how. methods: printed names, of CAM_METHODS. reading: of the
    printed depths (`layers.timm_layers`). ablations: "zero" (methods as they are defined),
    "library" (what pytorch-grad-cam makes of LIBRARY_METHODS, with batches of `library_batch`).
    eigen_sign, precision: as in `cams.cam_maps`."""

    methods: tuple[str, ...] = CAM_METHODS
    depths: tuple[str, ...] = DEPTHS
    reading: str = "blocks"
    ablations: tuple[str, ...] = ("zero", "library")
    library_batch: int = 32
    eigen_sign: str = "defined"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        require_known("eigen_sign", self.eigen_sign, EIGEN_SIGNS)
        if not self.depths:
            raise ParameterError("no depths to look at; expected some such as [-1]")
        unknown = sorted({*self.methods, *self.ablations} - {*CAM_METHODS, "zero", "library"})
        if unknown or not self.methods or "zero" not in self.ablations:
            raise ParameterError(
                f"methods or ablations {unknown} are unknown or missing; expected some of"
                f" {CAM_METHODS}, and 'zero' with or without 'library'"
            )

    @property
    def identifiers(self) -> list[str]:
        """Names of the maps' methods in archives, library variants last."""
        found = [METHOD_IDS[method] for method in self.methods]
        if "library" in self.ablations:
            found += [METHOD_IDS[m] + LIBRARY for m in LIBRARY_METHODS if m in self.methods]
        return found

    @property
    def in_float32(self) -> CamRecipe:
        """The same maps without bfloat16, whose rounding says more than the weights where a
        network's are drawn at random."""
        return replace(self, precision="fp32")

    def maps(
        self,
        model: nn.Module,
        inputs: Tensor,
        target: int,
        identifiers: Sequence[str] | None = None,
        depths: Sequence[str] | None = None,
    ) -> dict[MapName, Tensor]:
        """Raw maps (B, h, w) by (identifier, depth), all unless some are named."""
        wanted = self.identifiers if identifiers is None else identifiers
        layers = timm_layers(model, self.reading, tuple(depths or self.depths))
        found: dict[MapName, Tensor] = {}
        for ablation, suffix, sign in (
            ("zero", "", self.eigen_sign),
            ("library", LIBRARY, "lapack"),
        ):
            methods = [method for method, name in METHOD_IDS.items() if name + suffix in wanted]
            if not methods:
                continue
            how = {"ablation": ablation, "library_batch": self.library_batch, "eigen_sign": sign}
            computed = cam_maps(
                model, inputs, layers, target, methods, precision=self.precision, **how
            )
            for (method, depth), raw in computed.items():
                found[METHOD_IDS[method] + suffix, depth] = raw
        return found


def archive_part(
    folder: Path,
    subject: Subject,
    recipe: CamRecipe,
    store: Store,
    rows: pd.DataFrame,
    batch_size: int,
    what: str,
) -> MapArchive:
    """Maps of `rows`, in their order, in `folder`; kept where they are there already, continued
    where they were begun."""
    dataset = SliceDataset(store, rows, ("any",), subject.preprocessing)
    key = {
        "weights": subject.sha256,
        "recipe": asdict(recipe),
        "target": subject.target,
        "code": code_hash(__name__, exact=False),
    }
    return archive_slices(
        folder,
        dataset,
        batch_size,
        subject.device,
        lambda inputs: recipe.maps(subject.model, inputs, subject.target),
        key,
        what,
    )


def archived_maps(archive: MapArchive, index: np.ndarray) -> dict[MapName, Tensor]:
    """Raw maps of some slices at layer resolution, all methods and layers, without the library's
    own, of which AblationCAM depends on its batches."""
    names = [name for name in archive.names if not name[0].endswith(LIBRARY)]
    return {name: torch.from_numpy(archive.raw(name, index)) for name in names}


def describe_layers(subject: Subject, recipe: CamRecipe) -> pd.DataFrame:
    """What each printed depth is in this network: `depth, module, shape` (channels, rows and
    columns of its maps)."""
    layers = timm_layers(subject.model, recipe.reading, recipe.depths)
    names = {id(module): name for name, module in subject.model.named_modules()}
    size = subject.preprocessing.size
    blank = torch.zeros(1, subject.preprocessing.in_channels, size, size, device=subject.device)
    _, found = capture(subject.model, blank, layers, gradients=False)
    rows = [
        (depth, names[id(module)], tuple(found[depth].activations.shape[1:]))
        for depth, module in layers.items()
    ]
    return pd.DataFrame(rows, columns=["depth", "module", "shape"])


def choose_slices(
    rows: pd.DataFrame, label: str, max_positives: int | None, max_negatives: int | None
) -> pd.DataFrame:
    """Rows whose `label` is known: positives and negatives, each thinned evenly along scans and
    slices where there are more; None takes all.

    Raises DataError where none is positive: nothing could be localised.
    """
    order = ["scan_id", "slice_index"]
    known = rows[rows[label].notna()].sort_values(order, kind="stable")
    positive = known[label].astype(bool)
    if not positive.any():
        raise DataError(
            f"no slice of {len(rows)} is positive for {label!r}; localisation needs positives:"
            " choose another part or class"
        )
    chosen = [_thinned(known[positive], max_positives), _thinned(known[~positive], max_negatives)]
    return pd.concat(chosen).sort_values(order, kind="stable").reset_index(drop=True)


def _thinned(rows: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    if limit is None or len(rows) <= limit:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
