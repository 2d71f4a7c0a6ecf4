"""Truth and heat made by hand for tests of scoring."""

import numpy as np
import pandas as pd

from ich_study.evaluate.heat import ArrayHeat
from ich_study.evaluate.truth import PackedMasks, Truth
from ich_study.schema import MASK_CODES

SIDE = 6


def truth_of(masks, patients=None, name="IPH", brain=None):
    """Truth of bool masks (n, S, S), one class, a scan per patient."""
    masks = np.asarray(masks, bool)
    patients = [f"p{number}" for number in range(len(masks))] if patients is None else patients
    brain = np.ones(masks.shape, bool) if brain is None else brain
    rows = pd.DataFrame(
        {
            "dataset": "fake",
            "patient_id": patients,
            "scan_id": [f"scan {patient}" for patient in patients],
            "slice_index": range(len(masks)),
            "any": pd.array(masks.any((1, 2)), "boolean"),
        }
    )
    ones = np.ones(len(masks))
    empty = [np.zeros((0, 4)) for _ in masks]
    hu = np.where(masks, 70, 30).astype(np.int16)
    codes = (masks * MASK_CODES[name]).astype(np.uint8)
    packed = PackedMasks.of(brain)
    return Truth(rows, "masks", masks.shape[-1], hu, codes, packed, empty, ones, ones)


def heat_of(maps, name="method", classes=("any",)):
    """Heat of maps (n, S, S) of one class, or (n, classes, S, S)."""
    maps = np.asarray(maps, np.float32)
    return ArrayHeat(name, "printed", None, classes, maps[:, None] if maps.ndim == 3 else maps)


def corner(value=1.0, size=2, side=SIDE):
    """One map, `value` in the upper left corner of `size` pixels a side, else 0."""
    found = np.zeros((side, side), np.float32)
    found[:size, :size] = value
    return found
