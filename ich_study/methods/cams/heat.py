"""Heat of the CAMs: one per method, layer and variant, read from an archive of raw maps.

Variants say how a raw map becomes heat. "raw" keeps its values, so that one scale holds for all
slices. "printed" is scaled to [0, 1] per image, as pytorch-grad-cam does and the paper's maps are.
"library" is the same of the nine maps as the library computes them, which is what the paper ran:
AblationCAM is not zero ablation there, and LAPACK happens to give the sign of the Eigen maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ich_study.errors import MapError
from ich_study.evaluate.archive import MapArchive, MapName
from ich_study.evaluate.heat import Heat, Index, ReaderHeat
from ich_study.evaluate.rivals import rivals
from ich_study.evaluate.scaling import resized_maps
from ich_study.evaluate.truth import Truth
from ich_study.methods.cams.cams import library_scaled
from ich_study.methods.cams.recipe import LIBRARY

GRID_POINTS = 64
SCALED_GRID = np.linspace(0, 1, GRID_POINTS + 1)[1:]
"""Thresholds of maps in [0, 1], equally spaced, without 0, which selects everything."""
_LEVELS = np.concatenate(
    [np.linspace(0, 0.9, 16, endpoint=False), 1 - np.geomspace(0.1, 1e-4, GRID_POINTS - 16)]
)
"""Quantiles of the map values that are tried as thresholds of raw maps: most lie near the top,
because lesions are a few percent of a slice."""


@dataclass(frozen=True)
class LayerHeat:
    """Heat of one method at one layer. archived: its method and layer in `archive`. size: of a
    slice on the network's grid, pixels."""

    archive: MapArchive = field(repr=False)
    archived: MapName
    variant: str
    size: int
    classes: tuple[str, ...] = ("any",)

    @property
    def name(self) -> str:
        """The method as in the result table."""
        return self.archived[0].removesuffix(LIBRARY)

    @property
    def layer(self) -> str:
        """The depth as in the result table, such as "-1"."""
        return self.archived[1].strip("[]")

    def __len__(self) -> int:
        return self.archive.count

    def read(self, index: Index) -> np.ndarray:
        """Heat of some slices, float32 (n, 1, size, size)."""
        low = torch.from_numpy(self.archive.raw(self.archived, index))
        scale = resized_maps if self.variant == "raw" else library_scaled
        return scale(low, self.size).numpy()[:, None]


def layer_heats(archive: MapArchive, size: int, class_name: str = "any") -> list[LayerHeat]:
    """Every archived method and layer as raw and as printed, and where the archive holds maps of
    the library, each as the library's: its own, or the printed one, which is the same."""
    methods = {method for method, _ in archive.names}
    library = any(method.endswith(LIBRARY) for method in methods)
    heats = []
    for archived in archive.names:
        variants = ["library"] if archived[0].endswith(LIBRARY) else ["raw", "printed"]
        if library and variants[0] == "raw" and archived[0] + LIBRARY not in methods:
            variants.append("library")
        heats += [LayerHeat(archive, archived, name, size, (class_name,)) for name in variants]
    return heats


def threshold_grid(heat: Heat) -> np.ndarray:
    """Thresholds to try, ascending float64 (T,): of raw maps the quantiles of all values archived,
    else SCALED_GRID.

    Raises MapError where raw maps are flat.
    """
    if not isinstance(heat, LayerHeat) or heat.variant != "raw":
        return SCALED_GRID
    values = heat.archive.raw(heat.archived).astype(np.float64).ravel()
    grid = np.unique(np.quantile(values, _LEVELS).astype(np.float32)).astype(np.float64)
    if len(grid) < 2:
        raise MapError(
            f"{heat.name} at layer {heat.layer}: all maps are flat ({values[0]:g}); no threshold"
            " exists"
        )
    return grid


def rival_heats(truth: Truth, class_name: str, smoothness_px: float, seed: int) -> list[ReaderHeat]:
    """The trivial rivals, which know no network. Their values share one scale over all slices, as
    those of raw maps do, so they stand among these."""
    found = rivals(truth, (class_name,), smoothness_px, seed)
    return [replace(rival, variant="raw") for rival in found]


def rival_maps(heats: Sequence[Heat], index: np.ndarray) -> dict[MapName, torch.Tensor]:
    """Maps of the heats without a layer, the rivals, named as maps of a network are."""
    return {
        (heat.name, ""): torch.from_numpy(heat.read(index)[:, 0])
        for heat in heats
        if not heat.layer
    }
