"""Slices with known maps and boxes, and a store of bright blobs in noise with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ich_study.methods.mil.pipeline import ScoredMaps
from ich_study.schema import BOX_COLUMNS, INDEX_COLUMNS, SUBTYPES, typed

SIDE, SLICES = 48, 8


def index_row(
    patient: str, number: int, positive: bool, side: int = SIDE, subtype: str = "IPH"
) -> dict:
    return {
        "dataset": "fake",
        "patient_id": patient,
        "scan_id": f"scan-{patient}",
        "slice_index": number,
        "z_mm": 5.0 * number,
        "shift_x_mm": 0.0,
        "shift_y_mm": 0.0,
        "spacing_x_mm": 4.0,
        "spacing_y_mm": 4.0,
        "thickness_mm": 5.0,
        "rows": side,
        "columns": side,
        "any": positive,
        **{name: positive and name == subtype for name in SUBTYPES},
        "has_mask": True,
        "has_boxes": True,
        "source": "fake",
    }


@dataclass
class BlobStore:
    index: pd.DataFrame
    boxes: pd.DataFrame
    volumes: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    content_hash: str = "blobs"

    def volume(self, scan_id):
        return self.volumes[scan_id]

    def mask(self, scan_id):
        return self.masks[scan_id]

    def slice(self, scan_id, slice_index):
        return self.volumes[scan_id][slice_index]


def blob_store(patients: int = 20, seed: int = 0) -> BlobStore:
    """Discs of brain in air, about half of the slices with a bright blob of 9 pixels and its
    box."""
    rng = np.random.default_rng(seed)
    rr, cc = np.mgrid[:SIDE, :SIDE]
    brain = np.hypot(rr - SIDE / 2, cc - SIDE / 2) < 0.44 * SIDE
    rows, boxes, volumes, masks = [], [], {}, {}
    for number in range(patients):
        patient = f"p{number:02d}"
        volume = np.where(brain, 30, -1000) + rng.normal(0, 4, (SLICES, SIDE, SIDE))
        mask = np.zeros((SLICES, SIDE, SIDE), np.uint8)
        for place in range(SLICES):
            positive, subtype = bool(rng.random() < 0.5), str(rng.choice(["IPH", "SAH"]))
            if positive:
                row, column = rng.integers(13, SIDE - 13, 2)
                blob = np.hypot(rr - row, cc - column) < 4.5
                volume[place][blob] += 35
                mask[place][blob] = SUBTYPES.index(subtype) + 1
                boxes.append(
                    {
                        "scan_id": f"scan-{patient}",
                        "slice_index": place,
                        "x": column - 4,
                        "y": row - 4,
                        "width": 9,
                        "height": 9,
                        "label": subtype,
                    }
                )
            rows.append(index_row(patient, place, positive, subtype=subtype))
        volumes[f"scan-{patient}"], masks[f"scan-{patient}"] = volume.round().astype(np.int16), mask
    return BlobStore(
        typed(pd.DataFrame(rows), INDEX_COLUMNS, "index"),
        typed(pd.DataFrame(boxes), BOX_COLUMNS, "boxes"),
        volumes,
        masks,
    )


def scored_maps(patients: int = 6, seed: int = 0, cells: int = 8, side: int = 32) -> ScoredMaps:
    """Maps of noise in which most boxes stand over a raised cell."""
    rng = np.random.default_rng(seed)
    rows, boxes, labels, maps, logits = [], [], [], [], []
    for number in range(patients):
        for place in range(6):
            values, positive = rng.normal(0, 0.3, (cells, cells)), place % 2 == 0
            found = []
            for _ in range(int(rng.integers(1, 3)) if positive else 0):
                row, column = rng.integers(1, cells - 1, 2)
                values[row, column] += 2 * (rng.random() < 0.8)
                found.append(
                    [column * side / cells, row * side / cells, side / cells, side / cells]
                )
            maps.append(values)
            boxes.append(np.array(found, np.float64).reshape(-1, 4))
            labels.append(np.array(["IPH", "SDH"][: len(found)], str))
            logits.append(values.max() - 1)
            rows.append(index_row(f"p{number}", place, positive, side))
    return ScoredMaps(
        typed(pd.DataFrame(rows), INDEX_COLUMNS, "index"),
        np.array(logits),
        np.array(maps, np.float32),
        side,
        boxes,
        labels,
    )


@dataclass(frozen=True)
class Spikes:
    """One slice of zeros with single pixels of some height: spikes (row, column, height) and boxes
    (x, y, width, height)."""

    patient: str
    spikes: Sequence[tuple[int, int, float]] = ()
    boxes: Sequence[tuple[float, float, float, float]] = ()
    logit: float = 1.0
    positive: bool = True
    scan: str | None = None


def spiked_maps(slices: Sequence[Spikes], side: int = 12) -> ScoredMaps:
    """Slices whose maps are known to the last bit: the network's grid is the input's."""
    rows, maps = [], np.zeros((len(slices), side, side), np.float32)
    for number, each in enumerate(slices):
        for row, column, height in each.spikes:
            maps[number, row, column] = height
        row = index_row(each.patient, number, each.positive, side)
        rows.append({**row, "scan_id": each.scan or row["scan_id"]})
    return ScoredMaps(
        typed(pd.DataFrame(rows), INDEX_COLUMNS, "index"),
        np.array([each.logit for each in slices]),
        maps,
        side,
        [np.array(each.boxes, np.float64).reshape(-1, 4) for each in slices],
        [np.array(["IPH"] * len(each.boxes), str) for each in slices],
    )


def skull_store(slices: int = 4) -> BlobStore:
    """One patient `p00`: a disc of brain in a ring of bone, nothing in it."""
    rr, cc = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(rr - SIDE / 2, cc - SIDE / 2)
    one = np.where(radius < 18, 30, np.where(radius < 21, 1000, -1000))
    volume = np.repeat(one[None], slices, 0).astype(np.int16)
    rows = [index_row("p00", number, False) for number in range(slices)]
    return BlobStore(
        typed(pd.DataFrame(rows), INDEX_COLUMNS, "index"),
        typed(pd.DataFrame([], columns=list(BOX_COLUMNS)), BOX_COLUMNS, "boxes"),
        {"scan-p00": volume},
        {"scan-p00": np.zeros_like(volume, np.uint8)},
    )
