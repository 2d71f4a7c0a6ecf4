"""From HU to likelihood maps and points, in batches (MIL detector, Fig. 1).

Maps stay on the network's coarse grid until they are looked at: at 256 pixels a map of 32 x 32
cells is 64 times smaller than the slice, and a data set's maps fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ich_study.errors import DataError, MapError, ParameterError, StudyError, WeightsError
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.inputs.samplers import OrderedBatches
from ich_study.inputs.slices import SliceDataset, SliceLoader, SliceSource
from ich_study.methods.mil.network import (
    MilBackbone,
    MilNetwork,
    fused,
    load_published,
    published_preprocessing,
)
from ich_study.methods.mil.peaks import Detector, Peaks, find_peaks, upsampled
from ich_study.methods.mil.points import boxes_on_grid
from ich_study.metrics.boxes import component_boxes
from ich_study.schema import SUBTYPES

MAPS_AT_ONCE = 64
BATCH_SIZES = {"cpu": 2}
"""Slices at once by device: on a CPU what its caches hold (`benchmarks/bench_mil.py`), elsewhere
`BATCH_SIZE`."""
BATCH_SIZE = 32
TRUTHS = ("boxes", "mask_components")
SIDES = ("x", "y", "width", "height")
SMALLEST_COMPONENT = 4
"""Pixels of the stored slice under which a part of a mask gets no box."""


class BoxedSource(SliceSource, Protocol):
    """A store: slices, and their boxes or masks."""

    boxes: pd.DataFrame

    def mask(self, scan_id: str) -> np.ndarray:
        """uint8 mask codes (slices, rows, columns)."""


@dataclass(frozen=True)
class ScoredMaps:
    """What a network says of slices, and their truth as boxes on the network's grid.

    rows: rows of the slice index. logits: float64 (N,). cells: float32 (N, h, w), maps on the
    coarse
    grid. side: rows and columns of the network's input, the grid of points and boxes. boxes: per
    slice float64 (n, 4) of x, y, width, height; labels: per slice their subtypes.
    """

    rows: pd.DataFrame = field(repr=False)
    logits: np.ndarray = field(repr=False)
    cells: np.ndarray = field(repr=False)
    side: int
    boxes: list[np.ndarray] = field(repr=False)
    labels: list[np.ndarray] = field(repr=False)

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, chosen: np.ndarray) -> ScoredMaps:
        """The slices at positions, or under a mask, `chosen`."""
        places = np.arange(len(self))[chosen]
        boxes, labels = (
            [entries[place] for place in places] for entries in (self.boxes, self.labels)
        )
        return ScoredMaps(
            self.rows.iloc[places],
            self.logits[places],
            self.cells[places],
            self.side,
            boxes,
            labels,
        )

    def likelihoods(self) -> Iterator[np.ndarray]:
        """Maps at the input's size, float32 (side, side), one by one."""
        for start in range(0, len(self), MAPS_AT_ONCE):
            yield from upsampled(self.cells[start : start + MAPS_AT_ONCE], self.side)

    def peaks(self, detector: Detector) -> list[Peaks]:
        """What the detector finds in every map; maps that nowhere exceed its threshold are not
        looked at."""
        found = [Peaks(np.empty((0, 2), np.int64), np.empty(0, np.float32))] * len(self)
        # interpolation never exceeds the cells
        looked_at = np.flatnonzero(self.cells.max((1, 2), initial=-np.inf) > detector.threshold)
        for place, likelihood in zip(looked_at, self[looked_at].likelihoods()):
            found[place] = find_peaks(likelihood, detector)
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
    backbone: MilBackbone,
    preprocessing: Preprocessing,
    source: BoxedSource,
    rows: pd.DataFrame,
    device: torch.device,
    batch_size: int | None = None,
    num_workers: int = 0,
    truth: str = "boxes",
) -> ScoredMaps:
    """Logits and maps of rows of the slice index, with their boxes (`grid_boxes`). Raises DataError
    for no rows,
    MapError for a broken map. batch_size: None is `BATCH_SIZES` of the device."""
    dataset = SliceDataset(source, rows, ["any"], preprocessing)
    batches = OrderedBatches(len(dataset), batch_size or BATCH_SIZES.get(device.type, BATCH_SIZE))
    loader = SliceLoader(dataset, batches, device, num_workers=num_workers, channels_last=True)
    model = fused(backbone.model).to(device, memory_format=torch.channels_last)
    parts = [
        run_network(model, inputs)
        for inputs, _ in tqdm(loader, "likelihood maps", unit="batch", mininterval=5, leave=False)
    ]
    loader.close()
    logits, cells = (np.concatenate(part) for part in zip(*parts))
    boxes, labels = grid_boxes(source, rows, preprocessing.size, truth)
    return ScoredMaps(rows.reset_index(drop=True), logits, cells, preprocessing.size, boxes, labels)


