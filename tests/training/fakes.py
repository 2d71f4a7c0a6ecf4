"""An in-memory store of noisy discs, some with a bright blob: enough to learn, quick to train
on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ich_study.models.backbones import Backbone, create_backbone
from ich_study.schema import INDEX_COLUMNS, SUBTYPES, typed
from ich_study.training.config import TrainingConfig

SLICES, SIDE = 8, 48


@dataclass
class FakeStore:
    index: pd.DataFrame
    volumes: dict[str, np.ndarray]
    content_hash: str

    def volume(self, scan_id):
        return self.volumes[scan_id]


def fake_store(patients=24, seed=0, side=SIDE, dataset="fake"):
    """Every second slice on average is positive; subtypes are placed left or right, IPH and SDH
    only."""
    rng = np.random.default_rng(seed)
    rows, volumes = [], {}
    rr, cc = np.mgrid[:side, :side]
    disc = np.hypot(rr - side / 2 + 0.5, cc - side / 2 + 0.5) < side * 0.42
    for patient in range(patients):
        scan = f"{dataset}-scan{patient:03d}"
        volume = np.where(disc, 30, -1000) + rng.normal(0, 8, (SLICES, side, side))
        for number in range(SLICES):
            positive = bool(rng.random() < 0.5)
            subtype = rng.choice(["IPH", "SDH"]) if positive else None
            if positive:
                centre = (
                    side * (0.35 + 0.3 * rng.random()),
                    side * (0.3 if subtype == "IPH" else 0.7),
                )
                volume[number][np.hypot(rr - centre[0], cc - centre[1]) < side * 0.09] += 35
            labels = {"any": positive, **{name: name == subtype for name in SUBTYPES}}
            rows.append(
                {
                    "dataset": dataset,
                    "patient_id": f"p{patient:03d}",
                    "scan_id": scan,
                    "slice_index": number,
                    "z_mm": 5.0 * number,
                    "shift_x_mm": 0.0,
                    "shift_y_mm": 0.0,
                    "spacing_x_mm": 0.5,
                    "spacing_y_mm": 0.5,
                    "thickness_mm": 5.0,
                    "rows": side,
                    "columns": side,
                    **labels,
                    "has_mask": False,
                    "has_boxes": False,
                    "source": f"{scan}.nii",
                }
            )
        volumes[scan] = volume.round().astype(np.int16)
    return FakeStore(
        typed(pd.DataFrame(rows), INDEX_COLUMNS, "index"), volumes, f"hash-{patients}-{seed}-{side}"
    )


def parts(store, train=16):
    """Training and validation rows, disjoint by patient."""
    patients = sorted(store.index["patient_id"].unique())
    chosen = store.index["patient_id"].isin(patients[:train])
    return store.index[chosen], store.index[~chosen]


def config(**changes):
    settings = {
        "classes": ("any",),
        "size": 32,
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "monitor": "auroc",
        "seed": 3,
        **changes,
    }
    return TrainingConfig(**settings)


def network(settings: TrainingConfig, seed=0) -> Backbone:
    options = {"channel_multiplier": 0.25, "depth_multiplier": 0.2, "drop_rate": 0.2}
    return create_backbone(
        "tf_efficientnetv2_b0", settings.outputs, settings.in_channels, options=options, seed=seed
    )
