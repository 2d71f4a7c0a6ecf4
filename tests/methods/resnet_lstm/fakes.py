"""An in-memory store of heads with a skull, some slices with a bright lesion, and masks: enough to
learn, quick to train on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ich_study.schema import BOX_COLUMNS, INDEX_COLUMNS, SUBTYPES, UNSPECIFIED_HEMORRHAGE, typed

SIDE = 48


@dataclass
class FakeHeads:
    index: pd.DataFrame
    volumes: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    content_hash: str = "fake-heads"
    dataset: str = "fake"
    boxes: pd.DataFrame = field(
        default_factory=lambda: typed(pd.DataFrame(columns=list(BOX_COLUMNS)), BOX_COLUMNS, "boxes")
    )

    def volume(self, scan_id):
        return self.volumes[scan_id]

    def mask(self, scan_id):
        return self.masks[scan_id]


def fake_heads(patients=18, seed=0, slices=(7, 10), lesion_hu=80, masks=True):
    """Each scan has a lesion over three or four neighbouring slices, away from the centre; it
    stands out from 30 +- 6 HU."""
    rng = np.random.default_rng(seed)
    rows, volumes, truths = [], {}, {}
    rr, cc = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(rr - SIDE / 2 + 0.5, cc - SIDE / 2 + 0.5)
    for patient in range(patients):
        scan, depth = f"scan{patient:03d}", int(rng.integers(*slices))
        head = np.where(radius < SIDE * 0.38, 30.0, np.where(radius < SIDE * 0.44, 1000.0, -1000.0))
        volume = head + rng.normal(0, 6, (depth, SIDE, SIDE))
        mask = np.zeros(volume.shape, np.uint8)
        start, length = int(rng.integers(0, depth - 3)), int(rng.integers(3, 5))
        angle = rng.uniform(0, 2 * np.pi)
        centre = SIDE / 2 + rng.uniform(0.17, 0.23) * SIDE * np.array(
            [np.sin(angle), np.cos(angle)]
        )
        lesion = np.hypot(rr - centre[0], cc - centre[1]) < SIDE * rng.uniform(0.09, 0.12)
        mask[start : start + length, lesion] = UNSPECIFIED_HEMORRHAGE
        volume[mask > 0] += lesion_hu - 30
        volumes[scan], truths[scan] = volume.round().astype(np.int16), mask
        for number in range(depth):
            rows.append(
                {
                    "dataset": "fake",
                    "patient_id": f"p{patient:03d}",
                    "scan_id": scan,
                    "slice_index": number,
                    "z_mm": 5.0 * number,
                    "shift_x_mm": 0.0,
                    "shift_y_mm": 0.0,
                    "spacing_x_mm": 2.0,
                    "spacing_y_mm": 2.0,
                    "thickness_mm": 5.0,
                    "rows": SIDE,
                    "columns": SIDE,
                    "any": bool(mask[number].any()),
                    **dict.fromkeys(SUBTYPES),
                    "has_mask": masks,
                    "has_boxes": False,
                    "source": scan,
                }
            )
    return FakeHeads(typed(pd.DataFrame(rows), INDEX_COLUMNS, "index"), volumes, truths)


def fake_split(store, train=0.6, validation=0.2):
    """Parts by patient, in order."""
    patients = sorted(store.index["patient_id"].unique())
    places = np.arange(len(patients)) / len(patients)
    part = np.where(
        places < train, "train", np.where(places < train + validation, "validation", "test")
    )
    return pd.DataFrame({"dataset": "fake", "patient_id": patients, "part": part}).astype("string")