def grid_boxes(
    source: BoxedSource, rows: pd.DataFrame, side: int, truth: str = "boxes"
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes of every row on a grid of `side` pixels, rounded as the code does, and their labels.

    truth: `boxes` of the data set, or `mask_components`, tight boxes of the parts of its masks, for
    data sets without boxes. Raises StudyError for slices whose truth is unknown: they would count
    as free of hemorrhage.
    """
    if truth not in TRUTHS:
        raise ParameterError(f"truth is {truth!r}; expected one of {', '.join(TRUTHS)}")
    unknown = rows[~rows["has_boxes" if truth == "boxes" else "has_mask"].astype(bool)]
    if len(unknown):
        first = unknown.iloc[0]
        where = f"{len(unknown)} slices, first {first.scan_id} slice {first.slice_index}"
        raise StudyError(f"the {truth} are unknown in {where}; leave those out")
    known = dict(list(source.boxes.groupby(["scan_id", "slice_index"]))) if truth == "boxes" else {}
    none = np.empty((0, 4)), np.empty(0, str)
    found: list[np.ndarray] = []
    names: list[np.ndarray] = []
    for row in rows.itertuples():
        part = known.get((row.scan_id, row.slice_index))
        if truth == "mask_components":
            boxes, labels = _mask_boxes(source.mask(row.scan_id)[row.slice_index])
        else:
            boxes, labels = (
                none
                if part is None
                else (part[list(SIDES)].to_numpy(np.float64), part["label"].to_numpy(str))
            )
        factor = np.tile([side / row.columns, side / row.rows], 2)
        found.append(boxes_on_grid(boxes * factor, 1.0))
        names.append(labels)
    return found, names


def _mask_boxes(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) of the connected parts of a slice's mask codes, and the subtype of most of each
    box's lesion."""
    boxes = component_boxes(mask > 0, min_pixels=SMALLEST_COMPONENT)
    codes = [
        np.bincount(mask[y : y + height, x : x + width].ravel(), minlength=7)[1:].argmax()
        for x, y, width, height in boxes
    ]
    return boxes.astype(np.float64), np.array([(*SUBTYPES, "any")[code] for code in codes], str)


class MilPipeline:
    """HU of slices of any size to points on them, in batches."""

    def __init__(
        self,
        model: MilNetwork,
        preprocessing: Preprocessing,
        detector: Detector,
        device: torch.device = torch.device("cpu"),  # noqa: B008
        batch_size: int | None = None,
    ) -> None:
        """`model` has its weights; a copy of it, folded for speed, is kept on `device`. batch_size:
        None is `BATCH_SIZES` of the device."""
        self._model = fused(model).to(device, memory_format=torch.channels_last)
        self._preprocessing, self._detector, self._device = preprocessing, detector, device
        self._batch_size = batch_size or BATCH_SIZES.get(device.type, BATCH_SIZE)

    def __call__(self, hu: np.ndarray) -> tuple[np.ndarray, list[Peaks]]:
        """int16 HU (N, rows, columns) to logits (N,) and peaks on the network's grid (`Peaks` of
        (row, column))."""
        if hu.ndim != 3 or hu.dtype != np.int16 or not len(hu):
            raise DataError(
                f"slices are {hu.dtype} {hu.shape}; expected int16 HU (slices, rows, columns), at"
                " least one slice"
            )
        logits: list[np.ndarray] = []
        peaks: list[Peaks] = []
        for start in range(0, len(hu), self._batch_size):
            resized = self._preprocessing.resized(
                torch.from_numpy(np.array(hu[start : start + self._batch_size]))
            )
            inputs = self._preprocessing.inputs(resized[:, None].to(self._device)).contiguous(
                memory_format=torch.channels_last
            )
            batch_logits, cells = run_network(self._model, inputs)
            logits.append(batch_logits)
            peaks += [
                find_peaks(likelihood, self._detector)
                for likelihood in upsampled(cells, self._preprocessing.size)
            ]
        return np.concatenate(logits), peaks

    def on_slice(self, points: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Points (n, 2) of the network's grid on slices of `shape` (rows, columns): centres of
        pixels, float64."""
        return (points + 0.5) * np.array(shape) / self._preprocessing.size - 0.5


def published_networks(
    weights: dict[str, dict[str, str | None]], root: Path
) -> dict[str, tuple[MilBackbone, Preprocessing]]:
    """The published networks named in a parameter: head -> {"path": file, "sha256": hash or None},
    relative to `root`.

    Raises WeightsError as `load_published` does, and for entries other than these.
    """
    found = {}
    for head, entry in weights.items():
        if not set(entry) <= {"path", "sha256"} or not entry.get("path"):
            raise WeightsError(
                f"published weights of {head}: {sorted(entry)}; expected path and, if known, sha256"
            )
        found[head] = (
            load_published(root / str(entry["path"]), head, entry.get("sha256")),
            published_preprocessing(),
        )
    return found
