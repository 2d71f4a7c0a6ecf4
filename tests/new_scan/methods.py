"""A toy method: HU above 60 is heat; its room needs no weights."""

from __future__ import annotations

import numpy as np
import torch

from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.scan_methods import OneScan, Said, ScanMethod, ScanRecipe
from ich_study.inputs.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(("brain",), "fixed", 1, 64, "none", (0.0,), (1.0,))


def bright(name: str = "bright", classes: tuple[str, ...] = ("any",), size: int = 64) -> ScanMethod:
    """Heat is the HU over 100; a slice's probability is 1 where any pixel is in 60 to 80 HU."""
    count = len(classes)
    recipe = ScanRecipe("toy", name, "printed", classes, (0.6,) * count, (0.5,) * count, "none")
    preprocessing = Preprocessing(("brain",), "fixed", 1, size, "none", (0.0,), (1.0,))

    def say(scan: OneScan) -> Said:
        hu = np.where(scan.hu > 80, 0, scan.hu).astype(np.int16)
        small = preprocessing.resized(torch.from_numpy(hu), clipped=False).numpy() / 100
        heat = np.repeat(small[:, None], count, 1).astype(np.float32)
        seen = np.where(((scan.hu > 60) & (scan.hu <= 80)).any((1, 2)), 1000.0, -1000.0)
        return Said(
            ArrayHeat(name, "printed", None, classes, heat), np.repeat(seen[:, None], count, 1)
        )

    return ScanMethod(recipe, "ab" * 32, preprocessing, say)
