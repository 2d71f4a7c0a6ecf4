"""The truth of a part in little memory: masks, brains and blood-dense pixels as bits on the
network's grid.

A slice of 512 x 512 takes 100 kB here against 1.5 MB unpacked, so that a whole test part stays in
memory while heatmaps are scored a few slices at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from ich_study.errors import DataError, ParameterError
from ich_study.evaluate.rivals import centred_blob_maps, hu_threshold_maps, random_maps
from ich_study.evaluate.scored_slices import ScoredSlices, read_scored_slices
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.metrics.boxes import component_boxes
from ich_study.schema import SUBTYPES
from ich_study.store.read import Store

TRUTHS = ("masks", "boxes")
_PIXEL = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


@dataclass(frozen=True)
class PackedMasks:
    """Masks (slices, size, size) as bits; indexing gives bool masks again."""

    bits: np.ndarray = field(repr=False)
    size: int

    @classmethod
    def of(cls, masks: np.ndarray) -> PackedMasks:
        """Packs bool (slices, size, size)."""
        return cls(np.packbits(masks.reshape(len(masks), -1), axis=1), masks.shape[-1])

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, places: slice | np.ndarray) -> np.ndarray:
        bits = self.bits[places]
        return (
            np.unpackbits(bits, axis=1, count=self.size**2)
            .astype(bool)
            .reshape(len(bits), self.size, self.size)
        )


@dataclass(frozen=True)
class TruthMasks:
    """rows: a row per slice of the index, grouped by scan. truth: masks of the class, or its boxes
    filled. brain: None where not asked for. blood: the rival `hu_threshold`, None without brain.
    boxes: of each slice, (n, 4) of x, y, width, height. pixel_cm2: area
    of a pixel of the grid, (slices,), NaN where the spacing is unknown. size: of the grid."""

    rows: pd.DataFrame
    truth: PackedMasks
    brain: PackedMasks | None
    blood: PackedMasks | None
    boxes: list[np.ndarray] = field(repr=False)
    pixel_cm2: np.ndarray = field(repr=False)
    size: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positive(self) -> np.ndarray:
        """Slices with truth, bool (slices,)."""
        return self.truth.bits.any(1)

    @property
    def healthy(self) -> np.ndarray:
        """Slices known to hold no hemorrhage at all, bool (slices,)."""
        known_negative = (~self.rows["any"].astype("boolean")).fillna(False)
        return known_negative.to_numpy(bool) & ~self.positive

    def rival(self, name: str, smoothness_px: float, seed: int) -> Callable[[slice], np.ndarray]:
        """Reader of a trivial rival's maps, float32 (n, size, size) in [0, 1]. The n-th random map
        depends on seed and n."""
        if self.brain is None or self.blood is None:
            raise DataError("trivial rivals need the brain mask; read the truth with brain=True")
        brain, blood, shape = self.brain, self.blood, (self.size, self.size)
        readers = {
            "hu_threshold": lambda places: blood[places].astype(np.float32),
            "centred_blob": lambda places: centred_blob_maps(brain[places]),
            "random_map": lambda places: np.concatenate(
                [
                    random_maps(
                        1, shape, smoothness_px, seed * len(self) + place, brain[place : place + 1]
                    )
                    for place in range(*places.indices(len(self)))
                ]
            ),
        }
        if name not in readers:
            raise ParameterError(f"no trivial rival {name!r}; there are {', '.join(readers)}")
        return readers[name]


def read_truth(
    store: Store,
    rows: pd.DataFrame,
    preprocessing: Preprocessing,
    class_name: str = "any",
    truth: str = "masks",
    brain: bool = True,
) -> TruthMasks:
    """Truth of `rows`, sorted by scan and slice, on the grid of `preprocessing`; one scan is
    unpacked at a time.

    truth: "masks", or "boxes" (filled boxes stand for masks: what data sets without masks can say).
    Raises DataError for no rows, rows without the truth asked for, and ParameterError for another
    kind.
    """
    if truth not in TRUTHS:
        raise ParameterError(f"truth={truth!r}; expected one of {TRUTHS}")
    if rows.empty:
        raise DataError("no slices to score: the part is empty")
    known = "has_mask" if truth == "masks" else "has_boxes"
    if not rows[known].all():
        missing = rows.loc[~rows[known], "scan_id"].drop_duplicates().tolist()
        raise DataError(
            f"{int((~rows[known]).sum())} slices of {len(missing)} scans have no {truth}, first"
            f" {missing[0]}; set the parameter truth, or choose a data set with {truth}"
        )
    rows = rows.sort_values(["scan_id", "slice_index"], kind="stable").reset_index(drop=True)
    parts = []
    for _, scan in rows.groupby("scan_id", sort=False):
        read = read_scored_slices(
            store,
            scan,
            preprocessing,
            brain=brain,
            masks=truth == "masks",
            boxes=truth == "boxes",
            progress=False,
        )
        parts.append(_packed(read, preprocessing, class_name, truth, brain))
    masks, brains, bloods, boxes, areas = zip(*parts)
    stacked = [
        (
            PackedMasks(np.concatenate([part.bits for part in packed]), preprocessing.size)
            if packed[0] is not None
            else None
        )
        for packed in (masks, brains, bloods)
    ]
    every_box = [box for part in boxes for box in part]
    return TruthMasks(rows, *stacked, every_box, np.concatenate(areas), preprocessing.size)


def _packed(
    read: ScoredSlices, preprocessing: Preprocessing, class_name: str, truth: str, brain: bool
) -> tuple:
    masks = read.truth(class_name) if truth == "masks" else read.box_masks()
    boxes = [component_boxes(mask) for mask in masks] if truth == "masks" else read.boxes
    in_brain = PackedMasks.of(read.brain) if brain else None
    blood = PackedMasks.of(hu_threshold_maps(read.hu, read.brain) > 0) if brain else None
    grid = [
        preprocessing.on_grid(_PIXEL, int(row.rows), int(row.columns))[0, 2:].prod().item()
        for row in read.rows.itertuples()
    ]
    areas = (
        read.rows[["spacing_x_mm", "spacing_y_mm"]].to_numpy(np.float64).prod(1)
        / 100
        / np.array(grid)
    )
    return PackedMasks.of(masks), in_brain, blood, boxes, areas


def choose_slices(
    rows: pd.DataFrame, label: str, max_positives: int | None, max_negatives: int | None
) -> pd.DataFrame:
    """Rows whose `label` is known: positives and negatives, each thinned evenly along scans and
    slices where there are more.

    None takes all. Raises DataError where none is positive: nothing could be localised.
    """
    known = rows[rows[label].notna()].sort_values(["scan_id", "slice_index"], kind="stable")
    positive = known[label].astype(bool)
    if not positive.any():
        raise DataError(
            f"no slice of {len(rows)} is positive for {label!r}; localisation needs positives:"
            " choose another part or class"
        )
    chosen = [_thinned(known[positive], max_positives), _thinned(known[~positive], max_negatives)]
    return (
        pd.concat(chosen)
        .sort_values(["scan_id", "slice_index"], kind="stable")
        .reset_index(drop=True)
    )


def _thinned(rows: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    if limit is None or len(rows) <= limit:
        return rows
    return (
        rows.iloc[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
        if limit > 0
        else rows.iloc[:0]
    )


def largest_lesions(part: TruthMasks, per_subtype: int) -> list[tuple[str, int]]:
    """Which slices to show: for each subtype the `per_subtype` slices of different patients with
    the largest truth, as (subtype, place); where no subtype is known, the same of any
    hemorrhage."""
    areas = np.unpackbits(part.truth.bits, axis=1).sum(1, dtype=np.int64)
    shown: list[tuple[str, int]] = []
    for name in (*SUBTYPES, "any"):
        if name == "any" and shown:
            break
        labelled = part.rows[name].astype("boolean").fillna(False).to_numpy(bool) & part.positive
        order = (
            part.rows[labelled]
            .assign(area=areas[labelled])
            .sort_values("area", ascending=False, kind="stable")
        )
        count = per_subtype * (len(SUBTYPES) if name == "any" else 1)
        shown += [(name, int(place)) for place in order.drop_duplicates("patient_id").index[:count]]
    return shown
