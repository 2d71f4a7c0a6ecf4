"""A store of three scans with a square of blood, and methods that see it, see it not, or half."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe
from ich_study.evaluate.truth import PackedMasks, Truth
from ich_study.inputs.preprocessing import Preprocessing
from ich_study.schema import LABELS

SIDE, SLICES = 32, 6
BLOOD = 70


class SquareStore:
    """Scans of 32 px: brain of 30 HU, in slices 2 and 3 a square of blood, but for the last."""

    dataset = "squares"

    def __init__(self, scans: int = 5) -> None:
        self.volumes, self.masks = {}, {}
        for number in range(scans):
            hu = np.full((SLICES, SIDE, SIDE), 30, np.int16)
            mask = np.zeros(hu.shape, bool)
            if number < scans - 1:
                top = 6 + 2 * number
                mask[2:4, top : top + 8, 10:18] = True
            hu[mask] = BLOOD
            self.volumes[f"scan{number}"], self.masks[f"scan{number}"] = hu, mask

    def volume(self, scan_id: str) -> np.ndarray:
        return self.volumes[scan_id]

    def truth(self) -> Truth:
        parts = []
        for number, (scan, mask) in enumerate(self.masks.items()):
            labels = {name: mask.any((1, 2)) for name in ("any", "IPH")}
            part = pd.DataFrame({"slice_index": range(SLICES), **labels})
            parts.append(part.assign(patient_id=f"p{number}", scan_id=scan, dataset="squares"))
        rows = pd.concat(parts, ignore_index=True)
        rows = rows.assign(spacing_y_mm=0.5, spacing_x_mm=0.5)
        for name in LABELS:
            rows[name] = pd.array(rows.get(name, [False] * len(rows)), "boolean")
        hu = np.concatenate(list(self.volumes.values()))
        codes = np.concatenate(list(self.masks.values())).astype(np.uint8)
        brain = PackedMasks.of(np.ones(hu.shape, bool))
        ml = np.full(len(rows), 0.5 * 0.5 * 5 / 1000)
        boxes = [np.zeros((0, 4)) for _ in range(len(rows))]
        return Truth(rows, "masks", SIDE, hu, codes, brain, boxes, ml, ml)


def method(what: str, size: int = SIDE, crop: str = "none", gate: float = 0.5) -> ScanMethod:
    """A method whose heat is brightness ("bright"), or the same everywhere ("flat"), or as high in
    a corner of every slice without blood ("scaled", as heat that is scaled slice by slice)."""
    recipe = ScanRecipe("toy", what, "printed", ("any",), (0.5,), (gate,), "labels")
    grid = Preprocessing(("brain",), "fixed", 1, size, crop, (0.0,), (1.0,))

    def say(scan: OneScan) -> Said:
        seen = grid.resized(torch.from_numpy(scan.hu), clipped=False).numpy()
        heat = ((seen - 30) / (BLOOD - 30)).astype(np.float32)
        if what == "flat":
            heat = np.full_like(heat, 0.7)
        probability = heat.max((1, 2)).astype(np.float64).clip(0, 1)[:, None]
        if what == "scaled":
            heat[heat.max((1, 2)) == 0, :8, :8] = 1
        heat = ArrayHeat(what, "printed", None, ("any",), heat[:, None])
        return Said.of_probability(heat, probability)

    return ScanMethod(recipe, what * 16, grid, say)
