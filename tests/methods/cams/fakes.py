"""Slices, truth and maps of the CAM benchmark made by hand, and a small trained run in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd

from ich_study.methods.cams.rows import score_rows
from ich_study.methods.cams.scores import MapSeries, scaled_grid, score_all
from ich_study.methods.cams.truth_masks import PackedMasks, TruthMasks
from ich_study.metrics.boxes import component_boxes
from ich_study.models.weights import save_weights
from ich_study.schema import result_table
from tests.training.fakes import SIDE, config, fake_store, network


def truth_part(patients=4, per_patient=6, size=24, seed=0, prefix="p", boxes=True):
    """Every second slice holds one square lesion; brains are whole slices, pixels 0.01 cm2."""
    rng = np.random.default_rng(seed)
    count = patients * per_patient
    masks = np.zeros((count, size, size), bool)
    for mask in masks[::2]:
        row, column = rng.integers(2, size - 8, 2)
        mask[row : row + 5, column : column + 4] = True
    rows = pd.DataFrame(
        {
            "patient_id": np.repeat([f"{prefix}{n}" for n in range(patients)], per_patient),
            "scan_id": np.repeat([f"{prefix}{n}-scan" for n in range(patients)], per_patient),
            "slice_index": np.tile(range(per_patient), patients),
            "any": pd.array(masks.any((1, 2)), dtype="boolean"),
        }
    )
    brain = PackedMasks.of(np.ones_like(masks))
    found = [component_boxes(mask) for mask in masks] if boxes else [np.zeros((0, 4))] * count
    return TruthMasks(
        rows, PackedMasks.of(masks), brain, PackedMasks.of(masks), found, np.full(count, 0.01), size
    )


def perfect_series(
    validation, test, method="perfect", layer="-1", noise=0.0, variant="raw", seed=0
):
    """Maps that are the truth, blurred by uniform noise of the height `noise`."""

    def reader(part, part_seed):
        maps = part.truth[slice(None)].astype(np.float32)
        maps = (
            maps + np.random.default_rng(part_seed).uniform(0, noise, maps.shape).astype(np.float32)
            if noise
            else maps
        )
        return lambda places: maps[places] / (1 + noise)

    return MapSeries(
        method, layer, variant, reader(validation, seed), reader(test, seed + 1), scaled_grid()
    )


def levels(part, lesion, elsewhere, without_lesion=None):
    """Maps of one value inside the lesions and one elsewhere; slices without a lesion may have
    their own."""
    truth = part.truth[slice(None)]
    maps = np.where(truth, lesion, elsewhere).astype(np.float32)
    if without_lesion is not None:
        maps[~truth.any((1, 2))] = without_lesion
    return maps


def series_of(validation_maps, test_maps, method="m", layer="-1", variant="raw"):
    """Maps of the two parts, in memory."""
    return MapSeries(
        method,
        layer,
        variant,
        lambda places: validation_maps[places],
        lambda places: test_maps[places],
        scaled_grid(),
    )


COMMON = {"study": "06_cam_benchmark", "dataset": "hemorica/test", "class": "any"}
BENCHMARK_VALIDATION = truth_part(seed=1, prefix="v")
BENCHMARK_TEST = truth_part(6, seed=2, prefix="t")


@cache
def benchmark():
    """Scores and result table of a small benchmark: HiResCAM [-1] is the truth, the others are
    noisier, the random map knows nothing."""
    parts = BENCHMARK_VALIDATION, BENCHMARK_TEST
    series = [
        perfect_series(*parts, "hires_cam", "-1"),
        perfect_series(*parts, "hires_cam", "-3", 0.7, seed=4),
        perfect_series(*parts, "ablation_cam", "-3", 5.0, seed=5),
        perfect_series(*parts, "hires_cam", "-3", 0.7, "printed", 6),
        perfect_series(*parts, "ablation_cam", "-3", 0.2, "library", 7),
        perfect_series(*parts, "random_map", "", 50.0),
    ]
    scores = score_all(series, *parts)
    return scores, result_table(score_rows(scores, BENCHMARK_TEST, COMMON, replicates=100))


@dataclass
class MaskedStore:
    """`fake_store` whose bright blobs have masks and boxes."""

    base: object
    dataset: str = "fake"
    boxes: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __post_init__(self):
        self.index = self.base.index.assign(has_mask=True, has_boxes=True)
        self.content_hash = self.base.content_hash
        rows = []
        for row in self.index[self.index["any"]].itertuples():
            for x, y, width, height in component_boxes(self._blob(row.scan_id)[row.slice_index]):
                rows.append(
                    (
                        row.scan_id,
                        row.slice_index,
                        float(x),
                        float(y),
                        float(width),
                        float(height),
                        "any",
                    )
                )
        self.boxes = pd.DataFrame(
            rows, columns=["scan_id", "slice_index", "x", "y", "width", "height", "label"]
        )

    def _blob(self, scan_id):
        labels = self.index.loc[self.index["scan_id"] == scan_id, "any"].to_numpy(bool)
        return (self.base.volumes[scan_id] > 55) & labels[:, None, None]

    def volume(self, scan_id):
        return self.base.volumes[scan_id]

    def mask(self, scan_id):
        return self._blob(scan_id).astype(np.uint8)


def masked_store(patients=6, side=SIDE):
    return MaskedStore(fake_store(patients, side=side))


def write_run(folder, classes=("any",), two_outputs=False, **changes):
    """An untrained small EfficientNetV2 with a checkpoint as 01_backbones writes it; its settings
    and backbone."""
    settings = config(classes=classes, **{"size": 64, "normalisation": "half", **changes})
    backbone = network(settings, changes.get("seed", 0))
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(
        folder / "weights.safetensors",
        backbone.model,
        {
            "architecture": backbone.describe(),
            "preprocessing": settings.preprocessing().describe(),
            "classes": list(classes),
            "two_outputs": two_outputs,
            "training": settings.describe(),
        },
    )
    return settings, backbone
