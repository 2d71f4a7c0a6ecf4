"""Slices, truth and maps of the CAM benchmark made by hand, and a small trained run in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pandas as pd

from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.rows import Rows
from ich_study.evaluate.truth import PackedMasks, Truth
from ich_study.methods.cams.rows import score_rows
from ich_study.methods.cams.scores import score_all
from ich_study.metrics.boxes import component_boxes
from ich_study.models.weights import save_weights
from ich_study.schema import UNSPECIFIED_HEMORRHAGE, result_table
from tests.training.fakes import SIDE, config, fake_store, network


def truth_part(patients=4, per_patient=6, size=24, seed=0, prefix="p"):
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
    return Truth(
        rows,
        "masks",
        size,
        np.full(masks.shape, 30, np.int16),
        masks * np.uint8(UNSPECIFIED_HEMORRHAGE),
        PackedMasks.of(np.ones_like(masks)),
        [np.zeros((0, 4))] * count,
        np.full(count, 0.005),
        np.full(count, 0.01),
    )


def without_truth(part):
    """The same slices, none with a lesion."""
    return replace(part, codes=np.zeros_like(part.codes))


def heat_of(maps, method="m", layer="-1", variant="raw"):
    """Maps (slices, size, size) as heat."""
    return ArrayHeat(method, variant, layer, ("any",), np.asarray(maps, np.float32)[:, None])


def levels(part, lesion, elsewhere, without_lesion=None):
    """Maps of one value inside the lesions and one elsewhere; slices without a lesion may have
    their own."""
    truth = part.mask()
    maps = np.where(truth, lesion, elsewhere).astype(np.float32)
    if without_lesion is not None:
        maps[~truth.any((1, 2))] = without_lesion
    return maps


def noisy(part, noise, seed):
    """Maps that are the truth under uniform noise of the height `noise`, in [0, 1]."""
    truth = part.mask().astype(np.float32)
    added = np.random.default_rng(seed).uniform(0, noise, truth.shape).astype(np.float32)
    return (truth + added) / (1 + noise)


def scored(parts, *maps, **options):
    """Scores of methods given as (validation maps, test maps, name, layer, variant)."""
    heats = [[heat_of(each[part], *each[2:]) for each in maps] for part in (0, 1)]
    return score_all(*heats, parts, **options)


STUDY = ("06_cam_benchmark", "hemorica/test")
BENCHMARK_VALIDATION = truth_part(seed=1, prefix="v")
BENCHMARK_TEST = truth_part(6, seed=2, prefix="t")


@cache
def benchmark():
    """Scores and result table of a small benchmark: HiResCAM [-1] is the truth, the others are
    noisier, the random map knows nothing."""
    parts = BENCHMARK_VALIDATION, BENCHMARK_TEST
    methods = [
        (0.0, 0, "hires_cam", "-1"),
        (0.7, 4, "hires_cam", "-3"),
        (5.0, 5, "ablation_cam", "-3"),
        (0.7, 6, "hires_cam", "-3", "printed"),
        (0.7, 6, "hires_cam", "-3", "library"),
        (0.2, 7, "ablation_cam", "-3", "library"),
        (50.0, 0, "random_map", None),
    ]
    scores = scored(
        parts,
        *[
            (*(noisy(part, noise, seed + number) for number, part in enumerate(parts)), *named)
            for noise, seed, *named in methods
        ],
    )
    return scores, result_table(score_rows(scores, BENCHMARK_TEST, Rows(*STUDY, 100)))


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
