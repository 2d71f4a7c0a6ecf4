"""From HU to likelihood maps and points, in batches (MIL detector, Fig. 1).

Maps stay on the network's coarse grid until they are looked at: at 256 pixels a map of 32 x 32
cells is 64 times smaller than the slice, and a data set's maps fit in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ich_study.errors import MapError
from ich_study.evaluate.heat import Index, ReaderHeat, batches
from ich_study.evaluate.scan_methods import OneScan
from ich_study.inputs.slices import ordered_inputs
from ich_study.methods.mil.boxes import grid_boxes
from ich_study.methods.mil.network import MilNetwork, ReadyNetwork
from ich_study.methods.mil.peaks import Centroids, Detector, Peaks, upsampled
from ich_study.store.read import Store

MAPS_AT_ONCE = 64


@dataclass(frozen=True)
class ScoredMaps:
    """What a network says of slices, and the boxes on its grid.

    rows: rows of the slice index. logits: float64 (N,). cells: float32 (N, h, w), maps on the
    coarse grid. side: rows and columns of the network's input, the grid of points and boxes. boxes,
    labels: of each slice (`boxes.grid_boxes`).
    """

    rows: pd.DataFrame = field(repr=False)
    logits: np.ndarray = field(repr=False)
    cells: np.ndarray = field(repr=False)
    side: int
    boxes: list[np.ndarray] = field(repr=False)
    labels: list[np.ndarray] = field(repr=False)

    def __len__(self) -> int:
        return len(self.logits)

    def read(self, index: Index) -> np.ndarray:
        """Maps of some slices at the input's size, float32 (n, side, side)."""
        return upsampled(self.cells[index], self.side)

    def heat(self, name: str, variant: str) -> ReaderHeat:
        """The maps as heat of any hemorrhage, called as in the result table."""
        return ReaderHeat(
            name, variant, None, ("any",), len(self), lambda index: self.read(index)[:, None]
        )

    def peaks(self, detector: Detector | Centroids) -> list[Peaks]:
        """What the detector finds in every map; maps that nowhere exceed its threshold are not
        looked at."""
        found = [Peaks(np.empty((0, 2), np.int64), np.empty(0, np.float32))] * len(self)
        # interpolation never exceeds the cells
        promising = np.flatnonzero(self.cells.max((1, 2), initial=-np.inf) > detector.threshold)
        for batch in batches(len(promising), MAPS_AT_ONCE):
            for index, likelihood in zip(promising[batch], self.read(promising[batch])):
                found[index] = detector.find(likelihood)
        return found


def run_network(model: MilNetwork, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Input (B, 3, H, W) to logits float64 (B,) and maps float32 (B, h, w); MapError where one is
    not finite."""
    with torch.inference_mode():
        logits, maps = (part.float().cpu().numpy() for part in model.likelihood(inputs))
    if not (np.isfinite(logits).all() and np.isfinite(maps).all()):
        raise MapError(
            "a likelihood map or logit of the MIL network is not finite; its weights or its input"
            " are damaged"
        )
    return logits[:, 0].astype(np.float64), maps


def score_slices(
    ready: ReadyNetwork,
    source: Store | OneScan,
    rows: pd.DataFrame,
    truth: str = "boxes",
) -> ScoredMaps:
    """Logits and maps of rows of the slice index, with their boxes (`grid_boxes`). Raises DataError
    for no rows, MapError for a broken map."""
    model, side = ready.folded().model, ready.preprocessing.size
    together = batch_size_on(ready.device)
    seen = (source, rows, ready.preprocessing, together, ready.device)
    batches_of = ordered_inputs(*seen, what="likelihood maps", channels_last=True)
    logits, cells = zip(*(run_network(model, inputs) for inputs in batches_of))
    truths = grid_boxes(source, rows, side, truth)
    scores = np.concatenate(logits), np.concatenate(cells)
    return ScoredMaps(rows.reset_index(drop=True), *scores, side, *truths)


def locate(
    ready: ReadyNetwork, detector: Detector, hu: np.ndarray
) -> tuple[np.ndarray, list[Peaks]]:
    """int16 HU (N, rows, columns) of slices of any size to logits (N,) and peaks on the network's
    grid."""
    logits: list[np.ndarray] = []
    peaks: list[Peaks] = []
    for batch in batches(len(hu), batch_size_on(ready.device)):
        scores, cells = run_network(ready.model, ready.inputs(hu[batch]))
        logits.append(scores)
        peaks += map(detector.find, upsampled(cells, ready.preprocessing.size))
    return np.concatenate(logits), peaks


def batch_size_on(device: torch.device) -> int:
    """Slices at once: on a CPU what its caches hold (`benchmarks/bench_mil.py`)."""
    return 2 if device.type == "cpu" else 32
