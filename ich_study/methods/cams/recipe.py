"""One classifier and one way of computing its CAMs, from a finished run to the archives and series
that are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ich_study.errors import DataError, ParameterError, WeightsError
from ich_study.evaluate.archive import MapArchive, MapName, device_batches, write_archive
from ich_study.evaluate.classification import load_classifier
from ich_study.evaluate.rivals import RIVALS
from ich_study.evaluate.scaling import resized_maps
from ich_study.hashing import sha256_file, sha256_lines
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.slices import SliceDataset
from ich_study.methods.cams.cams import CAM_METHODS, METHOD_IDS, cam_maps, library_scaled
from ich_study.methods.cams.layers import DEPTHS, timm_layers
from ich_study.methods.cams.scores import MapSeries, Reader, raw_grid, scaled_grid
from ich_study.methods.cams.truth_masks import TruthMasks
from ich_study.store.read import Store
from ich_study.training.callbacks import WEIGHTS_FILE

LIBRARY_ABLATION = "ablation_cam_library"
"""Name in archives of AblationCAM as pytorch-grad-cam computes it; in result tables `ablation_cam`,
variant `library`."""
BATCH_TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
"""Largest difference, of a map's maximum, between a slice alone and in a batch: other kernels,
other rounding."""
FLOAT64_BATCH_TOLERANCE = 1e-6
"""The same in float64: for maps with a pole (Grad-CAM++, XGrad-CAM), beside which rounding in
float32 is without bound."""
_PRINTED = {identifier: printed for printed, identifier in METHOD_IDS.items()}


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


def load_subject(run_folder: Path, class_name: str, device: torch.device) -> Subject:
    """The classifier that a run of 01_backbones trained. Raises WeightsError where the run has no
    weights or they do not fit, and ParameterError where it has no logit of `class_name`, or two
    outputs for one class."""
    path = run_folder / WEIGHTS_FILE
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; train the classifier first: python -m ich_study.run"
            " 01_backbones -f params/<scale>/01_backbones.yaml -f"
            f" params/<scale>/01_backbones/{run_folder.name}.yaml"
        )
    backbone, preprocessing, metadata = load_classifier(path, device)
    classes = list(metadata["classes"])
    if metadata["two_outputs"]:
        raise ParameterError(
            f"{path} has two outputs for one class; this notebook explains one logit per class"
        )
    if class_name not in classes:
        raise ParameterError(
            f"{path} has no logit of {class_name!r}; its classes are {classes}: set target_class to"
            " one of them"
        )
    return Subject(
        backbone.model,
        preprocessing,
        classes.index(class_name),
        backbone.name,
        sha256_file(path),
        device,
    )


@dataclass(frozen=True)
class CamRecipe:
    """Which maps are computed and how. methods: printed names, of CAM_METHODS. reading: of the
    printed depths (`cam_layers.timm_layers`). ablations: "zero" (as AblationCAM is defined),
    "library" (what pytorch-grad-cam does, with batches of `library_batch`). eigen_sign, precision:
    as in `cams.cam_maps`."""

    methods: tuple[str, ...] = CAM_METHODS
    depths: tuple[str, ...] = DEPTHS
    reading: str = "blocks"
    ablations: tuple[str, ...] = ("zero", "library")
    library_batch: int = 32
    eigen_sign: str = "defined"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        unknown = sorted(set(self.methods) - set(CAM_METHODS)) + sorted(
            set(self.ablations) - {"zero", "library"}
        )
        if unknown or not self.methods or "zero" not in self.ablations:
            raise ParameterError(
                f"methods or ablations {unknown} are unknown or missing; expected some of"
                f" {CAM_METHODS}, and 'zero' with or without 'library'"
            )

    @property
    def identifiers(self) -> list[str]:
        """Names of the maps' methods in archives, AblationCAM's library variant last."""
        found = [METHOD_IDS[method] for method in self.methods]
        both = "library" in self.ablations and "AblationCAM" in self.methods
        return [*found, LIBRARY_ABLATION] if both else found

    def maps(
        self,
        model: nn.Module,
        inputs: Tensor,
        target: int,
        identifiers: Sequence[str] | None = None,
        depths: Sequence[str] | None = None,
    ) -> dict[MapName, Tensor]:
        """Raw maps (B, h, w) by (identifier, depth), all unless some are named."""
        wanted = self.identifiers if identifiers is None else list(identifiers)
        layers = timm_layers(model, self.reading, tuple(depths or self.depths))
        printed = [_PRINTED[name] for name in wanted if name != LIBRARY_ABLATION]
        settings = {
            "eigen_sign": self.eigen_sign,
            "precision": self.precision,
            "library_batch": self.library_batch,
        }
        found: dict[MapName, Tensor] = {}
        if printed:
            computed = cam_maps(model, inputs, layers, target, printed, ablation="zero", **settings)
            found = {
                (METHOD_IDS[method], layer): maps for (method, layer), maps in computed.items()
            }
        if LIBRARY_ABLATION in wanted:
            library = cam_maps(
                model, inputs, layers, target, ["AblationCAM"], ablation="library", **settings
            )
            found |= {(LIBRARY_ABLATION, layer): maps for (_, layer), maps in library.items()}
        return found

    @property
    def in_float32(self) -> CamRecipe:
        """The same maps without bfloat16, whose rounding says more than the weights where a
        network's are drawn at random."""
        return replace(self, precision="fp32")

    def timed_maps(
        self, target: int
    ) -> Callable[[nn.Module, Tensor, Sequence[str], Sequence[str]], dict[MapName, Tensor]]:
        """`maps` as `cam_trust.cost_table` calls it."""
        return lambda model, inputs, identifiers, depths: self.maps(
            model, inputs, target, identifiers, depths
        )


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
    places = [f"{row.scan_id}/{row.slice_index}" for row in rows.itertuples()]
    key = {
        "weights": subject.sha256,
        "recipe": asdict(recipe),
        "target": subject.target,
        "data": store.content_hash,
        "batch": batch_size,
        "preprocessing": subject.preprocessing.describe(),
        "rows": sha256_lines(places),
    }
    return write_archive(
        folder,
        len(rows),
        lambda start: device_batches(dataset, batch_size, subject.device, start),
        lambda inputs: recipe.maps(subject.model, inputs, subject.target),
        key,
        what,
    )


