"""Slices with all that is known of them, on a network's grid: HU, masks, brain, boxes.

Heatmaps are scored where the network sees: mask, brain and boxes go through the same resizing and
crop as the input (nearest neighbour for masks; HGI-SAM's code does so too, printed_and_authors,
003.6).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ich_study.ct.brain_mask import BrainMaskRecipe, brain_mask
from ich_study.errors import DataError
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.metrics.boxes import fill_boxes
from ich_study.schema import MASK_CODES
from ich_study.store.read import Store


@dataclass(frozen=True)
class ScoredSlices:
    """rows: of the slice index. hu: int16 (N, S, S), not clipped. codes: uint8 (N, S, S) of mask
    codes,
    None where not asked for. brain: bool (N, S, S), None where not asked for. boxes: of each slice,
    float64 (n, 4) of x, y, width, height. pixel_ml: volume of a pixel of the grid, (N,), NaN where
    the scan's spacing is unknown."""

    rows: pd.DataFrame
    hu: np.ndarray = field(repr=False)
    codes: np.ndarray | None = field(repr=False)
    brain: np.ndarray | None = field(repr=False)
    boxes: list[np.ndarray] = field(repr=False)
    pixel_ml: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def truth(self, name: str = "any") -> np.ndarray:
        """Mask of one subtype, or of any hemorrhage, bool (N, S, S). DataError where masks were not
        read."""
        if self.codes is None:
            raise DataError("masks of these slices were not read; ask read_scored_slices for them")
        return self.codes > 0 if name == "any" else self.codes == MASK_CODES[name]

    def box_masks(self) -> np.ndarray:
        """Union of each slice's boxes, filled, bool (N, S, S)."""
        masks = [fill_boxes(boxes, self.hu.shape[1:]) for boxes in self.boxes]
        return np.stack(masks) if masks else np.zeros(self.hu.shape, bool)


def read_scored_slices(
    store: Store,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    brain: bool = True,
    masks: bool = True,
    boxes: bool = True,
    recipe: BrainMaskRecipe | None = None,
    progress: bool = True,
) -> ScoredSlices:
    """`rows` of the store's index, in their order, on the grid of `preprocessing`.

    The brain is found on the whole scan. Raises DataError for no rows, or masks asked of a scan
    that has none.
    """
    if rows.empty:
        raise DataError("no slices to score: the part is empty")
    rows = rows.reset_index(drop=True)
    shape = (len(rows), preprocessing.size, preprocessing.size)
    hu, codes, in_brain = (
        np.zeros(shape, np.int16),
        np.zeros(shape, np.uint8),
        np.zeros(shape, bool),
    )
    pixel_ml, on_grid = np.full(len(rows), np.nan), [np.zeros((0, 4)) for _ in range(len(rows))]
    groups = rows.groupby("scan_id", sort=False).groups.items()
    for scan_id, places in tqdm(
        groups,
        "reading scans with their truth",
        unit="scan",
        mininterval=5,
        leave=False,
        disable=not progress,
    ):
        indices, volume = (
            rows.loc[places, "slice_index"].to_numpy(),
            np.array(store.volume(scan_id)),
        )
        spacing, grid = (
            scan_spacing(store.index[store.index["scan_id"] == scan_id]),
            volume.shape[1:],
        )
        hu[places] = preprocessing.resized(torch.from_numpy(volume[indices]), clipped=False)
        if masks:
            codes[places] = preprocessing.resized_codes(
                torch.from_numpy(np.array(store.mask(scan_id)[indices]))
            )
        if brain:
            in_brain[places] = preprocessing.resized_codes(
                torch.from_numpy(brain_mask(volume, spacing, recipe)[indices])
            )
        if boxes:
            for place, native in zip(places, _boxes_of(store, scan_id, indices)):
                on_grid[place] = preprocessing.on_grid(torch.from_numpy(native), *grid).numpy()
        pixels_per_pixel = (
            preprocessing.on_grid(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), *grid)[0, 2:].prod().item()
        )
        pixel_ml[places] = np.prod(spacing) / 1000 / pixels_per_pixel
    return ScoredSlices(
        rows, hu, codes if masks else None, in_brain if brain else None, on_grid, pixel_ml
    )


def _boxes_of(store: Store, scan_id: str, indices: np.ndarray) -> list[np.ndarray]:
    boxes = store.boxes[store.boxes["scan_id"] == scan_id]
    return [
        boxes.loc[boxes["slice_index"] == index, ["x", "y", "width", "height"]].to_numpy(np.float64)
        for index in indices
    ]


def scan_spacing(scan: pd.DataFrame) -> tuple[float, float, float]:
    """(z, y, x) in mm of one scan's rows of the index: the median distance of its slices, their
    thickness where positions are unknown, NaN where neither is known."""
    steps = np.diff(np.sort(scan["z_mm"].to_numpy(np.float64)))
    known = steps[np.isfinite(steps) & (steps > 0)]
    z = float(np.median(known)) if len(known) else float(scan["thickness_mm"].iloc[0])
    return z, float(scan["spacing_y_mm"].iloc[0]), float(scan["spacing_x_mm"].iloc[0])


def batches(count: int, batch_size: int) -> Iterator[slice]:
    """Places of `count` slices, `batch_size` at a time."""
    return (slice(start, min(start + batch_size, count)) for start in range(0, count, batch_size))