def reader(archive: MapArchive, name: MapName, size: int, scaled: bool) -> Reader:
    """Full size maps of one method and layer: raw, or scaled per image as the library does."""

    def read(places: slice) -> np.ndarray:
        low = torch.from_numpy(archive.raw(name, places))
        return (library_scaled(low, size) if scaled else resized_maps(low, size)).numpy()

    return read


def map_series(validation: MapArchive, test: MapArchive, size: int) -> list[MapSeries]:
    """Every archived method and layer in the variants raw and printed; the library's AblationCAM in
    variant library."""
    if validation.names != test.names:
        raise DataError(
            f"validation maps are {validation.names}, test maps {test.names}; they come from"
            " different recipes"
        )
    series = []
    for name in validation.names:
        method, layer = name[0], name[1].strip("[]")
        variants = ("library",) if method == LIBRARY_ABLATION else ("raw", "printed")
        for variant in variants:
            grid = (
                raw_grid(validation.raw(name), f"{method} at layer {name[1]}")
                if variant == "raw"
                else scaled_grid()
            )
            readers = [
                reader(archive, name, size, variant != "raw") for archive in (validation, test)
            ]
            shown = "ablation_cam" if method == LIBRARY_ABLATION else method
            series.append(MapSeries(shown, layer, variant, *readers, grid))
    return series


def rival_series(
    validation: TruthMasks, test: TruthMasks, smoothness_px: float, seed: int
) -> list[MapSeries]:
    """The trivial rivals, which know no network, as series of variant raw without a layer."""
    parts = (validation, test)
    return [
        MapSeries(
            name,
            "",
            "raw",
            *(part.rival(name, smoothness_px, seed) for part in parts),
            scaled_grid(),
        )
        for name in RIVALS
    ]


def rival_maps(
    part: TruthMasks, places: np.ndarray, smoothness_px: float, seed: int
) -> dict[MapName, Tensor]:
    """The trivial rivals' maps of some slices, named like maps of a network, with an empty
    layer."""
    readers = {name: part.rival(name, smoothness_px, seed) for name in RIVALS}
    return {
        (name, ""): torch.from_numpy(np.concatenate([read(slice(p, p + 1)) for p in places]))
        for name, read in readers.items()
    }


def network_inputs(subject: Subject, store: Store, rows: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Windowed channels in [0, 1] and network inputs, both (N, C, S, S) on the device, of a few
    slices."""
    hu, _ = SliceDataset(store, rows, ("any",), subject.preprocessing).__getitems__(
        range(len(rows))
    )
    channels = subject.preprocessing.channels(hu.to(subject.device))
    return channels, subject.preprocessing.normalised(channels)


def stack_maps(
    archive: MapArchive, places: np.ndarray, library: bool = False
) -> Mapping[MapName, Tensor]:
    """Raw maps of some slices of an archive, all methods and layers; the library's AblationCAM with
    `library`."""
    names = [name for name in archive.names if library or name[0] != LIBRARY_ABLATION]
    return {name: torch.from_numpy(archive.raw(name, places)) for name in names}


def describe_layers(subject: Subject, recipe: CamRecipe) -> pd.DataFrame:
    """What each printed depth is in this network: module, channels, rows and columns of its
    maps."""
    layers = timm_layers(subject.model, recipe.reading, recipe.depths)
    names = {id(module): name for name, module in subject.model.named_modules()}
    shapes: dict[str, tuple[Any, ...]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, depth=depth: shapes.update(
                {depth: tuple(output.shape[1:])}
            )
        )
        for depth, module in layers.items()
    ]
    size = subject.preprocessing.size
    try:
        with torch.inference_mode():
            subject.model(
                torch.zeros(1, subject.preprocessing.in_channels, size, size, device=subject.device)
            )
    finally:
        for hook in hooks:
            hook.remove()
    return pd.DataFrame(
        [
            {"depth": depth, "module": names[id(module)], "shape": shapes[depth]}
            for depth, module in layers.items()
        ]
    )
